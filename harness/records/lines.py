"""Files of one row a line: metrics.jsonl, and samples of completions. Imports no torch."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from harness.records.published import make_folder, replacing
from harness.records.reasons import naming
from harness.records.records import RecordError, clean, number


class MetricsWriter:
    """Append one JSON line per step; `truncate` drops the lines after a checkpoint when a run resumes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        make_folder(path.parent)

    def truncate(self, last_step: int) -> None:
        """Keep the lines of steps 1 to `last_step`, byte for byte."""
        if self.path.exists():
            kept = b"".join(leading_lines(self.path)[:last_step])
            with replacing(self.path) as temporary:
                temporary.write_bytes(kept)

    def append(self, metrics: dict[str, Any]) -> None:
        with naming(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(clean(metrics), allow_nan=False) + "\n")


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
    """The steps of metrics.jsonl. A last line cut short is left out; other damage raises RecordError."""
    if not path.exists():
        return []
    rows, lines = [], path.read_bytes().split(b"\n")
    for i, line in enumerate(lines):
        if not line:
            continue
        try:
            rows.append({k: number(v) for k, v in json.loads(line).items()})
        except (ValueError, AttributeError) as error:  # not JSON or not UTF-8; not an object
            if i == len(lines) - 1:
                break
            raise RecordError(f"{path}:{i + 1}: not a JSON object") from error
    return rows


def write_samples(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Completions with their grades, gzipped JSON lines; bytes do not depend on the clock."""
    with (
        replacing(path, entry=False) as target,  # the record that follows it syncs the folder
        target.open("wb") as raw,
        gzip.GzipFile("", "wb", 9, raw, 0) as file,
    ):
        for row in rows:
            file.write((json.dumps(clean(row)) + "\n").encode())


def read_samples(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)
