"""Problems from a JSON Lines file: one object a line with `problem` (or `question`) and `answer`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.data.rows import AnswerRange, problems_of
from harness.schema.data_config import SPLITS
from harness.schema.source_config import ColumnsConfig, renamed
from harness.types import Problem


def load(
    path: Path,
    *,
    split: str,
    answer_range: AnswerRange | None,
    bad_rows: list[str] | None = None,
    columns: ColumnsConfig | None = None,
    answer_pattern: str | None = None,
) -> list[Problem]:
    """The rows whose `split` is the one asked for (`test` where a row has none).

    `columns` and `answer_pattern` say where problem and answer stand (harness/schema/source_config.py).

    A row that is malformed, of an unknown split, whose answer is out of range or whose id another row of the
    split has is named by file and line: in `bad_rows`, or with None in a ValueError.
    """
    named = columns or ColumnsConfig()
    found = (
        (where, row if isinstance(row, str) else of_known_split(renamed(row, named, answer_pattern)))
        for where, row in read(path, f"data.path={path}")
    )
    rows = ((where, r) for where, r in found if isinstance(r, str) or r.get("split", "test") == split)
    return problems_of(rows, dataset=path.stem, split=split, answer_range=answer_range, bad_rows=bad_rows)


def read(path: Path, name: str) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """(`<name>, line <n>`, row) for each line that is not blank; a text says why a line is no row.

    Raises ValueError for a file that cannot be read.
    """
    # Not splitlines: JSON strings may hold line separators of Unicode's.
    for number, line in enumerate(_text(path, name).split("\n"), start=1):
        if line and not line.isspace():
            yield f"{name}, line {number}", _row(line)


def of_known_split(row: dict[str, Any] | str) -> dict[str, Any] | str:
    """The row, or what is wrong with its split."""
    if isinstance(row, str) or row.get("split", "test") in SPLITS:
        return row
    return f"split={row['split']!r} is none of {', '.join(SPLITS)}; mend it, or leave it out (test)"


def _text(path: Path, name: str) -> str:
    if path.exists() and not (path.is_file() or path.is_dir()):  # a pipe: it is read more than once
        raise ValueError(f"{name}: a pipe or device; name a JSONL file to read")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{name}: {error.strerror}; name a JSONL file to read") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ValueError(f"{name}, line {line}: not UTF-8 at byte {error.start}; convert it") from None


def _row(line: str) -> dict[str, Any] | str:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        return f"not JSON ({error.msg} at column {error.colno}); mend or delete it"
    except ValueError:  # Python's limit to the digits of a number
        return "a number of more than 4,300 digits; write it as a text, in quotes"
    except RecursionError:
        return "nested too deeply; mend or delete it"
    if not isinstance(row, dict):
        return 'not a JSON object; write {"problem": ..., "answer": ...}'
    return row
