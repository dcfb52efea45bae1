"""From a study's folder to tidy pandas frames: runs, steps, evaluations, samples.

Nothing is dropped in silence: a run that is damaged, missing, failed or still running has a row in `runs`
with its status and reason, and a file that cannot be read has a line in `damaged`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.study.evaluations import run_evaluations, with_checkpoints
from analysis.study.step_metrics import Progress, read_steps
from harness.records import records

if TYPE_CHECKING:
    import pandas as pd

# What tells runs of one arm apart, or says nothing about what was trained.
PER_RUN_KEYS = frozenset({"seed", "base_seed", "study", "output_dir"})
UNCOMPARED = ("tracking.", "eval.")
COMMITTED = "provenance.json"  # of a version written by `report --reference`


@dataclass
class Study:
    """One study in memory. `runs`: a row a run, planned or found; `evaluations`: a row a checkpoint and
    task."""

    folder: Path
    record: records.StudyRecord
    runs: pd.DataFrame
    evaluations: pd.DataFrame
    damaged: list[str] = field(default_factory=list)
    configs: dict[str, dict[str, Any]] = field(default_factory=dict)
    progress: Progress | None = None

    @property
    def name(self) -> str:
        return self.record.study

    @cached_property
    def steps(self) -> pd.DataFrame:
        """A row an optimiser step of every readable run, with its arm and seed; damage goes to `damaged`."""
        names = ("run_id", "arm", "seed")
        labels = [dict(zip(names, row, strict=True)) for row in zip(*map(self.runs.get, names), strict=True)]
        files = [(self.folder / label["run_id"] / "metrics.jsonl", label) for label in labels]
        frame, damaged = read_steps(files, progress=self.progress)
        self.damaged += damaged
        return frame

    def samples(self, run_id: str) -> Iterator[dict[str, Any]]:
        """Completions of a run's evaluations, one at a time: memory stays flat as they grow."""
        for path in sorted((self.folder / run_id).glob("eval/*/*.samples.jsonl.gz")):
            for row in records.read_samples(path):
                yield {"run_id": run_id, "checkpoint": path.parent.name, "file": path.name, **row}

    def task_text(self, task: str) -> str:
        """A task as a sentence names it: `aime_gen_test (generated problems)` where a program made them."""
        named = {b["name"]: b["task"] for c in self.configs.values() for b in c.get("eval.benchmarks") or []}
        made = str(named.get(task, task)).startswith(records.GENERATED)
        return f"{task} (generated problems)" if made else task

    @property
    def checkpoint_text(self) -> str:
        """Which checkpoint every run is judged by, as a caption says it."""
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
        """(arm, task, is it the base) -> seed -> evaluation row, seeds in order.

        Finished runs only, each at the checkpoint that it is judged by. Made once: every table reads it.
        """
        index: dict[tuple[str, str, bool], dict[str, pd.Series[Any]]] = {}
        if self.evaluations.empty:
            return index
        checkpoint = dict(zip(self.runs["run_id"], self.runs["checkpoint"], strict=True))
        frame = self.evaluations[self.evaluations["status"] == "finished"]
        for _, row in frame.iterrows():
            for is_base, step in ((True, 0), (False, checkpoint[row["run_id"]])):
                if row["step"] == step:
                    index.setdefault((row["arm"], row["task"], is_base), {})[str(row["seed"])] = row
        return {key: {s: rows[s] for s in sorted(rows, key=seed_order)} for key, rows in index.items()}


def load_study(folder: Path, *, progress: Progress | None = None) -> Study:
    """Read every record of a study. Raises ValueError for a folder without runs, or a newer study.json."""
    import pandas as pd

    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; give outputs/<study>")
    found = records.run_folders(folder)
    if not found and (folder / COMMITTED).exists():
        raise ValueError(f"{folder}: a committed version, without its runs; read its report.md and CSV files")
    damaged: list[str] = []
    read: dict[str, records.RunRecord] = {}
    reasons: dict[str, str] = {}
    for run_folder in found:
        try:
            read[run_folder.name] = records.read_run(run_folder)
        except records.RecordError as error:
            reasons[run_folder.name] = str(error)
            damaged.append(str(error))
    study = _study_record(folder, read, damaged)
    if not found and not any(arm.runs for arm in study.arms):
        raise ValueError(f"{folder}: holds no runs; give a study's folder, outputs/<study>")
    places = {run: (arm.label, seed) for arm in study.arms for seed, run in arm.runs.items()}
    names = [*places, *(p.name for p in found if p.name not in places)]
    sizes = _base_sizes(folder, {r.base_id for r in read.values() if r.base_id})
    runs = [_run_row(name, places.get(name), read.get(name), reasons.get(name), sizes) for name in names]
    evaluations: list[dict[str, Any]] = []
    bases: dict[Path, dict[str, Any]] = {}
    for i, row in enumerate(runs):
        if (record := read.get(row["run_id"])) is not None:
            evaluations += run_evaluations(folder, row, record, bases, damaged)
        if progress:
            progress(i + 1, len(runs))
    frame = pd.DataFrame(evaluations)
    return Study(
        folder=folder,
        record=study,
        runs=with_checkpoints(pd.DataFrame(runs), frame, rule=study.declared.get("checkpoint", "last")),
        evaluations=frame,
        damaged=damaged,
        configs={name: flatten(record.config) for name, record in read.items()},
        progress=progress,
    )


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested config -> {"trainer.lr": 0.001}."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def seed_order(seed: str) -> tuple[int, str]:
    """Sort key: numbers by size, then names."""
    return (int(seed), "") if seed.isdigit() else (10**9, seed)


def differing_keys(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """Keys of two flat configs whose values differ, but for seeds, paths, tracking and evaluation."""
    return sorted(
        key
        for key in first.keys() | second.keys()
        if key not in PER_RUN_KEYS and not key.startswith(UNCOMPARED) and first.get(key) != second.get(key)
    )


def _labelled(study: records.StudyRecord) -> records.StudyRecord:
    """One label an arm: a level of a factor `arm` stands alone, and the pilot calls arms what others do."""
    for arm in study.arms:
        level = arm.levels.get("arm")
        parts = arm.label.split(", ")
        arm.label = ", ".join(str(level) if part == f"arm={level}" else part for part in parts)
    labels = {",".join(f"{k}={v}" for k, v in arm.levels.items()): arm.label for arm in study.arms}
    study.pilot = [{**row, "arm": labels.get(row["arm"], row["arm"])} for row in study.pilot]
    return study


def _study_record(
    folder: Path, read: dict[str, records.RunRecord], damaged: list[str]
) -> records.StudyRecord:
    """study.json, or, where there is none, arms told apart by what differs between the runs' configs."""
    if (folder / "study.json").exists():
        try:
            return _labelled(records.read_study(folder))
        except records.RecordError as error:
            if "newer" in str(error):
                raise ValueError(str(error)) from None
            damaged.append(f"{error}; arms are told apart by their configs instead")
    configs = {name: flatten(record.config) for name, record in read.items()}
    varying = _varying(list(configs.values()))
    shown = [k for k in varying if k in ("objective.name", "model.name", "corpus")] or varying
    arms: dict[tuple[str, ...], records.Arm] = {}
    for name, config in configs.items():
        identity = tuple(str(config.get(key)) for key in varying)
        levels = {key.removesuffix(".name"): str(config.get(key)) for key in shown}
        label = " ".join(f"{k}={v}" for k, v in levels.items()) or "all runs"
        if identity not in arms:
            taken = sum(arm.label.split(" #")[0] == label for arm in arms.values())
            label += f" #{taken + 1}" if taken else ""
            arms[identity] = records.Arm(label=label, levels=levels, overrides=[])
        arms[identity].runs.setdefault(str(config.get("seed", 0)), name)
    listed = list(arms.values())
    return records.StudyRecord(
        study=folder.name,
        question="What differs between these runs?",
        factors={k: sorted({a.levels[k] for a in listed}) for k in (listed[0].levels if listed else {})},
        seeds=sorted({int(s) for arm in listed for s in arm.runs}),
        control=listed[0].levels if listed else {},
        arms=listed,
        shared_base=any(
            len({read[run].base_id for run in arm.runs.values()}) < len(arm.runs) for arm in listed
        ),
        notes=["no readable study.json: arms were told apart by their configs"],
        command="",
    )


def _varying(configs: list[dict[str, Any]]) -> list[str]:
    return sorted({key for config in configs[1:] for key in differing_keys(configs[0], config)})


def _run_row(
    name: str,
    place: tuple[str, str] | None,
    record: records.RunRecord | None,
    reason: str | None,
    sizes: dict[str, int],
) -> dict[str, Any]:
    """A row of `runs`. Status beyond the record's own: damaged (unreadable), missing (planned, no folder)."""
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
        "flops": sum(record.flops.values()),
        "seconds": sum(record.seconds.values()),
        "gpu_seconds": record.gpu_seconds,
        "commit": record.code.get("commit"),
        "dirty": record.code.get("dirty"),
        "device": record.hardware.get("device"),
        "nondeterminism": record.nondeterminism,
        "overrides": tuple(record.overrides),
        "flags": tuple(record.flags),
    }


def _base_sizes(folder: Path, base_ids: set[str]) -> dict[str, int]:
    """Parameters without embeddings of each base that left a record; a pretrained one leaves none."""
    sizes = {}
    for base_id in base_ids:
        try:
            record = records.read_base(folder.parent / records.BASES / base_id)
            sizes[base_id] = record.num_non_embedding_parameters
        except records.RecordError:
            continue
    return sizes
