"""From a study's folder to tidy pandas frames: runs, steps, evaluations, samples.

Nothing is dropped silently: a damaged, missing, failed or running run has a row in `runs` with its status
and reason, and every unreadable file has a line in `damaged`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from analysis.study.configs import draw_of, flatten
from analysis.study.evaluations import run_evaluations, with_checkpoints
from analysis.study.looks import looks_of
from analysis.study.plan import study_plan
from analysis.study.rates import SeedChoice, choose_rates, grid_places, with_choices
from analysis.study.step_metrics import Progress, read_steps
from harness.records import records
from harness.records.reading import visible

if TYPE_CHECKING:
    import pandas as pd

    from analysis.stats.sequential import Looks

Sampling = tuple[float, float]  # temperature, top_p
K = TypeVar("K")
COMMITTED = "provenance.json"  # of a version written by `report --reference`


@dataclass(eq=False)
class Study:
    """One study in memory, equal to itself alone.

    `runs`: one row per run, planned or on disk. `evaluations`: one row per checkpoint and task.
    `samplings`: rows of the same form at the temperatures and top-ps of `eval.temperatures`, which nothing
    reads but the comparison at each arm's own best. `choices`: where learning rates run at every seed, what
    each seed of each arm chose.
    """

    folder: Path
    record: records.StudyRecord
    runs: pd.DataFrame
    evaluations: pd.DataFrame
    samplings: pd.DataFrame
    damaged: list[str] = field(default_factory=list)
    configs: dict[str, dict[str, Any]] = field(default_factory=dict)
    choices: list[SeedChoice] = field(default_factory=list)
    progress: Progress | None = None

    @property
    def name(self) -> str:
        return self.record.study

    @cached_property
    def looks(self) -> Looks | None:
        """The rule by which seeds were added, with the looks made; None where none was, or it is damaged."""
        try:
            return looks_of(self.folder, self.record.declared, self.record.primary)
        except records.RecordError as error:
            self.damaged.append(f"{error}; intervals are not adjusted for looks")
            return None

    @cached_property
    def steps(self) -> pd.DataFrame:
        """One row per optimiser step of every readable run, with arm and seed; reads append to `damaged`."""
        names = ("run_id", "arm", "seed")
        labels = [dict(zip(names, row, strict=True)) for row in zip(*map(self.runs.get, names), strict=True)]
        files = [(self.folder / label["run_id"] / "metrics.jsonl", label) for label in labels]
        frame, damaged = read_steps(files, progress=self.progress)
        self.damaged += damaged
        return frame

    def task_text(self, task: str) -> str:
        """Task name for prose; says `(generated problems)` where a program made them."""
        asked = [config.get("eval.benchmarks") for config in self.configs.values()]
        listed = [b for found in asked if isinstance(found, list) for b in found if isinstance(b, dict)]
        named = next((b.get("task") for b in listed if b.get("name") == task), task)
        made = str(named).startswith(records.GENERATED)
        return f"{task} (generated problems)" if made else task

    @property
    def checkpoint_text(self) -> str:
        """Caption's words for the checkpoint at which every run is judged."""
        if self.record.declared.get("checkpoint") == "validation":
            return (
                "at each run's checkpoint with the best avg@k on the validation split (the same rule for all)"
            )
        return "at the last checkpoint (fixed beforehand)"

    @property
    def finished(self) -> pd.DataFrame:
        return self.runs[self.runs["status"] == "finished"]

    @cached_property
    def final_rows(self) -> dict[tuple[str, str, bool], dict[str, pd.Series[Any]]]:
        """Evaluation rows by (arm, task, is it the base?) and seed, seeds in order.

        Finished runs only, each at the checkpoint at which it is judged.
        """
        return _by_seed(((arm, task, base), row) for arm, task, base, row in self._judged(self.evaluations))

    @cached_property
    def sampled_rows(self) -> dict[tuple[str, str, bool, Sampling], dict[str, pd.Series[Any]]]:
        """`final_rows` at every (temperature, top_p) that was sampled, the main protocol's among them."""
        frames = (self.evaluations, self.samplings)
        return _by_seed(
            ((arm, task, base, (float(row["temperature"]), float(row["top_p"]))), row)
            for frame in frames
            for arm, task, base, row in self._judged(frame)
        )

    def _judged(self, frame: pd.DataFrame) -> Iterator[tuple[str, str, bool, pd.Series[Any]]]:
        """(arm, task, is it the base?, row) of bases and of checkpoints at which a finished run is judged."""
        if frame.empty:
            return
        checkpoint = dict(zip(self.runs["run_id"], self.runs["checkpoint"], strict=True))
        for _, row in frame[frame["status"] == "finished"].iterrows():
            for is_base, step in ((True, 0), (False, checkpoint[row["run_id"]])):
                if row["step"] == step:
                    yield row["arm"], row["task"], is_base, row


def _by_seed(rows: Iterable[tuple[K, pd.Series[Any]]]) -> dict[K, dict[str, pd.Series[Any]]]:
    """Key -> seed -> row, seeds in order; of two rows of one key and seed the last."""
    index: dict[K, dict[str, pd.Series[Any]]] = {}
    for key, row in rows:
        index.setdefault(key, {})[str(row["seed"])] = row
    return {key: {s: found[s] for s in sorted(found, key=seed_order)} for key, found in index.items()}


def load_study(folder: Path, *, progress: Progress | None = None) -> Study:
    """Read every record of a study. Raises ValueError for a folder without runs, or a newer study.json."""
    import pandas as pd

    damaged: list[str] = []
    folders = _run_folders(folder, damaged)
    read, reasons = _read_runs(folders, damaged)
    plan = study_plan(folder, read, damaged)
    if not folders and not any(arm.runs or arm.rates for arm in plan.arms):
        raise ValueError(f"{folder}: holds no runs; give a study's folder, outputs/<study>")
    rows = _run_rows(folder, plan, [path.name for path in folders], read, reasons, damaged)
    evaluations: list[dict[str, Any]] = []
    bases: dict[Path, dict[str, Any]] = {}
    for i, row in enumerate(rows):
        if (record := read.get(row["run_id"])) is not None:
            config = flatten(record.config)
            found = run_evaluations(folder, row, record, bases, damaged)
            evaluations += [each | {"draw": draw_of(config, each["split"])} for each in found]
        if progress:
            progress(i + 1, len(rows))
    frame, samplings = (pd.DataFrame([row for row in evaluations if row["main"] is m]) for m in (True, False))
    runs = with_checkpoints(pd.DataFrame(rows), frame, rule=plan.declared.get("checkpoint", "last"))
    choices = choose_rates(plan, runs, frame)
    plan, runs, frame, samplings = with_choices(plan, runs, (frame, samplings), choices)
    return Study(
        folder=folder,
        record=plan,
        runs=runs,
        evaluations=frame,
        samplings=samplings,
        choices=choices,
        damaged=damaged,
        configs={name: flatten(record.config) for name, record in read.items()},
        progress=progress,
    )


def _run_folders(folder: Path, damaged: list[str]) -> list[Path]:
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; give outputs/<study>")
    folders = records.run_folders(folder)
    if not folders and (folder / COMMITTED).exists():
        raise ValueError(f"{folder}: a committed version, without its runs; read its report.md and CSV files")
    odd = [path for path in folders if visible(path.name) != path.name]
    damaged += [
        f"{visible(str(path))}: left out; rename the folder without control characters" for path in odd
    ]
    return [path for path in folders if path not in odd]


def _read_runs(
    folders: Sequence[Path], damaged: list[str]
) -> tuple[dict[str, records.RunRecord], dict[str, str]]:
    """Readable records by run id, and why each other one could not be read."""
    read: dict[str, records.RunRecord] = {}
    reasons: dict[str, str] = {}
    for folder in folders:
        try:
            read[folder.name] = records.read_run(folder)
        except records.RecordError as error:
            reasons[folder.name] = str(error)
            damaged.append(str(error))
    return read, reasons


def _run_rows(
    folder: Path,
    plan: records.StudyRecord,
    on_disk: Sequence[str],
    read: Mapping[str, records.RunRecord],
    reasons: Mapping[str, str],
    damaged: list[str],
) -> list[dict[str, Any]]:
    """A row a run: planned ones in the plan's order, then those on disk alone."""
    places = {run: (arm.label, seed) for arm in plan.arms for seed, run in arm.runs.items()}
    places |= {run: (arm, seed) for run, (arm, seed, _) in grid_places(plan).items()}
    names = [*places, *(name for name in on_disk if name not in places)]
    sizes = _base_sizes(folder, {r.base_id for r in read.values() if r.base_id}, damaged)
    teachers = _teachers_made(folder, {r.teacher_id for r in read.values() if r.teacher_id})
    return [
        _run_row(name, places.get(name), read.get(name), reasons.get(name), sizes, teachers) for name in names
    ]


def seed_order(seed: str) -> tuple[int, str]:
    """Sort key: numbers by size, then names."""
    return (int(seed), "") if seed.isdigit() else (10**9, seed)


def _run_row(
    name: str,
    place: tuple[str, str] | None,
    record: records.RunRecord | None,
    reason: str | None,
    sizes: dict[str, int],
    teachers: dict[str, float],
) -> dict[str, Any]:
    """Row of `runs`. Statuses beside the record's own: damaged (unreadable), missing (planned, no folder)."""
    arm, seed = place or (None, str(record.seeds.get("seed", record.config.get("seed"))) if record else None)
    row: dict[str, Any] = {"run_id": name, "arm": arm, "seed": seed}
    if record is None:
        status = "damaged" if reason else "missing"
        return row | {"status": status, "reason": reason or "planned, but not started", "flags": ()}
    return row | {
        "status": record.status,
        "reason": record.reason,
        "base_id": record.base_id,
        "data_hash": record.data_hash,
        "schema_version": record.schema_version,
        "parameters": sizes.get(record.base_id or ""),
        "steps_done": record.steps_done,
        "num_resumes": record.num_resumes,
        "sampled_tokens": record.tokens.get("sampled", 0),
        "trained_tokens": record.tokens.get("trained", 0),
        "teacher_tokens": record.tokens.get("teacher", 0),
        "teacher_id": record.teacher_id,
        "teacher_flops": teachers.get(record.teacher_id or ""),
        "flops": sum(record.flops.values()),
        "seconds": sum(record.seconds.values()),
        "gpu_seconds": record.gpu_seconds,
        "commit": record.code.get("commit"),
        "earlier_commits": tuple(record.code.get("earlier_commits", ())),
        "dirty": record.code.get("dirty"),
        "device": record.hardware.get("device"),
        "nondeterminism": record.nondeterminism,
        "overrides": tuple(record.overrides),
        "flags": tuple(record.flags),
        "unmatched": tuple(record.unmatched),
    }


def _teachers_made(folder: Path, teacher_ids: set[str]) -> dict[str, float]:
    """FLOPs of pretraining by teacher; one without a readable record is left out."""
    made = {}
    for teacher_id in sorted(teacher_ids):
        with suppress(records.RecordError):
            made[teacher_id] = records.read_base(folder.parent / records.BASES / teacher_id).flops
    return made


def _base_sizes(folder: Path, base_ids: set[str], damaged: list[str]) -> dict[str, int]:
    """Non-embedding parameters by base id; a base without a record, as beside a copied study, is left out."""
    sizes = {}
    for base_id in sorted(base_ids):
        place = folder.parent / records.BASES / base_id
        try:
            if (place / "base.json").exists():
                sizes[base_id] = records.read_base(place).num_non_embedding_parameters
        except records.RecordError as error:
            damaged.append(f"{error}; its size is not shown")
    return sizes
