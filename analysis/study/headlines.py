"""The contrast of each level of a factor with its control, averaged over the other factors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from analysis.stats.inference import holm
from analysis.stats.intervals import Interval
from analysis.study.contrasts import ArmResult, Primary, contrast, control_of, final_rows
from analysis.study.load import Study


@dataclass(frozen=True)
class Headline:
    """One level of a factor against the control level, averaged over the other factors.

    `p_holm` is the p that the table adjusts in which it stands.
    """

    factor: str
    level: str
    control: str
    difference: Interval | None
    cells: int
    p_holm: float | None = None


def missing_contrast(study: Study, primary: Primary) -> str | None:
    """`kl − sft`: the declared contrast, where one of its two levels was not run."""
    named = study.record.primary.get("contrast")
    if named is None or primary.factor is None:
        return None
    control, run = study.record.control.get(primary.factor), study.record.factors.get(primary.factor, [])
    return None if named in run and control in run else f"{named} − {control}"


def contrast_pairs(study: Study, factor: str, level: str) -> list[tuple[str, str]]:
    """(arm, control) at each setting of the other factors."""
    arms = [a for a in study.record.arms if a.levels.get(factor) == level]
    return [(a.label, c) for a in arms if (c := control_of(study, a.levels, factor)) is not None]


def headlines(study: Study, primary: Primary, *, factor: str | None = None) -> list[Headline]:
    """Main effects of a factor (None: the primary one): per seed, the mean difference over other factors."""
    factor = factor or primary.factor
    if factor is None or factor not in study.record.control:
        return []
    control = study.record.control[factor]
    found = []
    named = study.record.primary.get("contrast")  # the one that the study was made for comes first
    for level in sorted(study.record.factors.get(factor, []), key=lambda name: name != named):
        pairs = contrast_pairs(study, factor, level)
        if not pairs:
            continue
        cells = [(final_rows(study, a, primary.task), final_rows(study, c, primary.task)) for a, c in pairs]
        interval = contrast(study, cells, primary.metric, level=primary.level)
        found.append(Headline(factor, level, control, interval, len(cells)))
    return found


def main_effects(study: Study, primary: Primary) -> list[Headline]:
    """The contrasts of every factor, Holm over all of them; of one factor, none."""
    factors = [f for f, levels in study.record.factors.items() if len(levels) > 1]
    found = [h for f in factors for h in headlines(study, primary, factor=f)] if len(factors) > 1 else []
    p_values = {i: h.difference.p_value for i, h in enumerate(found) if h.difference is not None}
    tested = {i: p for i, p in p_values.items() if p is not None}
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True))
    return [replace(h, p_holm=adjusted.get(i)) for i, h in enumerate(found) if h.difference is not None]


def primary_headlines(study: Study, primary: Primary, results: Sequence[ArmResult]) -> list[Headline]:
    """Headlines of the primary factor, Holm over main effects or, in a study of one factor, over arms."""
    if effects := main_effects(study, primary):
        adjusted = {h.level: h.p_holm for h in effects if h.factor == primary.factor}
    else:
        adjusted = {r.levels.get(primary.factor or "", ""): r.p_holm for r in results if r.control}
    return [replace(h, p_holm=adjusted.get(h.level)) for h in headlines(study, primary)]
