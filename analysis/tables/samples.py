"""Completions for a reader: the same problems in every arm, from the checkpoint judged by and the base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from analysis.study.contrasts import Primary, base_name, final_rows
from analysis.study.load import Study
from harness.records.lines import read_completions
from harness.records.reading import RecordError

PROBLEMS = 24
SAMPLES = 3  # a problem and arm, greedy apart
MAX_CHARACTERS = 4000  # of one completion; the record has it whole


def sample_rows(study: Study, primary: Primary) -> list[dict[str, Any]]:
    """Rows for the browser, by problem and then arm. Damaged files are named in `study.damaged`."""
    sources = _sources(study, primary)
    if not sources:
        return []
    wanted = _spread_out([row for _, _, row in sources])
    rows = [row for name, seed, source in sources for row in _read(study, name, seed, source, set(wanted))]
    if rows:  # with no completions at all, there is no file to miss
        study.damaged += [
            f"{row['samples']}: no such file; its completions are not shown"
            for _, _, row in sources
            if not row["samples"].exists()
        ]
    place = {problem: i for i, problem in enumerate(wanted)}
    return sorted(rows, key=lambda row: place[row["problem"]])  # stable: arms stay in their order


def _sources(study: Study, primary: Primary) -> list[tuple[str, str, Any]]:
    """(arm or base, seed, evaluation row): each arm's first seed, after its base unless already listed."""
    sources: list[tuple[str, str, Any]] = []
    seen: set[Path] = set()
    for label in [arm.label for arm in study.record.arms]:
        for name, is_base in ((base_name(study, label), True), (label, False)):
            rows = final_rows(study, label, primary.task, base=is_base)
            seed = next(iter(rows), None)
            if seed is not None and sources and rows[seed]["draw"] != sources[0][2]["draw"]:
                continue  # the same ids, and other problems
            if seed is not None and rows[seed]["samples"] not in seen:
                seen.add(rows[seed]["samples"])
                sources.append((name, seed, rows[seed]))
    return sources


def _spread_out(rows: list[Any]) -> list[str]:
    """Problems from the hardest to the easiest over all sources, evenly spaced in rank."""
    values: dict[str, list[float]] = {}
    for row in rows:
        for problem, value in zip(row["problem_ids"], row["per_problem"], strict=True):
            values.setdefault(problem, []).append(value)
    order = sorted(values, key=lambda problem: (float(np.mean(values[problem])), problem))
    picked = np.linspace(0, len(order) - 1, min(PROBLEMS, len(order))).astype(int)
    return [order[i] for i in picked]


def _read(study: Study, arm: str, seed: str, source: Any, wanted: set[str]) -> list[dict[str, Any]]:
    path: Path = source["samples"]
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
            found.append(_shown(row, arm, seed, greedy))
    except (OSError, RecordError) as error:
        study.damaged.append(f"{error}; its completions are not shown")
    return found


def _shown(row: dict[str, Any], arm: str, seed: str, greedy: bool) -> dict[str, Any]:
    """`marks`: the record's [start, end, right] of each statement that the step check verified, in
    characters; a record of an earlier version has none."""
    text = str(row["completion"])
    marks = [mark for mark in row.get("statements") or () if mark[1] <= MAX_CHARACTERS]
    return {
        "problem": str(row["problem_id"]),
        "arm": arm,
        "seed": seed,
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
