"""Seeds that are added until a study is decided: do its intervals and verdicts hold after the looks?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis.calibration.effects import GAINS, QUARTER, seed_gains
from analysis.calibration.scenario import Hits, Scenario, holds
from analysis.calibration.worlds import Array
from analysis.stats.contrast import Context, Judged, Measured, judged
from analysis.stats.intervals import paired_t
from analysis.stats.margins import Margin
from analysis.stats.sequential import Looks, schedule
from analysis.study.look import DECIDED

SCHEDULE = schedule(4, 2, 20)
ALIKE = (GAINS[0], GAINS[0])
FOUND = ("better", "worse")
AT_LEAST = (0.93, 1.0)  # repeated intervals hold at every look together
PLAIN = "intervals after looks are adjusted for them"


def scenarios() -> Iterator[Scenario]:
    """Rows for both rules, a verdict and a half width."""
    yield _says(FOUND, "two alike arms", ALIKE)
    yield _says(FOUND, "two alike arms, no margin declared", ALIKE, margin=None)
    yield _says(
        ("equivalent",), "the arm at the upper edge of a quarter of the gain", (GAINS[0], 1.25 * GAINS[0])
    )
    for points in (0.0, 0.5, 1.0):
        yield _covers(points / 100)
    for points in (0.5, 1.0):
        yield _width(points / 100)
    yield _says(FOUND, "two alike arms, no adjustment for looks", ALIKE, margin=None, plain=True)


def until_verdict(
    rng: np.random.Generator,
    means: tuple[float, float],
    *,
    margin: Margin | None = QUARTER,
    plain: bool = False,
) -> Judged:
    """The verdict at the look that stops: the first that is decided, or the cap."""
    control, arm = seed_gains(rng, means, SCHEDULE[-1], "normal")
    for place, seeds in enumerate(SCHEDULE):
        looks = None if plain else Looks(SCHEDULE, SCHEDULE[: place + 1])
        context = Context(margin=margin, looks=looks)
        found = judged(
            Measured(_by_seed((arm - control)[:seeds]), _by_seed(arm[:seeds]), _by_seed(control[:seeds])),
            context,
        )
        if found.verdict.word in DECIDED:
            break
    return found


def _by_seed(values: Array) -> dict[str, float]:
    return {str(seed): float(value) for seed, value in enumerate(values)}


def _says(
    words: tuple[str, ...],
    what: str,
    means: tuple[float, float],
    *,
    margin: Margin | None = QUARTER,
    plain: bool = False,
) -> Scenario:
    def trial(rng: np.random.Generator) -> Hits:
        return [until_verdict(rng, means, margin=margin, plain=plain).verdict.word in words]

    return Scenario(
        what=f"until a verdict, 4 to 20 seeds: {' or '.join(words)}, {what}",
        kind="after looks",
        asks="error",
        trial=trial,
        effort=1.0 if plain else 4.0,
        role="control" if plain else "printed",
        said=PLAIN if plain else "",
        settings={"looks": list(SCHEDULE), "gains": list(means)},
    )


def _covers(difference: float) -> Scenario:
    means = (GAINS[0], GAINS[0] + difference)

    def trial(rng: np.random.Generator) -> Hits:
        return [holds(until_verdict(rng, means).evidence.difference, difference)]

    return Scenario(
        what=f"until a verdict, 4 to 20 seeds: the difference, {100 * difference:g} points in truth",
        kind="after looks",
        asks="coverage",
        trial=trial,
        bounds=AT_LEAST,
        settings={"looks": list(SCHEDULE), "gains": list(means)},
    )


def _width(half_width: float) -> Scenario:
    def trial(rng: np.random.Generator) -> Hits:
        control, arm = seed_gains(rng, ALIKE, SCHEDULE[-1], "normal")
        looks = Looks(SCHEDULE, by_width=True)
        for seeds in SCHEDULE:
            found = looks.adjusted(paired_t((arm - control)[:seeds]))
            if found.width is not None and found.width / 2 <= half_width:
                break
        return [holds(found, 0.0)]

    return Scenario(
        what=f"until a half width of {100 * half_width:g} points, 4 to 20 seeds: "
        "the difference of alike arms",
        kind="after looks",
        asks="coverage",
        trial=trial,
        settings={"looks": list(SCHEDULE), "half_width": half_width},
    )
