"""Ratios of gains, equivalence, forms of seed effects, slopes: rows that need no learning rate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from analysis.calibration.scenario import Hits, Scenario, holds
from analysis.calibration.worlds import Array, Form, World, problems, scores, standard
from analysis.stats.inference import tost_p, trend_test
from analysis.stats.intervals import memorisation_gap, paired_t, welch_t
from analysis.stats.margins import Margin, base_p, margin_p, margin_p_unpaired
from analysis.stats.metrics import avg_at_k
from analysis.stats.ratio import UNBOUNDED, ratio_of_means

GAINS = (0.0565, 0.0439)  # of bridge's sft and kl
COVARIANCE = np.array([[3.23, 2.23], [2.23, 1.87]]) * 1e-4  # over seeds
QUARTER, POINTS = Margin(0.25, of_gain=True), Margin(0.03)
FORMS: tuple[Form, ...] = ("normal", "t4", "skewed")
SKEW = "analysis/README.md: differences near normal; a gain with an exponential's skew is covered by less"
WEAK = "analysis/README.md: unbounded, and said so, where the control's own interval holds 0"
SIZE = 16.0  # effort of rows whose bound is near their nominal error


def scenarios() -> Iterator[Scenario]:
    """Rows by estimator."""
    for seeds in (4, 6, 10):
        yield _ratio(seeds, GAINS, "bridge")
    yield _ratio(6, GAINS, "bridge, t4 effects", form="t4")
    for bounded in (False, True):
        yield _weak_ratio(4, bounded=bounded)
    for form in FORMS:
        for seeds in (4, 6, 10):
            yield _mean(form, seeds)
    for seeds in (4, 6, 10):
        for side in (-1, 1):
            yield _tost_share(seeds, side, paired=True)
        yield _tost_points(seeds, paired=True)
    yield _tost_share(6, -1, paired=False)
    yield _tost_share(6, 1, paired=False)
    yield _tost_points(6, paired=False)
    yield _assay()
    yield _slopes()
    yield from _one_run()


def seed_gains(rng: np.random.Generator, means: tuple[float, float], seeds: int, form: Form) -> Array:
    """Gains of control and arm over seeds, [2, S]."""
    root = np.linalg.cholesky(COVARIANCE)
    drawn: Array = np.array(means)[:, None] + root @ standard(rng, form, (2, seeds))
    return drawn


def _ratio(seeds: int, means: tuple[float, float], name: str, form: Form = "normal") -> Scenario:
    """The set is the whole line where it is unbounded, as reports say: it holds every ratio."""

    def trial(rng: np.random.Generator) -> Hits:
        control, arm = seed_gains(rng, means, seeds, form)
        found = ratio_of_means(arm, control)
        return [
            True if found is not None and found.reason == UNBOUNDED else holds(found, means[1] / means[0])
        ]

    return Scenario(
        what=f"ratio of gains, {seeds} seeds, {name}",
        kind="Fieller",
        asks="coverage",
        trial=trial,
        settings={"seeds": seeds, "gains": list(means), "form": form},
    )


def _weak_ratio(seeds: int, *, bounded: bool) -> Scenario:
    """Gains that a study barely tells from 0: of all sets, or of those with two ends alone."""
    means = (0.015, 0.0135)

    def trial(rng: np.random.Generator) -> Hits:
        control, arm = seed_gains(rng, means, seeds, "normal")
        held = holds(ratio_of_means(arm, control), means[1] / means[0])
        return [held if bounded or held is not None else True]

    return Scenario(
        what=f"ratio of weak gains of 1.5 points, {seeds} seeds" + ", of those with two ends" * bounded,
        kind="Fieller",
        asks="coverage",
        trial=trial,
        role="limit" if bounded else "printed",
        bounds=None if bounded else (0.93, 1.0),
        said=WEAK if bounded else "",
        settings={"seeds": seeds, "gains": list(means)},
    )


def _mean(form: Form, seeds: int) -> Scenario:
    def trial(rng: np.random.Generator) -> Hits:
        return [holds(paired_t(0.0565 + 0.018 * standard(rng, form, seeds)), 0.0565)]

    return Scenario(
        what=f"gain, {seeds} seeds, {form} seed effects",
        kind="paired t",
        asks="coverage",
        trial=trial,
        role="limit" if form == "skewed" else "printed",
        said=SKEW if form == "skewed" else "",
        settings={"seeds": seeds, "gain": 0.0565, "sd": 0.018, "form": form},
    )


def _error(what: str, trial: Any, settings: dict[str, Any]) -> Scenario:
    return Scenario(what, "TOST", "error", trial, effort=SIZE, settings=settings)


def _tost_share(seeds: int, side: int, *, paired: bool) -> Scenario:
    """The arm's gain is 0.75 or 1.25 of the control's: the edge of a quarter."""
    means = (GAINS[0], GAINS[0] * (1 + 0.25 * side))

    def trial(rng: np.random.Generator) -> Hits:
        control, arm = seed_gains(rng, means, seeds, "normal")
        if paired:
            p = margin_p(arm - control, control, QUARTER)
        else:
            control = means[0] + 0.018 * rng.standard_normal(seeds)
            p = margin_p_unpaired(welch_t(arm, control), arm, control, margin=QUARTER)
        return [p is not None and p <= 0.05]

    how = "paired" if paired else "unpaired"
    what = f"equivalence within a quarter of the gain, {how}, {seeds} seeds, at the {_edge(side)} edge"
    return _error(what, trial, {"seeds": seeds, "gains": list(means)})


def _edge(side: int) -> str:
    return "lower" if side < 0 else "upper"


def _tost_points(seeds: int, *, paired: bool) -> Scenario:
    def trial(rng: np.random.Generator) -> Hits:
        if paired:
            p = margin_p(0.03 + 0.0145 * rng.standard_normal(seeds), None, POINTS)
        else:
            first, second = (rng.normal(mean, 0.0145 / 2**0.5, seeds) for mean in (0.03, 0.0))
            p = tost_p(welch_t(first, second), margin=0.03)
        return [p is not None and p <= 0.05]

    how = "paired" if paired else "unpaired"
    what = f"equivalence within 3 points, {how}, {seeds} seeds, at a difference of 3"
    return _error(what, trial, {"seeds": seeds, "sd": 0.0145})


def _assay() -> Scenario:
    """The control's gain is the margin itself: the untrained base is not equivalent, by a hair."""

    def trial(rng: np.random.Generator) -> Hits:
        p = base_p(0.03 + 0.018 * rng.standard_normal(6), POINTS)
        return [p is not None and p <= 0.05]

    return _error("untrained base within 3 points of a gain of 3, 6 seeds", trial, {"seeds": 6, "sd": 0.018})


def _slopes() -> Scenario:
    """Checkpoints of a run are a random walk about the line; each seed has one slope."""
    x = np.log10([12.0, 24.0, 48.0, 96.0])

    def trial(rng: np.random.Generator) -> Hits:
        walk = 0.008 * rng.standard_normal((6, 4)).cumsum(axis=1)
        return [holds(trend_test(0.15 + 0.04 * x + walk, x=list(x)), 0.04)]

    return Scenario("slope over checkpoints, 6 seeds, runs that wander", "paired t", "coverage", trial)


def _one_run() -> Iterator[Scenario]:
    """What is said of a single run: standard errors of avg@k, and the gap to twins."""
    world = World()
    fixed = problems(world, np.random.default_rng(7), (world.test,))
    level = 0.19

    def right(rng: np.random.Generator, difficulty: Array) -> list[list[bool]]:
        counts = np.rint(scores(world, rng, level, difficulty) * world.k).astype(int)
        return [[True] * int(c) + [False] * (world.k - int(c)) for c in counts]

    def sampling(rng: np.random.Generator) -> Hits:
        found = avg_at_k(right(rng, fixed))
        truth = float(np.minimum(1.0, level * fixed).mean())
        return [abs(found.value - truth) <= 1.96 * (found.se_sampling or 0.0)]

    def drawn(rng: np.random.Generator) -> Hits:
        found = avg_at_k(right(rng, problems(world, rng, (world.test,))))
        return [abs(found.value - level) <= 1.96 * (found.se_problems or 0.0)]

    def twins(rng: np.random.Generator) -> Hits:
        difficulty = problems(world, rng, (48,))
        train, twin = (scores(world, rng, mean, difficulty) for mean in (0.25, 0.19))
        return [holds(memorisation_gap(train, twin), 0.06)]

    named = {"sampling": sampling, "problems": drawn}
    for name, trial in named.items():
        what = f"avg@16 of one run within 1.96 standard errors ({name}), 120 problems"
        yield Scenario(what, "standard error", "coverage", trial)
    what = "gap between 48 training problems and their twins, one run"
    yield Scenario(what, "t over problems", "coverage", twins)
