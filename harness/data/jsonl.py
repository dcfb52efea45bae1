"""Problems from a JSON Lines file: one object a line with `problem` (or `question`) and `answer`."""

from __future__ import annotations

import json
from pathlib import Path

from harness.types import Problem


def load(path: Path, *, split: str, answer_range: tuple[int, int] | None) -> list[Problem]:
    """The rows whose `split` is the one asked for (`test` where a row has none).

    Raises ValueError naming file and line for a row that is malformed, whose answer is out of range, or whose
    id another row of the split has.
    """
    problems: list[Problem] = []
    lines: dict[str, int] = {}
    # Not splitlines: JSON strings may hold line separators of Unicode's.
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"data.path={path}, line {number}"
        row = _row(line, where)
        if row.get("split", "test") != split:
            continue
        text = row.get("problem") or row.get("question")
        given = row.get("answer")
        answer = "" if given is None else str(given).strip()
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"{where}: no text; each line needs a non-empty `problem`")
        if not answer:
            raise ValueError(f"{where}: no answer; each line needs a non-empty `answer`")
        check_answer(answer, answer_range, where)
        name = str(row.get("id", f"{path.stem}-{number}"))
        if lines.setdefault(name, number) != number:
            raise ValueError(f"{where}: id={name!r} is line {lines[name]}'s too; give each problem its own")
        problems.append(
            Problem(
                id=name,
                dataset=path.stem,
                split=split,
                text=text,
                answer=answer,
                topic=row.get("topic") or row.get("subject"),
                level=_level(row.get("level"), where),
                solution=row.get("solution"),
                pair_id=row.get("pair_id"),
            )
        )
    return problems


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ValueError(f"data.path={path}: {error.strerror}; name a JSONL file to read") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"data.path={path}: not UTF-8 at byte {error.start}; convert it") from None


def _level(value: object, where: str) -> int | None:
    """5, "5" or MATH's "Level 5"."""
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    digits = str(value).lower().removeprefix("level").strip()
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError(f"{where}: level={value!r} is not a whole number; mend it, or leave it out")
    return int(digits)


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
