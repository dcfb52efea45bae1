"""Completions on the terminal: problem, reference, and what each arm and its base wrote."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.records.reading import visible

Row = Mapping[str, Any]


def matching(
    rows: Sequence[Row],
    *,
    arm: str | None = None,
    problem: str | None = None,
    grade: str | None = None,
    change: str | None = None,
) -> list[Row]:
    """Rows that every given filter keeps, in their order: the page's filters.

    `change` (lost, gained) keeps completions of arms on such problems, and those of their bases beside them.
    Raises ValueError for an arm or a problem that no row has.
    """
    for name, value in (("arm", arm), ("problem", problem)):
        known = list(dict.fromkeys(row[name] for row in rows))
        if value is not None and value not in known:
            raise ValueError(f"--{name} {value}: not among {', '.join(known[:12])}")
    return [
        row
        for row in rows
        if (problem is None or row["problem"] == problem)
        and (grade is None or row["right"] == (grade == "right"))
        and (arm is None or row["arm"] == arm or (change is not None and arm in row["base_of"]))
        and (change is None or _changed(row, arm, change))
    ]


def _changed(row: Row, arm: str | None, change: str) -> bool:
    if not row["base_of"]:
        return bool(row["change"] == change)
    return any(what == change for name, what in row["change"].items() if arm in (None, name))


def samples_text(rows: Sequence[Row], *, limit: int) -> Iterator[str]:
    """Lines of the first `limit` completions, each problem's text and reference above its own."""
    last = None
    for row in rows[:limit]:
        if row["problem"] != last:
            last = row["problem"]
            reference = "" if row["reference"] is None else f"  (reference {row['reference']})"
            yield f"== {visible(last)}{visible(reference)}"
            yield visible(row["question"]) if row["question"] is not None else _NO_TEXT
        grade = "right" if row["right"] else "wrong"
        answer = "no answer" if row["answer"] is None else f"answer {' '.join(str(row['answer']).split())}"
        yield visible(f"-- {row['arm']}, seed {row['seed']}, {row['sample']}: {grade}, {answer}")
        yield visible(row["text"]) + (f"\n… {row['more']} more characters" if row["more"] else "")
        yield ""
    if len(rows) > limit:
        yield f"{len(rows) - limit} more match; --limit {len(rows)} shows all"


_NO_TEXT = "(an early record: it has no text of the problem; evaluate the run again to have it)"
