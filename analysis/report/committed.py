"""A committed study as its files have it: plan, tables, and accuracies before and after training."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, NotRequired

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict

from analysis.tables.table import FORMULA
from harness.records.fields import Declared, Primary
from harness.records.progress import duration
from harness.records.reading import read_json

FILE = "finding.json"
RUNS = "runs.jsonl.gz"
EVALUATIONS = "evaluations.csv.gz"
# Columns without which a table is not what its name says.
COLUMNS = {"arms": ("arm",), "evaluations": ("arm", "seed", "step", "task", "split")}
AGAIN = "write the reference again, or restore it from git"
MARKED = tuple(f"'{first}" for first in FORMULA)
SMOKE_SEEDS = 3


class Finding(TypedDict):
    """What finding.json holds."""

    question: str
    answer: str
    seeds: int


@with_config(ConfigDict(extra="allow"))
class PlannedArm(TypedDict):
    """What is read of an arm of study.json."""

    label: str
    levels: dict[str, str]
    overrides: NotRequired[list[str]]


@with_config(ConfigDict(extra="allow"))
class Plan(TypedDict, total=False):
    """What is read of study.json; early ones lack some of it."""

    factors: dict[str, list[str]]
    control: dict[str, str]
    primary: Primary
    declared: Declared
    arms: list[PlannedArm]


NO_PLAN: dict[str, Any] = {"factors": {}, "control": {}, "primary": {}, "declared": {}, "arms": []}


def command_at(made: Mapping[str, Any]) -> str:
    """`python -m harness ablation=bridge` at commit `91e43d2c70`, in Markdown; "" without a command."""
    if not made.get("command"):
        return ""
    at = f" at commit `{str(made['commit'])[:10]}`" if made.get("commit") else ""
    return f"`{made['command']}`{at}"


def cost_at(made: Mapping[str, Any]) -> str:
    """`180 runs in 5m30s, 1,964 an hour, on NVIDIA H200 and 32 cores`; "" without times.

    From the first start to the last end.
    """
    runs = sum(count for status, count in made.get("runs", {}).items() if status != "missing")
    hardware = made.get("hardware") or {}
    hardware = hardware if isinstance(hardware, dict) else hardware[0]
    if not runs or not made.get("first_started") or not made.get("last_finished"):
        return ""
    first, last = (datetime.fromisoformat(made[name]) for name in ("first_started", "last_finished"))
    seconds = (last - first).total_seconds()
    if seconds <= 0:
        return ""
    machine = " and ".join(
        filter(None, [hardware.get("gpu"), hardware.get("cores") and f"{hardware['cores']} cores"])
    )
    text = f"{runs} runs in {duration(seconds)}, {3600 * runs / seconds:,.0f} an hour"
    return text + (f", on {machine}" if machine else "")


class Ends(NamedTuple):
    """Rows of evaluations by seed: of the untrained base (step 0), and of the last checkpoint."""

    before: pd.DataFrame
    after: pd.DataFrame


@dataclass(frozen=True)
class Committed:
    """A committed study: `question`, `answer` and `seeds` are those of finding.json."""

    folder: Path
    name: str
    question: str
    answer: str
    seeds: int

    @classmethod
    def read(cls, folder: Path) -> Committed:
        """Raises ValueError for a finding.json that is damaged or incomplete."""
        path = folder / FILE
        data = read_json(path, Finding, remedy=AGAIN)
        return cls(folder, folder.name, data["question"], data["answer"], data["seeds"])

    @cached_property
    def plan(self) -> dict[str, Any]:
        """study.json; empty in references that predate it. Raises ValueError for a damaged one."""
        path = self.folder / "study.json"
        return {**NO_PLAN, **read_json(path, Plan, remedy=AGAIN)} if path.exists() else {}

    @cached_property
    def config(self) -> dict[str, Any]:
        """Settings that all runs share."""
        return self._json("config.json")

    @cached_property
    def command(self) -> str:
        """The study's command with the commit it was given at: a preset of conf/ may have changed since."""
        return command_at(self._json("provenance.json"))

    @cached_property
    def cost(self) -> str:
        """How many runs took how long, on what: `cost_at`."""
        return cost_at(self._json("provenance.json"))

    @cached_property
    def verdicts(self) -> list[dict[str, Any]]:
        """Verdicts of finding.json, a row a contrast and measure; none in references that predate them."""
        return list(self._json(FILE).get("verdicts", ()))

    @cached_property
    def arms(self) -> pd.DataFrame:
        return self.table("arms")

    @cached_property
    def main_rows(self) -> pd.DataFrame:
        """Rows of evaluations on the task that arms are judged by, at the main protocol.

        Empty without that file, or if runs are judged at another checkpoint than the last. Raises ValueError
        for several such tasks.
        """
        frame = self.table("evaluations")
        if "main" in frame:  # samplings at other temperatures stand beside it
            frame = frame[frame["main"]]
        if frame.empty or self.plan.get("declared", {}).get("checkpoint", "last") != "last":
            return pd.DataFrame()
        primary = self.plan["primary"]
        wanted = primary.get("task") or primary.get("split") or "test"
        frame = frame[(frame["task"] == wanted) | (frame["split"] == wanted)].sort_values(["seed", "step"])
        if frame["task"].nunique() > 1:
            tasks = ", ".join(sorted(set(frame["task"])))
            raise ValueError(f"{self.folder / EVALUATIONS}: several tasks on {wanted}: {tasks}")
        return frame

    @cached_property
    def accuracy(self) -> dict[str, Ends]:
        """Each arm's accuracies before and after training: of `main_rows`."""
        if self.main_rows.empty:
            return {}
        found = {}
        for arm, rows in self.main_rows.groupby("arm"):
            before, trained = rows[rows["step"] == 0], rows[rows["step"] > 0]
            if len(before) and len(trained):
                # Last of each seed: a run over epochs of accepted samples may end a step earlier.
                after = trained.groupby("seed").tail(1)
                found[str(arm)] = Ends(before.set_index("seed"), after.set_index("seed"))
        return found

    @cached_property
    def grids(self) -> dict[tuple[str, int], dict[int, NDArray[np.float64]]]:
        """(arm, 0 before or 1 after training) -> seed -> right share of each problem's samples."""
        grids: dict[tuple[str, int], dict[int, NDArray[np.float64]]] = {}
        rows: Iterable[Any] = self.table("problems").itertuples()
        for row in rows:
            shares = np.array(str(row.right).split(), dtype=float) / float(row.k)
            grids.setdefault((str(row.arm), int(row.step > 0)), {})[int(row.seed)] = shares
        return grids

    def arms_at(self, levels: Sequence[str]) -> list[str]:
        """Labels of the arms whose primary factor is at one of these levels, in the plan's order."""
        return [arm["label"] for arm in self.plan["arms"] if arm["levels"].get(self.factor) in levels]

    def compared_with(self, levels: Mapping[str, str], control: str) -> str | None:
        """The arm whose primary factor is at `control` and whose other levels are these; None for itself."""
        factor = self.factor
        wanted = {**levels, factor: control}
        labels = [arm["label"] for arm in self.plan.get("arms", ()) if arm["levels"] == wanted]
        return labels[0] if labels and levels.get(factor) != control else None

    @property
    def factor(self) -> str:
        """The declared primary factor, else the first; `arm` without a plan."""
        factors = self.plan.get("factors", {})
        return str(self.plan.get("primary", {}).get("factor") or next(iter(factors), "arm"))

    def table(self, name: str) -> pd.DataFrame:
        """A table of the report; empty if it was not committed. Raises ValueError for a damaged one."""
        path = self.folder / f"{name}.csv"
        if not path.exists() and not (path := path.with_suffix(".csv.gz")).exists():
            return pd.DataFrame()
        try:
            frame = pd.read_csv(path)
        except (ValueError, OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path}: cannot be read ({error}); {AGAIN}") from None
        if missing := [column for column in COLUMNS.get(name, ()) if column not in frame]:
            raise ValueError(f"{path}: no column {missing[0]}; {AGAIN}")
        for column in frame.select_dtypes(exclude="number"):
            frame[column] = frame[column].map(_without_mark)
        return frame

    def _json(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        return read_json(path, dict[str, Any], remedy=AGAIN) if path.exists() else {}


def _without_mark(value: Any) -> Any:
    """Text as it was before `csv_text` kept it from being a formula."""
    return value[1:] if isinstance(value, str) and value.startswith(MARKED) else value
