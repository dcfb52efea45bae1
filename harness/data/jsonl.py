"""Problems from a JSON Lines file: one object a line with `problem` (or `question`) and `answer`."""

from __future__ import annotations

import json
from pathlib import Path

from harness.types import Problem


def load(path: Path, *, split: str, answer_range: tuple[int, int] | None) -> list[Problem]:
    """The rows whose `split` is the one asked for (`test` where a row has none).

    Raises ValueError naming file and line for a row that is malformed or whose answer is out of range.
    """
    problems = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        where = f"data.path={path}, line {number}"
        row = _row(line, where)
        if row.get("split", "test") != split:
            continue
        text = row.get("problem") or row.get("question")
        answer = str(row.get("answer", "")).strip()
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"{where}: no text; each line needs a non-empty `problem`")
        if not answer:
            raise ValueError(f"{where}: no answer; each line needs a non-empty `answer`")
        check_answer(answer, answer_range, where)
        problems.append(
            Problem(
                id=str(row.get("id", f"{path.stem}-{number}")),
                dataset=path.stem,
                split=split,
                text=text,
                answer=answer,
                topic=row.get("topic") or row.get("subject"),
                level=row.get("level"),
                solution=row.get("solution"),
                pair_id=row.get("pair_id"),
            )
        )
    return problems


def _row(line: str, where: str) -> dict:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{where}: not JSON ({error.msg} at column {error.colno}); mend or delete it"
        ) from None
    if not isinstance(row, dict):
        raise ValueError(f'{where}: not a JSON object; write {{"problem": ..., "answer": ...}}')
    return row


def check_answer(answer: str, answer_range: tuple[int, int] | None, where: str) -> None:
    """An AIME answer is an integer from 0 to 999. Raises ValueError."""
    if answer_range is None:
        return
    low, high = answer_range
    if not (answer.isascii() and answer.isdigit() and low <= int(answer) <= high):
        raise ValueError(
            f"{where}: answer={answer!r} is not an integer from {low} to {high}; "
            "mend it, or set data.answer_range=null for a task that is not AIME-like"
        )
