"""Read generations in JSON Lines or Parquet: verl's and TRL's, and any file whose columns are named.

verl's `trainer.validation_data_dir` has STEP.jsonl with input, output, gts, score, step and what the reward
function adds (`acc`); TRL's `log_completions` has completions/completions_STEP.parquet with step, prompt,
completion, a column for each reward function, and advantage.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.study.logs.rows import Log, LogRow, digest_of, json_lines, score_of

TOOL, VERL, TRL = "generations", "verl", "TRL"
SUFFIXES = (".jsonl", ".parquet")
NAMES = ("problem", "correct", "sample", "seed", "task", "reference")
_RIGHT = re.compile(r"(?P<column>[^<>=]+?)\s*(?:(?P<sign>>=|>)\s*(?P<bound>[-+.\deE]+))?")
_VERL = {"input", "output", "gts", "score"}
_TRL = {"prompt", "completion", "advantage"}


@dataclass(frozen=True)
class Right:
    """Column that holds a grade, or a number that is right above a bound."""

    column: str
    sign: str | None = None
    bound: float = 0.0

    def score(self, value: Any, where: str) -> float | None:
        """The grade in [0, 1]. Raises ValueError for a value that is none."""
        if self.sign is None or value is None:
            return score_of(value, f"{where}: {self.column}")
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise ValueError(f"{where}: {self.column}: {str(value)[:60]!r} is no number") from None
        if number != number:
            return None
        return float(number >= self.bound if self.sign == ">=" else number > self.bound)


def parse_columns(text: str | None) -> dict[str, str]:
    """`problem=input,correct=score>0`, or a YAML file of the same. Raises ValueError for a name unknown."""
    if not text:
        return {}
    if Path(text).suffix in (".yaml", ".yml"):
        import yaml

        try:
            found = yaml.safe_load(Path(text).read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise ValueError(f"--columns {text}: not valid YAML ({error})") from None
        if not isinstance(found, dict):
            raise ValueError(f"--columns {text}: give lines such as problem: input")
        given = {str(name): str(column) for name, column in found.items()}
    else:
        parts = [part.partition("=") for part in text.split(",")]
        given = {name.strip(): column.strip() for name, _, column in parts}
    for name, column in given.items():
        if name not in NAMES or not column:
            raise ValueError(
                f"--columns {name}={column}: give NAME=COLUMN, with a name of {', '.join(NAMES)}"
            )
    return given


def read_generations(
    path: Path, *, columns: Mapping[str, str], step: int | None, tasks: Sequence[str]
) -> Log:
    """One file, or the file of a step in a folder: the last where none is asked for."""
    file, chosen = _file(path, step)
    read = list(_lines(file))
    if not read:
        raise ValueError(f"{file}: no rows")
    known = {name: None for _, row in read for name in row}
    tool, mapping, said = _mapping(list(known), columns, file)
    right = _right(mapping["correct"], known, file)
    for name, column in mapping.items():
        if name != "correct" and column not in known:
            raise ValueError(f"{file}: --columns {name}={column}: no such column; it has {', '.join(known)}")
    rows = [_log_row(row, where, mapping, right) for where, row in read]
    if "sample" in mapping:
        _check_samples(read, mapping)
    notes = [f"{path}: {line}" for line in (*chosen, *said)]
    rows = [row for row in rows if not tasks or row.task in tasks]
    steps = {row.task: {"step": ", ".join(chosen)} for row in rows if chosen}
    return Log(path, tool, rows, steps, notes)


def _file(path: Path, step: int | None) -> tuple[Path, list[str]]:
    """The file to read, and how it was chosen: that of the step, the last one, or the only one."""
    if path.is_file():
        return path, []
    steps = {file: _step(file) for file in sorted(path.rglob("*")) if file.suffix in SUFFIXES}
    known = [number for number in steps.values() if number is not None]
    wanted = max(known) if step is None and known and len(known) == len(steps) else step
    files = [file for file, number in steps.items() if wanted is None or number == wanted]
    if len(files) != 1:
        asked = "" if step is None else f" of step {step}"
        raise ValueError(f"{path}: {len(files)} files{asked}; name one file, or a step by --step")
    last = " (the last)" if step is None and len(steps) > 1 else ""
    return files[0], [] if wanted is None else [f"step {wanted}{last}"]


def _step(file: Path) -> int | None:
    """The last number in a file's name."""
    found = re.findall(r"\d+", file.stem)
    return int(found[-1]) if found else None


def _lines(file: Path) -> Iterable[tuple[str, dict[str, Any]]]:
    if file.suffix == ".jsonl":
        return json_lines(file)
    import pandas as pd

    try:
        frame = pd.read_parquet(file)
    except (ValueError, OSError) as error:
        raise ValueError(f"{file}: not a Parquet file ({error})") from None
    rows = [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]
    return [(f"{file}: row {i}", row) for i, row in enumerate(rows, start=1)]


def _mapping(known: list[str], given: Mapping[str, str], file: Path) -> tuple[str, dict[str, str], list[str]]:
    """(tool, column by name, what was taken for granted). What is given on the command line counts."""
    tool, found, said = TOOL, {name: name for name in NAMES if name in known}, []
    if set(known) >= _VERL:
        tool, found = VERL, {"problem": "input", "reference": "gts"}
        found["correct"] = "acc" if "acc" in known else "score"
    elif set(known) >= _TRL:
        tool, found = TRL, {"problem": "prompt"}
        rewards = [name for name in known if name not in _TRL | {"step", "image", "images"}]
        if len(rewards) == 1:
            found["correct"] = rewards[0]
        said.append("TRL logs the prompts of a batch, in training those that it trains on")
    mapping = found | dict(given)
    for name in ("problem", "correct"):
        if name not in mapping:
            raise ValueError(f"{file}: give --columns {name}=COLUMN; it has {', '.join(known)}")
    if "correct" not in given and tool != TOOL:
        said.append(f"right by its column {mapping['correct']}; --columns correct=NAME takes another")
    return tool, mapping, said


def _right(text: str, known: Iterable[str], file: Path) -> Right:
    names = list(known)
    found = _RIGHT.fullmatch(text)
    if text in names:
        return Right(text)
    if not found or found["column"] not in names:
        raise ValueError(f"{file}: --columns correct={text}: no such column; it has {', '.join(names)}")
    try:
        return Right(found["column"], found["sign"], float(found["bound"] or 0))
    except ValueError:
        raise ValueError(f"--columns correct={text}: {found['bound']} is no number") from None


def _log_row(row: Mapping[str, Any], where: str, mapping: Mapping[str, str], right: Right) -> LogRow:
    problem = row.get(mapping["problem"])
    if problem is None or (hasattr(problem, "__len__") and len(problem) == 0):
        raise ValueError(f"{where}: {mapping['problem']}: no problem there")
    return LogRow(
        task=str(row.get(mapping["task"], "all")) if "task" in mapping else "all",
        problem=digest_of(problem.tolist() if hasattr(problem, "tolist") else problem),
        score=right.score(row.get(right.column), where),
        seed=str(row.get(mapping["seed"])) if "seed" in mapping else None,
        reference=digest_of(row.get(mapping["reference"])) if "reference" in mapping else None,
    )


def _check_samples(read: Sequence[tuple[str, Mapping[str, Any]]], mapping: Mapping[str, str]) -> None:
    """Refuse a sample that stands twice: a log appended to by two runs would count its samples twice."""
    names = [mapping[name] for name in ("task", "seed", "problem", "sample") if name in mapping]
    seen: set[str] = set()
    for where, row in read:
        key = digest_of([str(row.get(name)) for name in names])
        if key in seen:
            raise ValueError(
                f"{where}: sample {row.get(mapping['sample'])} of its problem stands there twice"
            )
        seen.add(key)
