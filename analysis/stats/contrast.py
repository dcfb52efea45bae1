"""One contrast in one measure: from per-seed numbers to its evidence and verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from analysis.stats.families import Largest, largest_family, over_families
from analysis.stats.intervals import SEEDS, Interval, paired_t
from analysis.stats.margins import Margin, base_p, margin_p, margin_p_unpaired
from analysis.stats.ratio import ratio_of_means
from analysis.stats.sequential import Looks
from analysis.stats.verdict import Evidence, Verdict, judge

BySeed = Mapping[str, float]


@dataclass(frozen=True)
class Measured:
    """Per-seed numbers of arm and control, in accuracy. Gains are over the untrained base of the same seed.

    `effects` [S, P]: the differences problem by problem, with a family each, where they are known.
    """

    differences: BySeed
    arm_gains: BySeed = field(default_factory=dict)
    control_gains: BySeed = field(default_factory=dict)
    effects: NDArray[np.float64] | None = None
    families: Sequence[str | None] = ()


@dataclass(frozen=True)
class Context:
    """What the verdict on a contrast takes from its study.

    `p_value`: adjusted by Holm; None: as measured. `unpaired`: the difference where seeds do not pair, as if
    their number had been fixed. `looks`: the rule by which seeds were added, for which everything allows.
    """

    margin: Margin | None = None
    level: float = 0.95
    varies: str = SEEDS
    p_value: float | None = None
    at_floor: bool = False
    hardly_moved: bool = False
    confounded: str | None = None
    over_rates: Interval | None = None
    unpaired: Interval | None = None
    looks: Looks | None = None

    def adjusted(self, interval: Interval) -> Interval:
        """The interval that holds after the looks."""
        return interval if self.looks is None else self.looks.adjusted(interval)

    def one_sided(self, p: float | None, n: int) -> float | None:
        """The p-value of a one-sided test that holds after the looks."""
        return p if self.looks is None else self.looks.one_sided(p, n)

    def plain_level(self, n: int) -> float:
        """Level at which to compute an interval that keeps `level` over the looks."""
        return self.level if self.looks is None else self.looks.plain_level(self.level, n)

    def restated(self, interval: Interval) -> Interval:
        """An interval that was computed at `plain_level`, with the level that it keeps."""
        return interval if self.looks is None else self.looks.restated(interval, self.level)


@dataclass(frozen=True)
class Judged:
    """A contrast's evidence and verdict, and what stands beside them.

    `ratio`: the arm's gain over the control's. `new_families`: the median family's, over families and seeds.
    `margin_p_plain`: the p of equivalence as if the number of seeds had been fixed.
    """

    evidence: Evidence
    verdict: Verdict
    arm_gain: Interval | None
    ratio: Interval | None
    largest: Largest | None
    new_families: Interval | None
    margin_p_plain: float | None = None


def judged(measured: Measured, context: Context) -> Judged:
    """Every estimate that a verdict needs, and the verdict. Raises ValueError for no differences."""
    level, varies = context.level, context.varies
    plain = context.unpaired
    if plain is None:
        plain = paired_t(list(measured.differences.values()), level=level, varies=varies)
    both = [s for s in measured.differences if s in measured.control_gains]
    arm = [measured.arm_gains[s] for s in both if s in measured.arm_gains]
    control = [measured.control_gains[s] for s in both]
    gains = [
        context.adjusted(paired_t(own, level=level, varies=varies)) if own else None for own in (arm, control)
    ]
    difference, largest = context.adjusted(plain), _largest(measured, context)
    p_margin, p_base = _margin_ps(measured, context, plain, control, both)
    evidence = Evidence(
        difference=difference,
        p_value=difference.p_value if context.p_value is None else context.p_value,
        control_gain=gains[1],
        margin=context.margin,
        margin_p=context.one_sided(p_margin, plain.n),
        base_p=context.one_sided(p_base, len(control)),
        at_floor=context.at_floor,
        hardly_moved=context.hardly_moved,
        confounded=context.confounded,
        over_rates=context.over_rates,
        one_family=largest.family if largest is not None and largest.carries else None,
    )
    ratio = None
    if control and len(arm) == len(control):
        ratio = ratio_of_means(arm, control, level=context.plain_level(len(arm)), varies=varies)
    grid = measured.effects
    return Judged(
        evidence=evidence,
        verdict=judge(evidence),
        arm_gain=gains[0],
        ratio=None if ratio is None else context.restated(ratio),
        largest=largest,
        new_families=None
        if grid is None or not any(measured.families)
        else over_families(grid, measured.families, level),
        margin_p_plain=p_margin,
    )


def _margin_ps(
    measured: Measured, context: Context, plain: Interval, control: list[float], both: list[str]
) -> tuple[float | None, float | None]:
    """P-values of equivalence within the margin, of the arm and of the untrained base, looks apart."""
    margin, found = context.margin, None
    if margin is None:
        return None, None
    # A margin in points needs no gain, so every seed counts; a share needs the control's at each seed.
    seeds = both if margin.of_gain else list(measured.differences)
    if context.unpaired is not None:
        gains = list(measured.arm_gains.values()), list(measured.control_gains.values())
        found = margin_p_unpaired(plain, *gains, margin=margin)
    elif seeds:
        found = margin_p([measured.differences[s] for s in seeds], control or None, margin)
    return found, base_p(control, margin) if control else None


def _largest(measured: Measured, context: Context) -> Largest | None:
    """The family that makes most of the difference, with the rest over seeds."""
    grid = measured.effects
    if grid is None or not any(measured.families):
        return None
    found = largest_family(grid, measured.families, context.plain_level(len(grid)))
    if found is None or found.rest is None:
        return found
    return replace(found, rest=context.restated(found.rest))
