"""What other tools' logs come down to: one graded sample a row, and what two logs should have alike."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

WORDS = {"true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0}


@dataclass(frozen=True, slots=True)
class LogRow:
    """One graded sample. `problem` is what pairs it: a digest of the problem's text.

    `score` lies in [0, 1]; None where the tool has none, as after an error. `reference` and `prompt` are
    digests: two logs may ask the same problem differently, or have another answer to it.
    """

    task: str
    problem: str
    score: float | None
    seed: str | None = None
    reference: str | None = None
    prompt: str | None = None


@dataclass(frozen=True)
class Log:
    """One file or folder that a tool wrote. `settings` are its protocol, by task and name."""

    path: Path
    tool: str
    rows: Sequence[LogRow]
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    notes: Sequence[str] = ()


def digest_of(value: Any) -> str:
    """SHA-256 of a text, or of the roles and contents of chat messages; message ids are left out."""
    if isinstance(value, list | tuple) and all(isinstance(part, Mapping) for part in value):
        value = [[part.get("role"), part.get("content")] for part in value]
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class Occurrences:
    """Keys of problems whose text may stand in the data more than once: the text's, then `#2`, `#3`, ..."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], list[Any]] = {}

    def key(self, task: str, text: str, number: Any) -> str:
        """Key of the problem that the log calls `number`, in the order of their first rows."""
        numbers = self._seen.setdefault((task, text), [])
        if number not in numbers:
            numbers.append(number)
        place = numbers.index(number)
        return text if place == 0 else f"{text}#{place + 1}"


def score_of(value: Any, where: str, words: Mapping[str, float] = WORDS) -> float | None:
    """A grade in [0, 1]: a truth value, a number, a word for either; None for None and NaN.

    Raises ValueError for anything else: a reward of −1 is no share of right answers.
    """
    if value is None:
        return None
    number = value
    if isinstance(value, str):
        word = value.strip()
        number = words.get(word, words.get(word.lower()))
        if number is None:
            try:
                number = float(word)
            except ValueError:
                number = value
    if isinstance(number, str | list | tuple | dict) or not hasattr(number, "__float__"):
        raise ValueError(
            f"{where}: {str(value)[:60]!r} is no grade; name a column or metric of right and wrong"
        )
    found = float(number)
    if found != found:
        return None
    if not isfinite(found) or not 0 <= found <= 1:
        raise ValueError(
            f"{where}: {found:g} lies outside [0, 1]; say what is right, as in --columns correct=score>0, "
            "or name another metric"
        )
    return found


def json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(file:line, row) of a JSON Lines file. Raises ValueError that names a damaged line."""
    with path.open(encoding="utf-8") as file:
        try:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield f"{path}:{number}", _row(line, f"{path}:{number}")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: not UTF-8 text ({error.reason})") from None


def _row(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: not valid JSON ({error})") from None
    if not isinstance(row, dict):
        raise ValueError(f"{where}: not a JSON object")
    return row


def chosen_metric(found: Sequence[str], asked: Sequence[str], where: str) -> str:
    """The one metric to compare: the asked one, by its whole name or its part before the comma or slash.

    Raises ValueError where none or several would do: a metric is never chosen for its result.
    """
    fitting = [name for name in found if not asked or name in asked]
    if asked and not fitting:
        fitting = [name for name in found if any(name.startswith((f"{a},", f"{a}/")) for a in asked)]
    if len(fitting) == 1:
        return fitting[0]
    why = "several metrics" if fitting else f"no metric {' or '.join(asked)}" if asked else "no metric"
    remedy = (
        f"give --metric, one of {'; '.join(fitting or found)}" if found else "it has no grades to compare"
    )
    raise ValueError(f"{where}: {why}; {remedy}")


def part_of(record: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A record's own record of this name, empty where it has none."""
    part = record.get(name)
    return part if isinstance(part, dict) else {}
