"""Files of one row a line: metrics.jsonl, and samples of completions. Imports no torch."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NotRequired

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from pydantic_core import from_json
from typing_extensions import TypedDict

from harness.records.fields import Count
from harness.records.published import DIFFERS, make_folder, replacing
from harness.records.reading import RecordError, read_file, reason_of, visible
from harness.records.reasons import naming
from harness.records.records import clean, number

_AGAIN = "delete it and the .json file of its name, and launch the run again to sample them anew"


@with_config(ConfigDict(extra="allow"))
class Completion(TypedDict):
    """One line of <task>.samples.jsonl.gz; early versions lack the last ones. `statements`: [start, end,
    right] of each statement that the step check verified, in characters. `problem` is its text."""

    problem_id: str
    completion: str
    correct: bool
    sample_idx: NotRequired[Count | None]
    problem: NotRequired[str | None]
    reference: NotRequired[str | None]
    extracted: NotRequired[str | None]
    reason: NotRequired[str | None]
    statements: NotRequired[list[tuple[Count, Count, bool]] | None]
    num_steps: NotRequired[Count | None]
    num_wrong_steps: NotRequired[Count | None]
    length: NotRequired[Count | None]
    finish_reason: NotRequired[str | None]


_COMPLETION = TypeAdapter(Completion)


class MetricsWriter:
    """Append one JSON line per step; `truncate` drops the lines after a checkpoint when a run resumes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        make_folder(path.parent)

    def truncate(self, last_step: int) -> None:
        """Keep the lines of steps 1 to `last_step`, byte for byte, ready for more."""
        sums_of(self.path).unlink(missing_ok=True)
        if self.path.exists():
            kept = b"".join(leading_lines(self.path)[:last_step])
            with replacing(self.path) as temporary:
                temporary.write_bytes(kept)

    def append(self, metrics: dict[str, Any]) -> None:
        with naming(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(clean(metrics), allow_nan=False) + "\n")


def sums_of(path: Path) -> Path:
    """The file with a metrics.jsonl's SHA-256, as `sha256sum -c` reads it."""
    return path.with_name(f"{path.name}.sha256")


def write_sums(path: Path) -> None:
    """Write down the SHA-256 of a metrics.jsonl that is complete; one that has none is read unchecked."""
    if not path.exists():  # a run without a step
        return
    with replacing(sums_of(path)) as temporary:
        temporary.write_text(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n")


def leading_lines(path: Path) -> list[bytes]:
    """The lines of steps 1, 2, 3, ... of metrics.jsonl, up to the first that is missing or damaged."""
    lines: list[bytes] = []
    for line in path.read_bytes().splitlines(keepends=True) if path.is_file() else []:
        try:
            step = json.loads(line)["step"]
        except (ValueError, TypeError, KeyError, RecursionError):
            break
        if step != len(lines) + 1 or not line.endswith(b"\n"):
            break
        lines.append(line)
    return lines


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Steps of metrics.jsonl: numbers by name, None where a step has none.

    A last line cut short is left out, unless the file was complete; any other damage raises RecordError,
    which names the line, or the file where its SHA-256 is another than was written.
    """
    if not path.exists():
        return []
    remedy = f"delete {path.parent} and launch the run again to train it anew"
    data, sums = read_file(path, remedy=remedy), sums_of(path)
    if sums.exists() and hashlib.sha256(data).hexdigest().encode() not in read_file(sums, remedy=remedy):
        raise RecordError(f"{path}: {DIFFERS}", remedy)
    rows, lines = [], data.split(b"\n")
    for i, line in enumerate(lines, start=1):
        if not line or line.isspace():
            continue
        try:
            rows.append(_step(from_json(line)))
        except ValueError as error:
            if i == len(lines) and line.startswith(b"{") and not line.endswith(b"}"):
                break  # what a kill leaves
            raise RecordError(f"{path}:{i}: {error}", remedy) from None
    return rows


def _step(row: Any) -> dict[str, Any]:
    """One line as it was written. Raises ValueError that says what is wrong with it."""
    if not isinstance(row, dict):
        raise ValueError("not a JSON object")
    if type(row.get("step")) is not int or not 0 <= row["step"] < 2**53:
        raise ValueError(f"step: {visible(repr(row.get('step')))[:40]} is no number of a step")
    if set(map(type, row.values())) <= {int, float}:
        return row
    row = {name: number(value) for name, value in row.items()}
    for name, value in row.items():
        if not (value is None or isinstance(value, int | float)):
            raise ValueError(f"{visible(name)[:40]}: {visible(repr(value))[:40]} is no number")
    return row


def write_samples(path: Path, rows: Iterable[dict[str, Any]]) -> str:
    """Write completions with their grades, gzipped JSON lines without a clock time. Returns the SHA-256."""
    with (
        replacing(path, entry=False) as target,  # the record that follows it syncs the folder
        target.open("wb") as raw,
        gzip.GzipFile("", "wb", 9, raw, 0) as file,
    ):
        for row in rows:
            file.write((json.dumps(clean(row)) + "\n").encode())
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_samples(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a gzipped file, one at a time. Raises FileNotFoundError, or RecordError that names the line."""
    for where, line in _unzipped(path):
        try:
            row = from_json(line)
        except ValueError as error:
            raise RecordError(f"{where}: not valid JSON ({error})", _AGAIN) from None
        if not isinstance(row, dict):
            raise RecordError(f"{where}: not a JSON object", _AGAIN)
        yield row


def read_completions(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of an evaluation's samples, their fields checked. Raises as `read_samples` does."""
    for where, line in _unzipped(path):
        try:
            yield dict(_COMPLETION.validate_json(line))
        except ValidationError as error:
            raise RecordError(f"{where}: {reason_of(error)}", _AGAIN) from None


def _unzipped(path: Path) -> Iterator[tuple[str, bytes]]:
    """(file:line, its bytes) for each line."""
    if path.exists() and not path.is_file():
        raise RecordError(f"{path}: not a file", "delete it, then launch the run again")
    number_of_line = 0
    with gzip.open(path, "rb") as file:
        try:
            for number_of_line, line in enumerate(file, start=1):
                yield f"{path}:{number_of_line}", line
        except (OSError, EOFError, zlib.error) as error:
            where = f"{path}:{number_of_line + 1}"
            raise RecordError(f"{where}: damaged gzip ({error})", _AGAIN) from None
