"""Reading published problems: from a file in the folder MATH_DATA_DIR, or from the hub."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness.data import jsonl
from harness.data.rows import AnswerRange, problems_of
from harness.grading.find.boxes import boxes
from harness.records.progress import quiet
from harness.types import Problem

FOLDER = "MATH_DATA_DIR"
VALIDATION_PERCENT = 10  # of a training file


@dataclass(frozen=True)
class Source:
    """One file: `file` in the folder (None: hub only), else the rows of `hub_split` of a hub data set.

    `row` turns a hub's row into one with problem, answer, and whatever else it has. `num_problems` is checked
    where it is known. Several `hub_configs` are read one after the other; `keep` says which hub rows belong.
    """

    name: str
    file: str | None
    hub_id: str
    hub_split: str
    row: Callable[[Mapping[str, Any]], dict[str, Any]]
    hub_configs: tuple[str | None, ...] = (None,)
    keep: Callable[[Mapping[str, Any]], bool] = lambda row: True
    num_problems: int | None = None
    answer_range: AnswerRange | None = None

    def load(self, split: str, bad_rows: list[str] | None = None) -> list[Problem]:
        """All its problems, as `split`.

        Raises ValueError for a file or data set that cannot be read, a bad row (file and line) unless
        `bad_rows` collects them, or a number of problems that is not the expected one.
        """
        path = self.path()
        bad: list[str] | None = None if bad_rows is None else []
        problems = problems_of(
            hub_rows(self) if path is None else jsonl.read(path, str(path)),
            dataset=self.name,
            split=split,
            answer_range=self.answer_range,
            bad_rows=bad,
            prefix=Path(self.file).stem if self.file else self.name,
        )
        number = len(problems) + len(bad or ())
        if self.num_problems is not None and number != self.num_problems:
            raise ValueError(
                f"{path or self.hub_id}: {number} problems where {self.num_problems} are expected; "
                "use the whole file"
            )
        if bad_rows is not None:
            bad_rows += bad or ()
        return problems

    def path(self) -> Path | None:
        """The file to read, or None for the hub. Raises ValueError where the folder does not have it."""
        folder = os.environ.get(FOLDER)
        if self.file is None or not folder:
            return None
        path = Path(folder) / self.file
        if not path.is_file():
            raise ValueError(f"{FOLDER}={folder}: no {self.file} there; unset it to read from the hub")
        return path

    def fingerprint(self) -> dict[str, str]:
        """What is read, and the hash of its content (of its problems, where they come from the hub)."""
        path = self.path()
        if path is not None:
            assert self.file is not None
            return {self.file: file_hash(path)}
        return {f"{self.hub_id} {self.hub_split}": _hash_of_hub_rows(self)}


@lru_cache(maxsize=32)
def hub_rows(source: Source) -> list[tuple[str, dict[str, Any] | str]]:
    """The rows of a source's hub data set, read once a process. Raises ValueError where it cannot be read."""
    rows: list[tuple[str, dict[str, Any] | str]] = []
    number = 0
    remedy = f"set {FOLDER} to the folder with {source.file}" if source.file else "connect to a network"
    for config in source.hub_configs:
        for row in read_hub(
            source.hub_id, config, f"{source.name}: {source.hub_id}", remedy, split=source.hub_split
        ):
            if source.keep(row):
                rows.append((f"{source.hub_id}, row {number}", source.row(row)))
            number += 1
    return rows


def read_hub(hub_id: str, config: str | None, name: str, remedy: str, **asked: str | None) -> Any:
    """What `datasets.load_dataset` gives for a hub data set or a local folder.

    Raises ValueError where it cannot be read; `name` and `remedy` begin and end the message.
    """
    from datasets import load_dataset

    try:
        # A hub that does not answer is tried several times, and each says so; the error says it once.
        with quiet("huggingface_hub", "datasets", bars=True):
            return load_dataset(hub_id, config, **asked)
    except Exception as error:  # network, cache and hub each raise a family of their own
        reason = str(error).split("\n")[0]
        raise ValueError(f"{name} cannot be read from the hub ({reason}); {remedy}") from None


@lru_cache(maxsize=32)
def _hash_of_hub_rows(source: Source) -> str:
    content = hashlib.sha256()
    for problem in source.load("all", []):
        content.update("\x1f".join((problem.id, problem.text, problem.answer, "\x1e")).encode())
    return content.hexdigest()


_HASHES: dict[tuple[str, int, int], str] = {}


def file_hash(path: Path) -> str:
    """SHA-256 of a file, read again only when its time or size has changed."""
    status = path.stat()
    key = (str(path), status.st_mtime_ns, status.st_size)
    if key not in _HASHES:
        _HASHES[key] = hashlib.sha256(path.read_bytes()).hexdigest()
    return _HASHES[key]


def in_validation(text: str, seed: int) -> bool:
    """Whether a training problem is held out for validation: a hash of its text, so copies go together."""
    key = f"{seed}\x1f{' '.join(text.lower().split())}".encode()
    return int.from_bytes(hashlib.sha256(key).digest()[:8], "big") % 100 < VALIDATION_PERCENT


def train_or_validation(problems: list[Problem], split: str, seed: int) -> list[Problem]:
    """The part of a training file that is `train` or `validation` under this seed."""
    return [p for p in problems if in_validation(p.text, seed) == (split == "validation")]


def evaluation_only(
    source: Source, split: str, *, seed: int = 0, bad_rows: list[str] | None = None
) -> list[Problem]:
    """All problems of a set for evaluation, as `test`; no other split."""
    return source.load(split, bad_rows) if split == "test" else []


def training_only(
    source: Source, split: str, *, seed: int = 0, bad_rows: list[str] | None = None
) -> list[Problem]:
    """`train`, and a tenth of the problems as `validation` (a hash with the seed); no other split."""
    if split not in ("train", "validation"):
        return []
    return train_or_validation(source.load(split, bad_rows), split, seed)


def columns(**names: str) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """A `row` that renames columns: our name = the hub's."""
    return lambda row: {ours: row[theirs] for ours, theirs in names.items()}


def last_box(solution: str) -> str:
    r"""The content of the last complete \boxed{} alone, also after `and`; "" where there is none."""
    found, _ = boxes(solution)
    return found[-1].content if found else ""


def whole_number(value: object) -> str:
    """27.0 as 27; anything else as it is."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
