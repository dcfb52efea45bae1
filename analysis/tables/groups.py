"""Accuracy of every arm and base by level, by subject and by family of problem."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.stats.intervals import Interval, paired_t
from analysis.stats.text import interval_text
from analysis.study.bases import base_names
from analysis.study.contrasts import METRICS, Primary, final_rows, what_varies
from analysis.study.families import problem_scores
from analysis.study.load import Study
from analysis.tables.table import Table, to_frame

# What problems are grouped by: the table's name and the column of evaluations.
GROUPINGS = {"level": "levels", "subject": "topics", "family": "families"}
WIDEST = 12  # groups that a table shows; its CSV has all


@dataclass(frozen=True)
class _Line:
    """One arm or base: an accuracy over seeds, and the number of problems, by group."""

    name: str
    groups: dict[str, Interval]
    sizes: dict[str, int]


def group_tables(study: Study, primary: Primary) -> list[Table]:
    """A table of accuracies by level, by subject and by family, where problems are of two or more.

    Families that are the subjects once more (published problems have no others) are left out.
    """
    found: list[Table] = []
    seen: list[dict[str, int]] = []
    for name, column in GROUPINGS.items():
        lines = list(_lines(study, primary, column))
        sizes = {group: n for line in lines for group, n in line.sizes.items()}
        if len(sizes) > 1 and not (column == "families" and sizes in seen):
            found.append(_table(study, primary, name, lines, sizes))
        seen.append(sizes)
    return found


def _lines(study: Study, primary: Primary, column: str) -> Iterator[_Line]:
    """Each arm, after its base unless already listed."""
    listed: set[str] = set()
    bases = base_names(study, primary.task)
    for label in [arm.label for arm in study.record.arms]:
        for name, is_base in ((bases[label], True), (label, False)):
            rows = final_rows(study, label, primary.task, base=is_base)
            if name not in listed and (line := _line(study, primary, column, name, rows)) is not None:
                listed.add(name)
                yield line


def _line(study: Study, primary: Primary, column: str, name: str, rows: Mapping[str, Any]) -> _Line | None:
    """Mean accuracy on each group in each seed, then Student's t over seeds; None without a group."""
    by_group: dict[str, list[float]] = {}
    sizes: dict[str, int] = {}
    for row in rows.values():
        scores, names = problem_scores(row, primary.metric), row[column]
        if scores is None:
            return None
        for group in sorted({str(each) for each in names if each is not None}):
            inside = [score for score, each in zip(scores, names, strict=True) if str(each) == group]
            by_group.setdefault(group, []).append(float(np.mean(inside)))
            sizes[group] = len(inside)
    if not by_group:
        return None
    varies = what_varies(study)
    groups = {g: paired_t(v, level=primary.level, varies=varies) for g, v in by_group.items()}
    return _Line(name, groups, sizes)


def _table(study: Study, primary: Primary, by: str, lines: list[_Line], sizes: dict[str, int]) -> Table:
    order = sorted(sizes, key=_by_number)
    raw = [
        {"arm": line.name, by: group, "problems": line.sizes[group]}
        | {end: getattr(interval, end) for end in ("estimate", "low", "high", "n")}
        for line in lines
        for group, interval in line.groups.items()
    ]
    shown = order[:WIDEST]
    cells = [[line.name, *(interval_text(line.groups.get(group)) for group in shown)] for line in lines]
    note = (
        f"{METRICS[primary.metric]} on {study.task_text(primary.task)}, percent, mean over seeds [t over "
        f"seeds]; n: problems of a seed. What varies: {what_varies(study)}. Differences between groups are "
        "differences between problems, too."
    )
    if len(order) > WIDEST:
        note += f" The first {WIDEST} of {len(order)}; the CSV has all."
    columns = ["arm", *(f"{by} {group} (n = {sizes[group]})" for group in shown)]
    return Table(f"by_{by}", f"Accuracy by {by}", columns, cells, to_frame(raw), note)


def _by_number(group: str) -> tuple[int, float, str]:
    """Levels in the order of their numbers, names in that of the alphabet."""
    return (0, float(group), group) if group.replace(".", "", 1).isdigit() else (1, 0.0, group)
