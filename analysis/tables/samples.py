"""Completions for a reader: the same problems in every arm, from the checkpoint judged by and the base.

Each stands beside its problem's text and reference answer, where the record has them, and says whether
training changed the problem: `lost` (base right, arm wrong) or `gained`, by the greedy answer where both have
one, else by whether half of the samples are right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from analysis.study.bases import base_names
from analysis.study.contrasts import Primary, final_rows
from analysis.study.load import Study
from harness.records.lines import read_completions
from harness.records.reading import RecordError

PROBLEMS = 24
CHANGED = 6  # problems lost, and as many gained, that are shown besides
LOST, GAINED = "lost", "gained"
SAMPLES = 3  # a problem and arm, greedy apart
MAX_CHARACTERS = 4000  # of one completion; the record has it whole


def sample_rows(study: Study, primary: Primary) -> list[dict[str, Any]]:
    """Rows for the browser, by problem and then arm. Damaged files are named in `study.damaged`."""
    sources = _sources(study, primary)
    if not sources:
        return []
    changes = {s.arm: changed_problems(s.row, s.before) for s in sources if s.before is not None}
    wanted = _wanted(sources, changes)
    rows = [row for source in sources for row in _read(study, source, set(wanted))]
    for row in rows:
        _mark_change(row, changes)
    if rows:  # with no completions at all, there is no file to miss
        study.damaged += [
            f"{source.row['samples']}: no such file; its completions are not shown"
            for source in sources
            if not source.row["samples"].exists()
        ]
    place = {problem: i for i, problem in enumerate(wanted)}
    return sorted(rows, key=lambda row: place[row["problem"]])  # stable: arms stay in their order


def changed_problems(after: Any, before: Any) -> dict[str, str]:
    """Problem id -> LOST or GAINED, by two evaluation rows; problems that one of them lacks are left out."""
    found = {}
    was = dict(zip(before["problem_ids"], _solved(before, after), strict=True))
    for problem, right in zip(after["problem_ids"], _solved(after, before), strict=True):
        if problem in was and was[problem] != right:
            found[problem] = GAINED if right else LOST
    return found


def _solved(row: Any, other: Any) -> list[bool]:
    """Whether each problem of a row is solved, by the rule that both rows allow."""
    if len(row["greedy_problems"]) and len(other["greedy_problems"]):
        return [bool(right) for right in row["greedy_problems"]]
    return [share >= 0.5 for share in row["per_problem"]]


def _mark_change(row: dict[str, Any], changes: Mapping[str, Mapping[str, str]]) -> None:
    """Give a completion its problem's change: an arm's its own, a base's those of its arms by name."""
    if row["base_of"]:
        found = {arm: changes.get(arm, {}).get(row["problem"], "") for arm in row["base_of"]}
        row["change"] = {arm: change for arm, change in found.items() if change}
    else:
        row["change"] = changes.get(row["arm"], {}).get(row["problem"], "")


@dataclass
class _Source:
    """Completions of one seed: an arm's, with its base's evaluation, or a base's, with the arms of it."""

    arm: str
    seed: str
    row: Any
    before: Any = None
    base_of: list[str] = field(default_factory=list)


def _sources(study: Study, primary: Primary) -> list[_Source]:
    """Each arm's first seed, after its base unless already listed."""
    sources: list[_Source] = []
    seen: dict[Path, _Source] = {}
    bases = base_names(study, primary.task)
    for label in [arm.label for arm in study.record.arms]:
        before = final_rows(study, label, primary.task, base=True)
        for name, is_base in ((bases[label], True), (label, False)):
            rows = before if is_base else final_rows(study, label, primary.task)
            seed = next(iter(rows), None)
            if seed is None or (sources and rows[seed]["draw"] != sources[0].row["draw"]):
                continue  # none, or the same ids and other problems
            place = rows[seed]["samples"]
            if place not in seen:
                seen[place] = _Source(name, seed, rows[seed], None if is_base else before.get(seed))
                sources.append(seen[place])
            if is_base:
                seen[place].base_of.append(label)
    return sources


def _wanted(sources: Sequence[_Source], changes: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Problems evenly over difficulty, then some of those that an arm lost and gained."""
    wanted = _spread_out([source.row for source in sources])
    for change in (LOST, GAINED):
        found = {p for each in changes.values() for p, what in each.items() if what == change}
        wanted += sorted(found - set(wanted))[:CHANGED]
    return wanted


def _spread_out(rows: list[Any]) -> list[str]:
    """Problems from the hardest to the easiest over all sources, evenly spaced in rank."""
    values: dict[str, list[float]] = {}
    for row in rows:
        for problem, value in zip(row["problem_ids"], row["per_problem"], strict=True):
            values.setdefault(problem, []).append(value)
    order = sorted(values, key=lambda problem: (float(np.mean(values[problem])), problem))
    picked = np.linspace(0, len(order) - 1, min(PROBLEMS, len(order))).astype(int)
    return [order[i] for i in picked]


def _read(study: Study, source: _Source, wanted: set[str]) -> list[dict[str, Any]]:
    path: Path = source.row["samples"]
    if not path.exists():
        return []
    found: list[dict[str, Any]] = []
    counts: dict[str, int] = {}
    try:
        for row in read_completions(path):
            problem, greedy = row["problem_id"], row.get("sample_idx") is None
            if problem not in wanted or (not greedy and counts.get(problem, 0) >= SAMPLES):
                continue
            counts[problem] = counts.get(problem, 0) + (not greedy)
            found.append(_shown(row, source, greedy))
    except (OSError, RecordError) as error:
        study.damaged.append(f"{error}; its completions are not shown")
    return found


def _shown(row: dict[str, Any], source: _Source, greedy: bool) -> dict[str, Any]:
    """`marks`: the record's [start, end, right] of each statement that the step check verified, in
    characters; a record of an earlier version has none."""
    text = str(row["completion"])
    marks = [mark for mark in row.get("statements") or () if mark[1] <= MAX_CHARACTERS]
    return {
        "problem": str(row["problem_id"]),
        "question": row.get("problem"),
        "reference": row.get("reference"),
        "arm": source.arm,
        "seed": source.seed,
        "base_of": source.base_of,
        "sample": "greedy" if greedy else f"sample {row['sample_idx']}",
        "text": text[:MAX_CHARACTERS],
        "more": max(0, len(text) - MAX_CHARACTERS),
        "right": bool(row["correct"]),
        "answer": row.get("extracted"),
        "reason": row.get("reason") or "",
        "marks": marks,
        "steps": int(row.get("num_steps") or 0),
        "wrong": int(row.get("num_wrong_steps") or 0),
        "tokens": row.get("length"),
        "cut": row.get("finish_reason") == "length",
    }
