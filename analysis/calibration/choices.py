"""Does an interval over seeds hold the choice of a learning rate, or of a temperature?

Each seed chooses by its own validation, with the product's rule (`best_rate`, `best_sampling`), and the
product's interval is taken over the seeds' test scores at what they chose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from math import sqrt

import numpy as np

from analysis.calibration.scenario import Hits, Role, Scenario, holds
from analysis.calibration.worlds import RATES, Array, World, grid_levels, problems, scores, settings_of
from analysis.stats.inference import holm
from analysis.stats.intervals import Interval, paired_t, welch_t
from analysis.study.rates import best_rate
from analysis.study.response import area_under

WORLD = World()
KL = (0.160, 0.192, 0.185, 0.150, 0.010)  # of another arm: its best rate is the smaller one
FLAT = (0.165,) * 5  # no rate is better than another
TRUTH = 40_000  # seeds that a true mean is taken over where it has no formula
Test = Callable[[Array, Array], Interval]
POOLED = "captions say that the choice, made once for all seeds, is left out"


def scenarios() -> Iterator[Scenario]:
    """Rows on the choice of the learning rate, per seed and pooled."""
    alike = (WORLD.curve, WORLD.curve)
    for seeds in (4, 6, 10):
        yield _difference(f"difference of two alike arms, {seeds} seeds, own bases and draws", alike, seeds)
    for seeds in (4, 6, 10):
        yield _difference(f"difference of two alike arms, {seeds} seeds, one base", alike, seeds, shared=True)
    for seeds in (6, 10):
        yield _difference(
            f"difference of two arms whose best rates differ, {seeds} seeds", (WORLD.curve, KL), seeds
        )
    for form in ("t4", "skewed"):
        world = World(form=form)
        yield _difference(f"difference of two alike arms, 6 seeds, {form} effects", alike, 6, world=world)
    yield Scenario(
        what="rate per seed: Holm over five contrasts with one control, all six arms alike, 6 seeds",
        kind="Holm",
        asks="error",
        trial=lambda rng: [min(holm(_p_values(rng, 6, 6))) <= 0.05],
    )
    yield _gain("validation", "printed")
    yield _gain("test", "control")
    yield Scenario(
        what="area under the rate curve: difference of two alike arms, 6 seeds",
        kind="paired t",
        asks="coverage",
        trial=_area,
    )
    for gap in (0.0, 0.005, 0.015, 0.03):
        yield _pooled(gap, shared_pilots=True)
    yield _pooled(0.015, shared_pilots=False)
    for gap in (0.0, 0.005, 0.015):
        yield _as_measured(gap)


def choose(validation: Array, levels: Array) -> Array:
    """True accuracy [A, S] at the rate that is best for each arm and seed by `validation` [A, S, R]."""
    arms, seeds, _ = validation.shape
    picked = [
        [RATES.index(best_rate(dict(zip(RATES, validation[a, s], strict=True)))[0]) for s in range(seeds)]
        for a in range(arms)
    ]
    return np.take_along_axis(levels, np.array(picked)[..., None], axis=2)[..., 0]


def validated(world: World, rng: np.random.Generator, levels: Array) -> Array:
    """avg@k on validation of every run of a grid; a seed's arms share its problems. [A, S, R]"""
    difficulty = problems(world, rng, (levels.shape[1], 1, world.validation))
    return np.asarray(scores(world, rng, levels, difficulty).mean(axis=-1))


def tested(
    world: World, rng: np.random.Generator, levels: Sequence[Array], *, shared: bool = False
) -> list[Array]:
    """avg@k on test of each [.., S] of levels; a seed has problems of its own, or all have the same."""
    seeds = levels[0].shape[-1]
    difficulty = problems(world, rng, (world.test,) if shared else (seeds, world.test))
    return [np.asarray(scores(world, rng, level, difficulty).mean(axis=-1)) for level in levels]


def per_seed(
    world: World, rng: np.random.Generator, curves: Sequence[Sequence[float]], seeds: int, *, shared: bool
) -> tuple[Array, Array]:
    """Test accuracies [A, S] of arms whose seeds chose their rates, and of their bases [S]."""
    levels, bases = grid_levels(world, rng, curves, seeds, shared_base=shared)
    chosen = choose(validated(world, rng, levels), levels)
    arms, base = tested(world, rng, [chosen, bases], shared=shared)
    return arms, base


def _p_values(rng: np.random.Generator, arms: int, seeds: int) -> list[float]:
    found, _ = per_seed(WORLD, rng, [WORLD.curve] * arms, seeds, shared=False)
    return [paired_t(found[a] - found[0]).p_value or 1.0 for a in range(1, arms)]


def _difference(
    what: str,
    curves: tuple[Sequence[float], Sequence[float]],
    seeds: int,
    *,
    shared: bool = False,
    world: World = WORLD,
) -> Scenario:
    truth = cache(lambda: 0.0 if curves[0] == curves[1] else _true_difference(world, curves))

    def trial(rng: np.random.Generator) -> Hits:
        first, second = per_seed(world, rng, curves, seeds, shared=shared)[0]
        found = welch_t(second, first) if shared else paired_t(second - first)
        return [holds(found, truth())]

    return Scenario(
        what=f"rate per seed: {what}",
        kind="Welch t" if shared else "paired t",
        asks="coverage",
        trial=trial,
        settings={"seeds": seeds, "curves": [list(c) for c in curves], **settings_of(world)},
    )


def _true_difference(world: World, curves: Sequence[Sequence[float]]) -> float:
    """Mean over many seeds of second minus first at the rates that they choose."""
    rng = np.random.default_rng(TRUTH)
    levels, _ = grid_levels(world, rng, curves, TRUTH)
    chosen = choose(validated(world, rng, levels), levels)
    return float((chosen[1] - chosen[0]).mean())


def _gain(split: str, role: Role) -> Scenario:
    """Gain over the base of an arm whose rates are all as good, chosen by validation or by the test."""

    @cache
    def truth() -> float:
        rng = np.random.default_rng(TRUTH)
        levels, bases = grid_levels(WORLD, rng, [FLAT], TRUTH)
        return float((choose(validated(WORLD, rng, levels), levels)[0] - bases).mean())

    def trial(rng: np.random.Generator) -> Hits:
        levels, bases = grid_levels(WORLD, rng, [FLAT], 6)
        if split == "validation":
            chosen = choose(validated(WORLD, rng, levels), levels)
            arm, base = tested(WORLD, rng, [chosen[0], bases])
        else:
            difficulty = problems(WORLD, rng, (6, 1, WORLD.test))
            own = scores(WORLD, rng, levels, difficulty).mean(axis=-1)
            arm = choose(own, own)[0]
            base = scores(WORLD, rng, bases, difficulty[:, 0]).mean(axis=-1)
        return [holds(paired_t(arm - base), truth())]

    return Scenario(
        what=f"rate per seed: gain over the base, 6 seeds, the best of five alike rates on {split}",
        kind="paired t",
        asks="coverage",
        trial=trial,
        role=role,
        said="no choice is made by the test" if role == "control" else "",
        settings={"seeds": 6, "curves": [list(FLAT)]},
    )


def _area(rng: np.random.Generator) -> Hits:
    levels, _ = grid_levels(WORLD, rng, [WORLD.curve, WORLD.curve], 6)
    found = validated(WORLD, rng, levels)
    rates = [float(rate) for rate in RATES]
    areas = [[area_under(dict(zip(rates, own, strict=True))) for own in arm] for arm in found]
    return [holds(paired_t(np.subtract(areas[1], areas[0])), 0.0)]


def _pooled(gap: float, *, shared_pilots: bool) -> Scenario:
    """Two alike arms, each with its own pilot of two seeds; the second-best rate costs `gap`."""
    curve = (0.15, 0.19 - gap, 0.19, 0.15, 0.013)

    def trial(rng: np.random.Generator) -> Hits:
        pilots = [
            validated(WORLD, rng, grid_levels(WORLD, rng, [curve] * count, 2)[0])
            for count in ([2] if shared_pilots else [1, 1])
        ]
        means = np.concatenate(pilots).mean(axis=1)  # [A, R]
        rates = [RATES.index(best_rate(dict(zip(RATES, own, strict=True)))[0]) for own in means]
        levels, _ = grid_levels(WORLD, rng, [curve, curve], 6)
        first, second = tested(WORLD, rng, [levels[arm, :, rate] for arm, rate in enumerate(rates)])
        return [holds(paired_t(second - first), 0.0)]

    own = "" if shared_pilots else ", of other seeds an arm"
    return Scenario(
        what=f"rate pooled: two alike arms, 6 seeds, pilots of two seeds{own}, next rate "
        f"{100 * gap:g} points worse",
        kind="paired t",
        asks="coverage",
        trial=trial,
        role="limit",
        said=POOLED,
        settings={"seeds": 6, "pilot_seeds": 2, "gap": gap, "curves": [list(curve)]},
    )


def _as_measured(gap: float) -> Scenario:
    """Pilot and study from two measured numbers alone, and normal.

    A pilot seed's difference of two rates has an sd of 2.6 points, a study seed's of two arms one of 1.0.
    """
    curve = np.array((0.15, 0.19 - gap, 0.19, 0.15, 0.013))

    def trial(rng: np.random.Generator) -> Hits:
        pilots = (curve + rng.normal(0, 0.026 / sqrt(2), (2, 2, 5))).mean(axis=1)  # [A, R]
        first, second = (
            curve[RATES.index(best_rate(dict(zip(RATES, own, strict=True)))[0])] for own in pilots
        )
        return [holds(paired_t(second - first + rng.normal(0, 0.01, 6)), 0.0)]

    return Scenario(
        what="rate pooled: measured noise of pilots (2.6) and pairs (1.0), next rate "
        f"{100 * gap:g} points worse",
        kind="paired t",
        asks="coverage",
        trial=trial,
        role="limit",
        said=POOLED,
        settings={"seeds": 6, "pilot_seeds": 2, "gap": gap, "pilot_sd": 0.026, "pair_sd": 0.01},
    )
