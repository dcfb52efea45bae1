"""Rows on seeds × problems: more problems of the same families, new families, pass@k that crosses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import numpy as np

from analysis.calibration.scenario import Hits, Scenario, holds
from analysis.calibration.worlds import Array
from analysis.stats.coverage import half_coverage
from analysis.stats.crossed import crossed_t
from analysis.stats.crossing import crossing, pass_at_every_k
from analysis.stats.families import over_families
from analysis.stats.intervals import paired_t

AT_LEAST = (0.93, 1.0)  # of sets that cover at least the level by construction
T_MEAN = "it is not printed: reports have the median family"
WIDE = "analysis/README.md: coverage at 3 to 6 seeds errs to the wide side"
# Families: (sd over seeds, noise of a family's mean), and a draw of their effects, in accuracy.
Families = Callable[[np.random.Generator, int], Array]
Spread = tuple[float, float]


def scenarios() -> Iterator[Scenario]:
    """Rows by estimator."""
    for seeds in (4, 6, 10):
        yield _crossed("gain of sft", 0.0565, (0.014, 0.114, 0.12), seeds)
        yield _crossed("kl − sft", -0.0126, (0.004, 0.022, 0.103), seeds)
    for name, (effects, spread) in WORLDS.items():
        for count in (6, 12, 24):
            yield _median(name, effects, spread, count, 6)
    yield _median("one family in six carries the gain", carried, (0.015, 0.022), 6, 4)
    for count in (6, 12, 24):
        yield _mean(count)
    yield _crossing(6, 16)
    yield _crossing(10, 64)
    yield _newly_solved()


def _crossed(name: str, mean: float, spread: tuple[float, float, float], seeds: int) -> Scenario:
    """120 problems drawn anew, a share of which carries the effect; sd of seeds, problems and cells."""
    by_seed, by_problem, cell = spread

    def trial(rng: np.random.Generator) -> Hits:
        # Half of the problems' variance is between a sixth that carries the effect and the others.
        part = np.where(rng.random(120) < 1 / 6, 5**0.5, -(0.2**0.5))  # mean 0, variance 1
        problem = by_problem * (part + rng.standard_normal(120)) / 2**0.5
        noise = cell * rng.standard_normal((seeds, 120))
        d = mean + by_seed * rng.standard_normal((seeds, 1)) + problem + noise
        return [holds(crossed_t(d), mean)]

    return Scenario(
        what=f"more problems of these families: {name}, {seeds} seeds, a sixth of the problems carries it",
        kind="crossed t",
        asks="coverage",
        trial=trial,
        bounds=AT_LEAST,
        settings={"seeds": seeds, "problems": 120, "sd_seed_problem_cell": list(spread), "errs_wide": WIDE},
    )


def carried(rng: np.random.Generator, count: int) -> Array:
    """Gain of sft: one family in six gains 24 points, the others 1.5."""
    big = rng.random(count) < 1 / 6
    return np.where(big, rng.normal(0.24, 0.03, count), rng.normal(0.015, 0.013, count))


def spread_out(rng: np.random.Generator, count: int) -> Array:
    """Gain of sft, normal with the measured sd over families."""
    return np.asarray(rng.normal(0.056, 0.092, count))


def differing(rng: np.random.Generator, count: int) -> Array:
    """kl − sft, normal over families."""
    return np.asarray(rng.normal(-0.0126, 0.011, count))


def skewed(rng: np.random.Generator, count: int) -> Array:
    """Exponential over families."""
    return np.asarray(rng.exponential(0.03, count))


def equal(rng: np.random.Generator, count: int) -> Array:
    """No family differs from another."""
    return np.zeros(count)


WORLDS: dict[str, tuple[Families, Spread]] = {
    "normal gains": (spread_out, (0.015, 0.022)),
    "one family in six carries the gain": (carried, (0.015, 0.022)),
    "skewed gains": (skewed, (0.015, 0.022)),
    "normal differences of kl and sft": (differing, (0.007, 0.018)),
    "no family differs": (equal, (0.007, 0.018)),
}


def _families(
    rng: np.random.Generator, effects: Families, spread: Spread, count: int, seeds: int
) -> tuple[Array, list[str]]:
    """Effects [S, F] of one problem a family (its mean over problems), and names."""
    by_seed, cell = spread
    noise = by_seed * rng.standard_normal((seeds, 1)) + cell * rng.standard_normal((seeds, count))
    return effects(rng, count) + noise, [f"family {i}" for i in range(count)]


@cache
def _centre(effects: Families, mean: bool = False) -> float:
    """Mean or median of the families that there are; of many."""
    drawn = effects(np.random.default_rng(11), 2_000_000)
    return float(drawn.mean() if mean else np.median(drawn))


def _median(name: str, effects: Families, spread: Spread, count: int, seeds: int) -> Scenario:
    def trial(rng: np.random.Generator) -> Hits:
        return [holds(over_families(*_families(rng, effects, spread, count, seeds)), _centre(effects))]

    return Scenario(
        what=f"new families and seeds: median of {count}, {seeds} seeds, {name}",
        kind="median of families",
        asks="coverage",
        trial=trial,
        settings={"families": count, "seeds": seeds, "sd_seed_cell": list(spread)},
    )


def _mean(count: int) -> Scenario:
    """The t over family means: a control, as one family in six carries the gain."""

    def trial(rng: np.random.Generator) -> Hits:
        d, _ = _families(rng, carried, (0.015, 0.022), count, 6)
        return [holds(paired_t(d.mean(axis=0)), _centre(carried, mean=True))]

    what = f"new families: t for the mean of {count}, 6 seeds, one family in six carries the gain"
    return Scenario(what, "t over families", "coverage", trial, role="control", said=T_MEAN)


def _problem_rates(rng: np.random.Generator, size: tuple[int, ...]) -> tuple[Array, Array]:
    """Accuracy by problem of a base, and of a sharper arm: more of what was likely, less of the rest."""
    base = rng.beta(0.9, 3.2, size)
    return base, np.clip(1.9 * base**1.3, 0, 1)


@cache
def _overtakes(n: int) -> int:
    """Smallest k at which the base's pass@k reaches the arm's."""
    base, arm = _problem_rates(np.random.default_rng(13), (400_000,))
    return next(
        (k for k in range(1, n + 1) if ((1 - (1 - base) ** k).mean() >= (1 - (1 - arm) ** k).mean())), n + 1
    )


def _crossing(seeds: int, n: int) -> Scenario:
    """Each seed has problems and a base of its own."""

    def trial(rng: np.random.Generator) -> Hits:
        base, arm = _problem_rates(rng, (seeds, 120))
        arm = np.clip(arm * (1 + 0.05 * rng.standard_normal((seeds, 1))), 0, 1)
        curves = [[pass_at_every_k(own, n) for own in rng.binomial(n, p)] for p in (base, arm)]
        found, truth = crossing(*curves), _overtakes(n)
        return [found.low is not None and found.low <= truth <= (found.high or n + 1)]

    return Scenario(
        what=f"the base overtakes at k = {_overtakes(n)}: pass@1 to pass@{n}, {seeds} seeds",
        kind="overtaking k",
        asks="coverage",
        trial=trial,
        bounds=AT_LEAST,
        effort=0.5,
        settings={"seeds": seeds, "n": n},
    )


def _newly_solved() -> Scenario:
    """An arm that is its base: what is newly solved, less chance, is 0."""

    def trial(rng: np.random.Generator) -> Hits:
        found = []
        for _ in range(6):
            p, _ = _problem_rates(rng, (120,))
            base, arm = (rng.random((120, 16)) < p[:, None] for _ in range(2))
            found.append((half_coverage(base, arm) or 0.0) - (half_coverage(base, base) or 0.0))
        return [holds(paired_t(found), 0.0)]

    what = "newly solved problems less chance, 6 seeds, no training"
    return Scenario(what, "paired t", "coverage", trial, bounds=AT_LEAST, effort=0.25)
