"""Studies from W&B and reports to it: the one file of analysis/ that uses wandb, inside its functions.

Runs become folders of the same form as outputs/ (run.json, metrics.jsonl, eval/), and are read as those are.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness.records import records
from harness.records.declarations import FILE as DECLARATION
from harness.records.lines import MetricsWriter
from harness.records.looks import FILE as LOOKS
from harness.records.records import RunRecord
from harness.records.sections import STEP, plain

if TYPE_CHECKING:
    from analysis.report.content import Report

BLOCK = 32_768
UNGROUPED = "wandb"  # the study of runs without a group
REPORT = "report"
OF_STUDY = ("study.json", DECLARATION, LOOKS)
KEPT = ("run.json", *OF_STUDY, "eval/", "lm_eval/", "search/", f"{records.BASES}/")
NON_FINITE: dict[Any, float] = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
STATES: dict[str, records.Status] = {"finished": "finished", "running": "running"}  # others have failed


@dataclass
class Tracked:
    """One run as W&B has it. `state` is W&B's word; `files` are paths in the run -> their bytes."""

    run_id: str
    study: str  # W&B's group
    state: str
    config: dict[str, Any]
    steps: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    job: str = ""  # W&B's job type
    name: str = ""  # as W&B shows it


def offline_runs(folder: Path, *, group: str | None = None) -> Iterator[Tracked]:
    """Every offline run under a folder, of one study with `group`; parts of one that was resumed are one run.

    One at a time. Raises ValueError where there is none.
    """
    logs = sorted(folder.rglob("run-*.wandb"), key=lambda p: p.parent.name.removeprefix("offline-"))
    if not logs:
        raise ValueError(f"{folder}: holds no offline W&B runs (offline-run-*/run-*.wandb)")
    parts: dict[tuple[str, str], list[Path]] = {}  # in order of time, which the folders' names start with
    for log in logs:
        wandb_id = log.name.removeprefix("run-").removesuffix(".wandb")
        parts.setdefault((wandb_id, _group(log)), []).append(log)
    studies = {study for _, study in parts}
    for (wandb_id, study), paths in parts.items():
        if group not in (None, study):
            continue
        run = Tracked(wandb_id, study, "crashed", {})
        for path in paths:
            _read_log(path, run)
            for file in (path.parent / "files").rglob("*"):
                name = file.relative_to(path.parent / "files").as_posix()
                if file.is_file() and name.startswith(KEPT):
                    run.files[name] = file.read_bytes()
        run.run_id = _own_name(run)
        yield run
    if group is not None and group not in studies:
        known = ", ".join(sorted(studies))
        raise ValueError(f"--group {group}: no such study in {folder}; choose of {known}")


def online_runs(path: str, *, group: str | None = None, api: Any = None) -> Iterator[Tracked]:
    """Runs of `entity/project`, of one study with `group`. `api` is a wandb.Api, made where none is given."""
    import tempfile

    if api is None:
        import wandb

        api = wandb.Api()
    for run in api.runs(path, filters={"group": group} if group else None):
        found = Tracked(run.id, run.group or UNGROUPED, run.state, dict(run.config), job=run.job_type or "")
        found.name = run.name or ""
        found.steps = [_metrics(row) for row in run.scan_history()]
        with tempfile.TemporaryDirectory() as folder:
            for file in run.files():
                if file.name.startswith(KEPT):
                    file.download(root=folder, replace=True)
                    found.files[file.name] = (Path(folder) / file.name).read_bytes()
        found.run_id = _own_name(found)
        yield found


def _own_name(run: Tracked) -> str:
    """The run_id in the record that the run kept; else its name at W&B where its id begins with that."""
    try:
        return str(json.loads(run.files["run.json"])["run_id"])
    except (KeyError, TypeError, ValueError):
        return run.name if run.name and run.run_id.startswith(run.name) else run.run_id


def write_study(runs: Iterator[Tracked], folder: Path) -> tuple[int, list[str]]:
    """Write runs as a study's folder, their bases beside it; (how many, what was missing).

    Nothing that is there is overwritten.
    """
    notes: list[str] = []
    count, planned = 0, (folder / "study.json").exists()
    for run in runs:
        place = folder / run.run_id
        if run.job == REPORT:
            notes.append(f"{run.run_id}: left out; it holds a report, not a run")
            continue
        if "/" in run.run_id or run.run_id.startswith(".") or place.exists():
            why = "is there already (another study's? --group chooses one), or is no folder's name"
            notes.append(f"{run.run_id}: left out; {place} {why}")
            continue
        count += 1
        notes += [f"{run.run_id}: {note}" for note in run.notes]
        _write_files(run, folder, planned=planned)
        _write_record(run, place, notes)
        writer = MetricsWriter(place / "metrics.jsonl")
        last: dict[int, dict[str, Any]] = {}
        for row in run.steps:  # a resumed run logs a step again, and a table may carry the step's number
            if "step" in row:
                last.setdefault(int(row["step"]), {}).update(row)
        for step in sorted(last):
            writer.append(last[step])
    return count, notes


def _write_files(run: Tracked, folder: Path, *, planned: bool) -> None:
    """Write what the run kept: its own files, the study's unless `planned`, and what its base still lacks."""
    for name, data in run.files.items():
        if name.startswith(f"{records.BASES}/"):
            within, target = folder.parent / records.BASES, folder.parent / name
            stays = target.exists()
        else:
            shared = name in OF_STUDY
            within = folder if shared else folder / run.run_id
            target, stays = within / name, shared and planned
        if within.resolve() in target.resolve().parents and not stays:  # a name from elsewhere goes nowhere
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)


def log_report(
    report: Report, folder: Path, *, mode: Literal["offline", "online"], project: str, entity: str | None
) -> str:
    """The report's tables as Tables and its files as one Artifact, in a run of the study's group.

    Returns that run's id. The id is the study's, so a later report of the study is a new version of it.
    """
    import wandb

    name = f"report-{report.study.name}"
    run = wandb.init(
        project=project,
        entity=entity,
        group=report.study.name,
        job_type=REPORT,
        id=name,
        name=name,
        mode=mode,
        dir=folder,
        resume="allow" if mode == "online" else None,
        tags=["report"],
        settings=wandb.Settings(
            console="off", disable_git=True, init_timeout=90, finish_timeout=90, finish_timeout_raises=True
        ),
    )
    tables = {f"table/{table.name}": wandb.Table(**table.wandb()) for table in report.tables}
    run.log(tables)
    run.summary.update({"answer": " ".join(report.answers), "question": report.study.record.question})
    artifact = wandb.Artifact(name, type="report")
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "wandb" not in path.relative_to(folder).parts:
            artifact.add_file(str(path), name=path.relative_to(folder).as_posix())
    run.log_artifact(artifact)
    run.finish()
    return name


def _write_record(run: Tracked, place: Path, notes: list[str]) -> None:
    """run.json as the run kept it, with W&B's state where it still says running; or one from the config."""
    status = STATES.get(run.state, "failed")
    try:
        record = records.read_run(place)
        if record.status == "running" and status != "running":
            record.status = status
            record.reason = None if status == "finished" else f"W&B says {run.state}"
            records.write_record(place / "run.json", record)
        return
    except records.RecordError as error:
        if "run.json" in run.files:
            notes.append(str(error))
            return
    notes.append(f"{run.run_id}: no run.json in W&B; its record is made from the config there")
    seed = run.config.get("seed", 0)
    records.write_record(
        place / "run.json",
        RunRecord(
            run_id=run.run_id,
            study=str(run.config.get("study", run.study)),
            status=status,
            config=run.config,
            seeds={"seed": int(seed)},
            reason=None if status == "finished" else f"W&B says {run.state}",
            data_hash="",
            code={},
            packages={},
            hardware={},
            started="",
            steps_done=max((int(r.get("step", 0)) for r in run.steps), default=0),
        ),
    )


def _group(path: Path) -> str:
    """The study of a log, which it names at its beginning."""
    from wandb.proto import wandb_internal_pb2 as proto

    for data in _log_records(path):
        record = proto.Record()  # type: ignore[attr-defined]
        with suppress(Exception):  # protobuf's own kinds; `_read_log` notes what cannot be read
            record.ParseFromString(data)
        if record.WhichOneof("record_type") == "run":
            return record.run.run_group or UNGROUPED
    return UNGROUPED


def _read_log(path: Path, run: Tracked) -> None:
    """A run's transaction log: config, group, steps, how it ended."""
    from wandb.proto import wandb_internal_pb2 as proto

    whole = False
    for data in _log_records(path):
        try:
            record = proto.Record.FromString(data)  # type: ignore[attr-defined]
        except Exception as error:
            run.notes.append(f"{path}: a record cannot be read ({type(error).__name__})")
            continue
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run.name, run.job = record.run.display_name, record.run.job_type
            run.config |= {
                i.key: json.loads(i.value_json) for i in record.run.config.update if i.key != "_wandb"
            }
        elif kind == "history":
            items = {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in record.history.item}
            run.steps.append(_metrics(items))
        elif kind == "exit":
            whole = True
            run.state = "failed" if record.exit.exit_code else "finished"
    if not whole:
        run.state = "crashed"
        run.notes.append(f"{path}: the log ends before the run does")


def _log_records(path: Path) -> Iterator[bytes]:
    """Records of a LevelDB-style log: blocks of 32 KiB, headers of checksum, length and kind of part."""
    data = path.read_bytes()
    if data[:4] != b":W&B":
        raise ValueError(f"{path}: not a W&B log; it must start with :W&B")
    at, parts = 7, b""
    while at + 7 <= len(data):
        if BLOCK - at % BLOCK < 7:  # too little for a header: padding
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        piece = data[at + 7 : at + 7 + length]
        if not 1 <= kind <= 4 or len(piece) < length:
            return  # cut short, or damaged: what came before stands
        parts = piece if kind in (1, 2) else parts + piece
        at += 7 + length
        if kind in (1, 4):
            yield parts


def _metrics(row: dict[str, Any]) -> dict[str, Any]:
    """Numbers of a step's row by their names on disk; W&B's own keys, tables and evaluations are left out."""
    named = {key: NON_FINITE.get(str(value), value) for key, value in row.items() if not key.startswith("_")}
    found = plain({key: value for key, value in named.items() if isinstance(value, int | float)})
    return found if found.keys() - {STEP} else {}
