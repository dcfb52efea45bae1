"""Rows of any source -> problems, with every bad row named by where it stands."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from harness.grading.code.program import reference_text
from harness.types import Problem

AnswerRange = tuple[int, int]
MAX_NAMED = 5  # bad rows that an error spells out; the others are counted


def problems_of(
    rows: Iterable[tuple[str, Mapping[str, Any] | str]],
    *,
    dataset: str,
    split: str,
    answer_range: AnswerRange | None,
    bad_rows: list[str] | None,
    prefix: str | None = None,
) -> list[Problem]:
    """A problem for each (where, row); where a row is a text, that is what is wrong with it.

    A row has `problem` (or `question`) and `answer`, or, where a program is asked for, `prompt` (or
    `problem`), `tests` and `entry_point` (harness/grading/code/program.py). It may have id, topic (or
    subject), level, solution, pair_id and exact; a row without an id is called
    <prefix, else dataset>-<its number>. Bad rows go to `bad_rows`, one line each; with None they raise
    ValueError, all in one.
    """
    problems: list[Problem] = []
    places: dict[str, str] = {}
    bad: list[str] = []
    for where, row in rows:
        try:
            if isinstance(row, str):
                raise ValueError(row)
            name = f"{prefix or dataset}-{where.rsplit(' ', 1)[-1]}"
            problem = _problem(row, dataset, split, name, answer_range)
            if (first := places.setdefault(problem.id, where)) != where:
                last = first.rsplit(", ", 1)[-1]
                raise ValueError(f"id={problem.id!r} is {last}'s too; give each problem its own")
        except ValueError as error:
            bad.append(f"{where}: {error}")
        else:
            problems.append(problem)
    if bad and bad_rows is None:
        more = f"; and {len(bad) - MAX_NAMED} more bad rows" if len(bad) > MAX_NAMED else ""
        raise ValueError("; ".join(bad[:MAX_NAMED]) + more)
    if bad_rows is not None:
        bad_rows += bad
    return problems


def _problem(
    row: Mapping[str, Any], dataset: str, split: str, name: str, answer_range: AnswerRange | None
) -> Problem:
    text = row.get("problem") or row.get("question")
    if row.get("tests") is not None:
        text = text or row.get("prompt")
        row = {**row, "answer": reference_text(row), "exact": True}
    answer = (_text("answer", row.get("answer")) or "").strip()
    if not isinstance(text, str) or not text.strip():
        raise ValueError("no text; each line needs a non-empty `problem`")
    if not answer:
        raise ValueError("no answer; each line needs a non-empty `answer`")
    _check_answer(answer, answer_range)
    exact = row.get("exact")
    if exact is not None and not isinstance(exact, bool):
        raise ValueError(f"exact={exact!r} is not true or false; mend it, or leave it out")
    topic = "topic" if row.get("topic") else "subject"
    return Problem(
        id=_text("id", row.get("id")) or name,
        dataset=dataset,
        split=split,
        text=_text("problem", text) or "",
        answer=answer,
        topic=_text(topic, row.get(topic)),
        level=_level(row.get("level")),
        solution=_text("solution", row.get("solution")),
        pair_id=_text("pair_id", row.get("pair_id")),
        exact=exact is True,
    )


def _text(field: str, value: object) -> str | None:
    """The text of a field that holds a text or a number, else None. Raises ValueError for anything else."""
    if value is None:
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not (number or isinstance(value, str)):
        shown = value if isinstance(value, bool | float) else type(value).__name__
        raise ValueError(f"{field}: {str(shown).lower()} is no text or number; mend it, or leave it out")
    text = str(value)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = text[error.start].encode("unicode_escape").decode()
        raise ValueError(f"{field}: {half} is half a character; write it whole") from None
    return text


def _level(value: object) -> int | None:
    """5, "5" or MATH's "Level 5"; "Level ?", which MATH has, is None."""
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    digits = str(value).lower().removeprefix("level").strip()
    if digits == "?":
        return None
    if not (digits.isascii() and digits.isdigit() and len(digits) < 10):
        raise ValueError(f"level={_short(value)} is not a whole number; mend it, or leave it out")
    return int(digits)


def _check_answer(answer: str, answer_range: AnswerRange | None) -> None:
    """An AIME answer is an integer from 0 to 999."""
    if answer_range is None:
        return
    low, high = answer_range
    digits = answer.isascii() and answer.isdigit() and len(answer) < 20  # Python refuses 4,301 digits
    if not (digits and low <= int(answer) <= high):
        raise ValueError(
            f"answer={_short(answer)} is not an integer from {low} to {high}; "
            "mend it, or set data.answer_range=null for a task that is not AIME-like"
        )


def _short(value: object) -> str:
    """The value as Python shows it, cut where it is long."""
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:60]}…"
