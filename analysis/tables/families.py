"""Effects by family and level of problem: each arm's gain, and each contrast's difference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from analysis.stats.families import FamilyEffect, Largest, by_family, largest_family, over_families
from analysis.stats.intervals import Interval
from analysis.stats.text import interval_text
from analysis.study.contrasts import METRICS, ArmResult, Primary, final_rows, what_varies
from analysis.study.families import Cells, over_base, problem_effects
from analysis.study.load import Study
from analysis.tables.table import Table, to_frame

GAIN, DIFFERENCE = "gain over base", "difference to control"
BY_FAMILY, BY_LEVEL = "family", "level"


@dataclass(frozen=True)
class Split:
    """One effect of one arm, taken apart by family or by level."""

    arm: str
    effect: str
    by: str
    parts: list[FamilyEffect]
    largest: Largest | None
    over_all: Interval


def family_splits(study: Study, primary: Primary, results: Sequence[ArmResult]) -> list[Split]:
    """Every arm's gain and difference by family, then by level; none for problems of unknown families."""
    return [
        split
        for r in results
        for effect, cells in _effects(study, primary, r)
        for by in (BY_FAMILY, BY_LEVEL)
        if (split := _split(primary, r.label, effect, cells, by)) is not None
    ]


def families_table(study: Study, primary: Primary, results: Sequence[ArmResult]) -> Table:
    """A line an arm and effect: its largest family, the effect without it, and with families as the unit.

    The CSV has a row for every family and level.
    """
    cells, raw = [], []
    for split in family_splits(study, primary, results):
        for part in split.parts:
            row = {"arm": split.arm, "of": split.effect, "by": split.by, "group": part.family}
            ends = {name: getattr(part.interval, name) for name in ("estimate", "low", "high", "p_value")}
            raw.append(row | {"problems": part.num_problems, **ends, "share": part.share})
        if split.by == BY_FAMILY:
            new = split.over_all
            raw.append(
                {"arm": split.arm, "of": split.effect, "by": "new families", "group": "—"}
                | {name: getattr(new, name) for name in ("estimate", "low", "high", "p_value")}
            )
            cells.append(
                [split.arm, split.effect, *_largest_cells(split.largest), interval_text(new, signed=True)]
            )
    note = (
        f"{METRICS[primary.metric]} on {study.task_text(primary.task)}, points. Share: the family's part of "
        "the effect, — where effects of families cancel. Without it: the mean over the other families' "
        f"problems, t over seeds; what varies: {what_varies(study)}. New families: the median family and its "
        "interval over families and seeds, of any form of their effects, each family once, six or more of "
        "them; it alone speaks of families that are not among these."
    )
    columns = ["arm", "effect", "largest family", "its share, %", "without it", "new families"]
    return Table("families", "On which problems", columns, cells, to_frame(raw), note)


def _largest_cells(largest: Largest | None) -> list[str]:
    if largest is None:
        return ["—", "—", "—"]
    share = f"{100 * largest.share:.0f}" if 0 <= largest.share <= 1 else "—"
    return [largest.family, share, interval_text(largest.rest, signed=True)]


def _effects(study: Study, primary: Primary, result: ArmResult) -> Iterator[tuple[str, Cells]]:
    yield GAIN, over_base(study, [result.label], primary.task)
    if result.control is not None:
        pair = [final_rows(study, label, primary.task) for label in (result.label, result.control)]
        yield DIFFERENCE, [(pair[0], pair[1])]


def _split(primary: Primary, arm: str, effect: str, cells: Cells, by: str) -> Split | None:
    groups = "families" if by == BY_FAMILY else "levels"
    effects, names = problem_effects(cells, primary.metric, groups=groups)
    if effects is None or not any(names):
        return None
    return Split(
        arm,
        effect,
        by,
        by_family(effects, names, primary.level),
        largest_family(effects, names, primary.level),
        over_families(effects, names, primary.level),
    )
