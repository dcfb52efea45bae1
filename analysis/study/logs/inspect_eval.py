"""Read Inspect's logs: `.eval`, a zip of samples, and the older `.json`.

Problems pair by the text of a sample's input, since ids are numbers in the order of the data where the author
gave none; an epoch is a further sample of the same model. Values are graded as Inspect's `value_to_float`
grades them: C, I, P and N are 1, 0, a half and 0.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from analysis.study.logs.rows import (
    WORDS,
    Log,
    LogRow,
    Occurrences,
    chosen_metric,
    digest_of,
    part_of,
    score_of,
)

TOOL = "Inspect"
VALUES = {**WORDS, "C": 1.0, "I": 0.0, "P": 0.5, "N": 0.0}
_ZSTANDARD = 93  # of the zip format; Python reads it from 3.14 on
_DAMAGED = "damaged; copy it again, or run the evaluation again"


def read_inspect(path: Path, *, metrics: Sequence[str], tasks: Sequence[str]) -> Log:
    """One log, or a folder of logs of different tasks. Raises ValueError for two of one task."""
    files = [path] if path.is_file() else sorted(path.rglob("*.eval"))
    rows: list[LogRow] = []
    settings: dict[str, dict[str, str]] = {}
    notes: list[str] = []
    for file in files:
        header, samples = _read(file)
        task = str(part_of(header, "eval").get("task"))
        if tasks and task not in tasks:
            continue
        if task in settings:
            raise ValueError(f"{path}: two logs of task {task}; name files, as A.eval,B.eval for two seeds")
        rows += _rows(task, file, samples, metrics)
        settings[task] = _settings(header)
        if header.get("status") != "success":
            notes.append(
                f"{file}: its status is {header.get('status')}: the evaluation did not end by itself"
            )
    return Log(path, TOOL, rows, settings, notes)


def _read(file: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Header and samples. Raises ValueError for what is no log of Inspect."""
    try:
        if file.suffix == ".json":
            header = json.loads(file.read_text(encoding="utf-8"))
            return header, list(header.get("samples") or [])
        with file.open("rb") as raw, zipfile.ZipFile(raw) as archive:
            names = {info.filename: info for info in archive.infolist()}  # the last of a name counts
            if "header.json" not in names:
                raise ValueError(f"{file}: no header.json in it; the evaluation was cut off, let it finish")
            header = json.loads(_content(archive, raw, names["header.json"]))
            return header, list(_samples(archive, raw, names))
    except (zipfile.BadZipFile, zlib.error, OSError, RecursionError, json.JSONDecodeError) as error:
        raise ValueError(f"{file}: not a log of Inspect ({error}); {_DAMAGED}") from None


def _samples(
    archive: zipfile.ZipFile, raw: BinaryIO, names: Mapping[str, zipfile.ZipInfo]
) -> Iterator[dict[str, Any]]:
    for name, info in names.items():
        if name.startswith("samples/") and name.endswith(".json"):
            yield json.loads(_content(archive, raw, info))


def _content(archive: zipfile.ZipFile, raw: BinaryIO, info: zipfile.ZipInfo) -> bytes:
    """A member's bytes, checked by their CRC-32."""
    if info.compress_type != _ZSTANDARD:
        return archive.read(info)
    import pyarrow as pa

    raw.seek(info.header_offset)
    local = raw.read(30)
    raw.seek(sum(int.from_bytes(local[i : i + 2], "little") for i in (26, 28)), 1)  # name, extra field
    packed = raw.read(info.compress_size)
    found: bytes = pa.decompress(packed, decompressed_size=info.file_size, codec="zstd", asbytes=True)
    if zlib.crc32(found) != info.CRC:
        raise zipfile.BadZipFile(f"bad CRC-32 for {info.filename}")
    return found


def _rows(
    task: str, file: Path, samples: Sequence[Mapping[str, Any]], metrics: Sequence[str]
) -> list[LogRow]:
    names = {name: None for sample in samples for name in _values(sample)}
    metric = chosen_metric(list(names), metrics, f"{file}, task {task}")
    keys = Occurrences()
    return [
        LogRow(
            task=task,
            problem=keys.key(task, digest_of(sample.get("input")), sample.get("id")),
            score=score_of(
                _values(sample).get(metric), f"{file}: sample {sample.get('id')}: {metric}", VALUES
            ),
            reference=digest_of(sample.get("target")),
        )
        for sample in samples
    ]


def _values(sample: Mapping[str, Any]) -> dict[str, Any]:
    """Score name -> value; a value of several parts is `scorer/part`."""
    found: dict[str, Any] = {}
    for name, score in part_of(sample, "scores").items():
        value = score.get("value") if isinstance(score, dict) else score
        parts = {f"{name}/{part}": each for part, each in value.items()} if isinstance(value, dict) else {}
        found |= parts or {name: value}
    return found


def _settings(header: Mapping[str, Any]) -> dict[str, str]:
    """Version, arguments, sampling, scorers and epochs of the task."""
    about = part_of(header, "eval")
    config = part_of(about, "config")
    known = {
        "task version": about.get("task_version"),
        "task arguments": about.get("task_args"),
        "generation settings": {
            **part_of(about, "model_generate_config"),
            **part_of(part_of(header, "plan"), "config"),
        },
        "solvers": [step.get("solver") for step in part_of(header, "plan").get("steps") or []],
        "scorers": [[s.get("name"), s.get("options")] for s in about.get("scorers") or []],
        "epochs": config.get("epochs"),
        "limit": config.get("limit"),
        "Inspect's version": part_of(about, "packages").get("inspect_ai"),
    }
    return {name: json.dumps(value, sort_keys=True) for name, value in known.items()}
