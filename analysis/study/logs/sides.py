"""Logs of each side by seed, and their grades on the problems that all of them share."""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from analysis.study.load import seed_order
from analysis.study.logs.generations import SUFFIXES, read_generations
from analysis.study.logs.inspect_eval import read_inspect
from analysis.study.logs.lm_eval_samples import PATTERN, read_lm_eval
from analysis.study.logs.rows import Log, LogRow

_SEED = re.compile(r"seed[-_=]?(\d+)|(?:^|[-_/.])s(\d+)(?=$|[-_/.])", re.IGNORECASE)
_GIVEN = re.compile(r"(\w+)=(.+)")
ALONE = "one log"  # the seed of a side that has a single log without one


@dataclass(frozen=True)
class Options:
    """What the command line says about logs: columns by name, metrics, tasks, step."""

    columns: Mapping[str, str] = field(default_factory=dict)
    metrics: Sequence[str] = ()
    tasks: Sequence[str] = ()
    step: int | None = None


@dataclass(frozen=True)
class Side:
    """One method: its rows by seed, and the logs that they are from."""

    name: str
    logs: Sequence[Log]
    rows: Mapping[str, Sequence[LogRow]]

    @property
    def tasks(self) -> list[str]:
        return list(dict.fromkeys(row.task for rows in self.rows.values() for row in rows))


@dataclass(frozen=True)
class Grid:
    """Grades of one task on the problems that every log of both sides has, P of them in one order.

    `first` [S1, P] and `second` [S2, P] are means over a problem's samples, a row for each of `seeds`.
    `samples`: the fewest and the most of a problem and seed.
    """

    task: str
    problems: Sequence[str]
    seeds: tuple[Sequence[str], Sequence[str]]
    first: NDArray[np.float64]
    second: NDArray[np.float64]
    samples: tuple[int, int]
    notes: Sequence[str]

    @property
    def shared(self) -> list[str]:
        """Seeds of both sides."""
        return [seed for seed in self.seeds[0] if seed in self.seeds[1]]


def is_logs(text: str) -> bool:
    """True for what only another tool writes: a list, a pattern, a file, or a folder of logs without runs."""
    path = Path(text)
    if path.is_dir():
        marks = ("study.json", "finding.json", "*/run.json")
        found = (
            next(path.rglob(pattern), None) for pattern in (PATTERN, "*.eval", *(f"*{s}" for s in SUFFIXES))
        )
        return not any(next(path.glob(mark), None) for mark in marks) and any(found)
    return path.is_file() or any(sign in text for sign in ",*?[") or _GIVEN.fullmatch(text) is not None


def read_side(text: str, options: Options) -> Side:
    """A path, several with commas between, a pattern, or SEED=PATH. Raises ValueError in one line."""
    named = _paths(text)
    logs = [_read(path, options) for _, path in named]
    tools = sorted({log.tool for log in logs})
    if len(tools) > 1:
        raise ValueError(f"{text}: logs of {' and '.join(tools)}; a side is of one tool")
    rows: dict[str, list[LogRow]] = {}
    for (seed, path), log in zip(named, logs, strict=True):
        own: dict[str, list[LogRow]] = {}
        for row in log.rows:
            own.setdefault(row.seed or _seed_of(seed, path, len(named)), []).append(row)
        for name, found in own.items():
            if name in rows:
                raise ValueError(f"{text}: seed {name} stands there twice; name them, as 0=PATH,1=PATH")
            rows[name] = found
    if not rows:
        asked = f" of {', '.join(options.tasks)}" if options.tasks else ""
        raise ValueError(f"{text}: no graded samples{asked}")
    return Side(text, logs, {seed: rows[seed] for seed in sorted(rows, key=seed_order)})


def _paths(text: str) -> list[tuple[str | None, Path]]:
    """(seed where it is given, path) of each log."""
    found: list[tuple[str | None, Path]] = []
    for part in [text] if Path(text).exists() else text.split(","):
        given = None if Path(part).exists() else _GIVEN.fullmatch(part)
        seed, place = (given[1], given[2]) if given else (None, part)
        matches = [place] if Path(place).exists() else sorted(glob.glob(place))
        if not matches:
            raise ValueError(f"{place}: no such file or folder")
        found += [(seed, Path(match)) for match in matches]
    return found


def _seed_of(seed: str | None, path: Path, number: int) -> str:
    if seed is not None:
        return seed
    if number == 1:
        return ALONE
    found = [a or b for a, b in _SEED.findall(str(path.with_suffix("") if path.is_file() else path))]
    if not found:
        raise ValueError(f"{path}: one of several logs, and no seed in its name; give 0=PATH,1=PATH")
    return found[-1].lstrip("0") or "0"


def _read(path: Path, options: Options) -> Log:
    """The log at a path, by what its files are called."""
    kinds = [kind for kind in ("inspect", "lm_eval", "generations") if _is(path, kind)]
    if kinds[:1] == ["inspect"] and kinds[1:]:
        raise ValueError(f"{path}: logs of several tools; name the files or folders of one")
    if not kinds:
        raise ValueError(f"{path}: no logs there: *.eval, {PATTERN}, *.jsonl or *.parquet")
    if kinds[0] == "generations":
        if options.metrics:
            raise ValueError(f"{path}: --metric is for lm-eval and Inspect; give --columns correct=COLUMN")
        return read_generations(path, columns=options.columns, step=options.step, tasks=options.tasks)
    if given := [name for name in ("columns", "step") if getattr(options, name) not in ({}, None)]:
        raise ValueError(f"{path}: --{given[0]} is for generations; this log says by itself what is what")
    read = read_inspect if kinds[0] == "inspect" else read_lm_eval
    return read(path, metrics=options.metrics, tasks=options.tasks)


def _is(path: Path, kind: str) -> bool:
    if path.is_file():
        lm_eval = path.name.startswith("samples_") and path.suffix == ".jsonl"
        return {"inspect": path.suffix in (".eval", ".json"), "lm_eval": lm_eval}.get(
            kind, path.suffix in SUFFIXES
        )
    patterns = {"inspect": ["*.eval"], "lm_eval": [PATTERN]}.get(kind, [f"*{suffix}" for suffix in SUFFIXES])
    return any(next(path.rglob(pattern), None) for pattern in patterns)


def grid(first: Side, second: Side, task: str) -> Grid:
    """Pair one task. Raises ValueError where no problem is in every log."""
    by_seed = [{seed: _grades(rows, task) for seed, rows in side.rows.items()} for side in (first, second)]
    by_seed = [{seed: grades for seed, grades in side.items() if grades} for side in by_seed]
    every = [set(grades) for side in by_seed for grades in side.values()]
    shared = sorted(set.intersection(*every))
    if not shared:
        raise ValueError(
            f"{task}: no problem is in every log of {first.name} and {second.name}, by its text. Other data "
            "or another template? Give --columns problem=COLUMN, one of the bare problem, where there is one"
        )
    counts = [len(grades[p]) for side in by_seed for grades in side.values() for p in shared]
    tables = [
        np.array([[np.mean(grades[p]) for p in shared] for grades in side.values()]) for side in by_seed
    ]
    notes = [*_left_out(task, every, shared), *_unequal(task, counts)]
    notes += _other_texts(task, first, second, set(shared)) + _unscored(task, (first, second))
    seeds = list(by_seed[0]), list(by_seed[1])
    return Grid(task, shared, seeds, tables[0], tables[1], (min(counts), max(counts)), notes)


def _grades(rows: Sequence[LogRow], task: str) -> dict[str, list[float]]:
    """Problem -> grades of its samples."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if row.task == task and row.score is not None:
            found.setdefault(row.problem, []).append(row.score)
    return found


def _left_out(task: str, every: Sequence[set[str]], shared: Sequence[str]) -> list[str]:
    left = len(set.union(*every)) - len(shared)
    return (
        [f"{task}: {left} problems are not in every log, and left out of all; {len(shared)} stay"]
        if left
        else []
    )


def _unequal(task: str, counts: Sequence[int]) -> list[str]:
    if min(counts) == max(counts):
        return []
    said = f"{min(counts)} to {max(counts)} samples a problem; each problem counts once, by its mean"
    return [f"{task}: {said}. A problem that stands in the data twice counts as one"]


def _unscored(task: str, sides: Sequence[Side]) -> list[str]:
    notes = []
    for side in sides:
        rows = [row for each in side.rows.values() for row in each if row.task == task]
        if number := sum(row.score is None for row in rows):
            notes.append(
                f"{task}: {number} of {len(rows)} samples of {side.name} have no grade, and count for nothing"
            )
    return notes


def _other_texts(task: str, first: Side, second: Side, shared: set[str]) -> list[str]:
    """Problems of one text whose reference answer or prompt is another."""
    notes = []
    for name, text in (("reference", "reference answer"), ("prompt", "prompt")):
        found = [_texts(side, task, name, shared) for side in (first, second)]
        differ = sum(found[0][p] != found[1][p] for p in found[0] if p in found[1])
        if differ:
            notes.append(f"{task}: another {text} in the two for {differ} of {len(shared)} problems")
    return notes


def _texts(side: Side, task: str, name: str, shared: set[str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for rows in side.rows.values():
        for row in rows:
            if row.task == task and row.problem in shared and getattr(row, name) is not None:
                found.setdefault(row.problem, set()).add(getattr(row, name))
    return found
