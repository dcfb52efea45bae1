"""One contrast in one measure: from per-seed numbers to its evidence and verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.stats.families import Largest, largest_family, over_families
from analysis.stats.intervals import SEEDS, Interval, paired_t
from analysis.stats.margins import Margin, base_p, margin_p, margin_p_unpaired
from analysis.stats.ratio import ratio_of_means
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

    `p_value`: adjusted by Holm; None: as measured. `unpaired`: the difference where seeds do not pair.
    """

    margin: Margin | None = None
    level: float = 0.95
    varies: str = SEEDS
    p_value: float | None = None
    at_floor: bool = False
    hardly_moved: bool = False
    unpaired: Interval | None = None


@dataclass(frozen=True)
class Judged:
    """A contrast's evidence and verdict, and what stands beside them.

    `ratio`: the arm's gain over the control's. `new_families`: the median family's, over families and seeds.
    """

    evidence: Evidence
    verdict: Verdict
    arm_gain: Interval | None
    ratio: Interval | None
    largest: Largest | None
    new_families: Interval | None


def judged(measured: Measured, context: Context) -> Judged:
    """Every estimate that a verdict needs, and the verdict. Raises ValueError for no differences."""
    level, varies = context.level, context.varies
    difference = context.unpaired
    if difference is None:
        difference = paired_t(list(measured.differences.values()), level=level, varies=varies)
    both = [s for s in measured.differences if s in measured.control_gains]
    control = [measured.control_gains[s] for s in both]
    margin, p_margin, p_base = context.margin, None, None
    if margin is not None:
        # A margin in points needs no gain, so every seed counts; a share needs the control's at each seed.
        seeds = both if margin.of_gain else list(measured.differences)
        if context.unpaired is not None:
            gains = list(measured.arm_gains.values()), list(measured.control_gains.values())
            p_margin = margin_p_unpaired(context.unpaired, *gains, margin=margin)
        elif seeds:
            p_margin = margin_p([measured.differences[s] for s in seeds], control or None, margin)
        p_base = base_p(control, margin) if control else None
    largest = None
    grid = measured.effects
    if grid is not None and any(measured.families):
        largest = largest_family(grid, measured.families, level)
    evidence = Evidence(
        difference=difference,
        p_value=difference.p_value if context.p_value is None else context.p_value,
        control_gain=paired_t(control, level=level, varies=varies) if control else None,
        margin=margin,
        margin_p=p_margin,
        base_p=p_base,
        at_floor=context.at_floor,
        hardly_moved=context.hardly_moved,
        one_family=largest.family if largest is not None and largest.carries else None,
    )
    arm = [measured.arm_gains[s] for s in both if s in measured.arm_gains]
    settings: dict[str, Any] = {"level": level, "varies": varies}
    return Judged(
        evidence=evidence,
        verdict=judge(evidence),
        arm_gain=paired_t(arm, level=level, varies=varies) if arm else None,
        ratio=ratio_of_means(arm, control, **settings) if control and len(arm) == len(control) else None,
        largest=largest,
        new_families=None
        if grid is None or not any(measured.families)
        else over_families(grid, measured.families, level),
    )
