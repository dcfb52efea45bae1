"""How often a verdict says what is not so: `judged` on studies of problems, families and seeds."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np

from analysis.calibration.choices import WORLD, per_seed
from analysis.calibration.scenario import Asks, Hits, Scenario
from analysis.calibration.worlds import Array, problems
from analysis.stats.contrast import Context, Judged, Measured, judged
from analysis.stats.inference import holm
from analysis.stats.intervals import paired_t
from analysis.stats.margins import Margin

FAMILIES = [f"family {i % 6}" for i in range(WORLD.test)]
EVEN = (1.0,) * 6
CARRIED = (4.32, 0.1, 0.42, 0.1, 0.43, 0.63)  # sft of bridge: divisors makes 72 %
QUARTER, POINTS = Margin(0.25, of_gain=True), Margin(0.03)
FOUND = ("better", "worse")


@dataclass(frozen=True)
class Truth:
    """True gains of control and arm over the base, and each family's part of them (mean 1)."""

    control: float
    arm: float
    parts: tuple[float, ...] = EVEN


ALIKE = Truth(0.0565, 0.0565)
UNTRAINED = Truth(0.0, 0.0)


def scenarios() -> Iterator[Scenario]:
    """Rows by what would be wrong to say."""
    for seeds in (4, 6, 10):
        yield _says(FOUND, "two alike arms", ALIKE, seeds)
    yield _says(FOUND, "two alike arms, one family carries their gains", Truth(0.0565, 0.0565, CARRIED), 6)
    yield _says(FOUND, "two alike arms, a margin declared", ALIKE, 6, QUARTER)
    for seeds in (6, 10):
        for factor, edge in ((0.75, "lower"), (1.25, "upper")):
            truth = Truth(0.0565, 0.0565 * factor)
            what = f"the arm at the {edge} edge of a quarter of the gain"
            yield _says(("equivalent",), what, truth, seeds, QUARTER)
    for margin, name in ((QUARTER, "a quarter of the gain"), (POINTS, "3 points")):
        yield _says(("equivalent",), f"neither arm trained, margin {name}", UNTRAINED, 6, margin)
    what = "untrained arm, control gains 0.85, margin 3 points"
    yield _says(("equivalent",), what, Truth(0.0085, 0.0), 6, POINTS)
    yield _says(("better",), "the arm is 1.3 points worse", Truth(0.0565, 0.0435), 6, QUARTER)
    yield Scenario(
        what="verdicts: better or worse in any of five contrasts, six alike arms, rates per seed, 6 seeds",
        kind="verdict",
        asks="error",
        trial=_whole_study,
    )
    for seeds in (6, 10):
        yield _says(("equivalent",), "two alike arms (to be found)", ALIKE, seeds, QUARTER, asks="share")


def verdict_of(rng: np.random.Generator, truth: Truth, seeds: int, margin: Margin | None) -> Judged:
    """The verdict on one study; each seed has a base of its own, and all have the same problems."""
    difficulty = problems(WORLD, rng, (WORLD.test,))
    shift = WORLD.base_sd * rng.standard_normal((seeds, 1)) / WORLD.base
    base = WORLD.base * difficulty * np.maximum(0.0, 1 + shift)  # [S, P]
    part = np.array([truth.parts[i % 6] for i in range(WORLD.test)])
    drawn = []
    for gain in (None, truth.control, truth.arm):
        run = 0.0 if gain is None else WORLD.run_sd * rng.standard_normal((seeds, 1))
        p = np.clip(base + (gain or 0.0) * part + run * difficulty, 0.0, 1.0)
        drawn.append(rng.binomial(WORLD.k, p) / WORLD.k)
    base_scores, control, arm = drawn
    measured = Measured(
        differences=_by_seed(arm - control),
        arm_gains=_by_seed(arm - base_scores),
        control_gains=_by_seed(control - base_scores),
        effects=arm - control,
        families=FAMILIES,
    )
    return judged(measured, Context(margin=margin))


def _by_seed(effects: Array) -> dict[str, float]:
    return {str(seed): float(value) for seed, value in enumerate(effects.mean(axis=1))}


def _says(
    words: Collection[str],
    what: str,
    truth: Truth,
    seeds: int,
    margin: Margin | None = None,
    asks: Asks = "error",
) -> Scenario:
    def trial(rng: np.random.Generator) -> Hits:
        return [verdict_of(rng, truth, seeds, margin).verdict.word in words]

    return Scenario(
        what=f"verdicts: {' or '.join(words)}, {seeds} seeds, {what}",
        kind="verdict",
        asks=asks,
        trial=trial,
        effort=4.0 if "edge" in what else 1.0,
        settings={"seeds": seeds, "control_gain": truth.control, "arm_gain": truth.arm},
    )


def _whole_study(rng: np.random.Generator) -> Hits:
    arms, base = per_seed(WORLD, rng, [WORLD.curve] * 6, 6, shared=False)
    differences = [_by_seed((arm - arms[0])[:, None]) for arm in arms[1:]]
    adjusted = holm([paired_t(list(d.values())).p_value or 1.0 for d in differences])
    control = _by_seed((arms[0] - base)[:, None])
    words = [
        judged(
            Measured(d, _by_seed((arm - base)[:, None]), control), Context(margin=QUARTER, p_value=p)
        ).verdict.word
        for d, arm, p in zip(differences, arms[1:], adjusted, strict=True)
    ]
    return [any(word in FOUND for word in words)]
