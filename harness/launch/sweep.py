"""Run an ablation: write what it is, launch what is not finished, say how it ended. Imports no torch."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.data.load import data_fingerprint
from harness.identity import base_id, bases_of, digest, run_folder, run_id, streams_of
from harness.launch.costs import estimate, finished_records
from harness.launch.declaration import declare
from harness.launch.expand import Sweep
from harness.launch.hydra_launchers import (
    PROCESS,
    is_local,
    launcher_settings,
    make_launcher,
    master_config,
)
from harness.launch.jobs import DONE, Functions, Job, is_behind, not_started, unfinished
from harness.launch.launcher import num_cores, own_code_first, places
from harness.launch.pipeline import typed
from harness.launch.plan import describe
from harness.launch.results import headline, report_command, run_names, sync_lines
from harness.launch.status import decide, decision_text, finished
from harness.launch.study import merged_study, write_study
from harness.records.code_state import code_state
from harness.records.locks import Held, hold
from harness.records.progress import Display, duration
from harness.records.reading import RecordError, visible
from harness.records.records import NewerRecord, RunRecord, Status, read_run, write_record
from harness.schema.run_config import RunConfig

if TYPE_CHECKING:
    from hydra.plugins.launcher import Launcher


def plan(sweep: Sweep) -> str:
    """What a launch would do; starts nothing. Raises as a launch does where the study on disk is another."""
    if sweep.factors or len(sweep.jobs) > 1:
        merged_study(sweep, study_folder(sweep), command="")
    todo = {job.run_id: decide(job.config)[0] for job in sweep.runs}
    return describe(sweep, todo, workers=workers_of(sweep))


def study_folder(sweep: Sweep) -> Path:
    return Path(sweep.jobs[0].config.output_dir) / sweep.jobs[0].config.study


def workers_of(sweep: Sweep) -> int:
    """How many runs a launch has at once on this machine. Raises ConfigError for settings that do not fit."""
    settings = launcher_settings(master_config(sweep))
    threads = max(job.config.threads for job in sweep.runs)
    if settings.pop("_target_") != PROCESS:
        return settings.get("workers") or max(1, num_cores() // threads)
    settings.pop("silence")
    return len(places(sweep.jobs[0].config.device, threads, **settings))


def run_sweep(
    sweep: Sweep,
    *,
    overrides: Sequence[str],
    functions: Functions,
    pilot: Sequence[dict[str, Any]] = (),
    reported: bool = True,
) -> int:
    """Launch what is not finished. Returns the exit code: 0 all finished, 1 any failed, 3 any held elsewhere.

    `pilot` says how each arm got its learning rate, for the study's record. A study that is `reported` is
    declared before its first run. Raises ConfigError when the study
    on disk is of another kind, KeyboardInterrupt after stopping the runs.
    """
    workers_of(sweep)  # refuse what the launcher cannot do before anything is written
    study = study_folder(sweep)
    command = f"python -m harness {shlex.join(['-m', *sweep.composer.flags, *overrides])}"
    record = merged_study(sweep, study, command=command, pilot=pilot)
    records = finished_records(sweep.jobs[0].config.output_dir)
    costs = {job.run_id: estimate(job.config, records).seconds for job in sweep.runs}
    costs |= {
        base_id(c): estimate(c, records).base_seconds for job in sweep.runs for c in bases_of(job.config)
    }
    decided = {job.run_id: decide(job.config) for job in sweep.runs}
    todo = sorted(
        (job for job in sweep.runs if decided[job.run_id][0] != "skip"), key=lambda j: -costs[j.run_id]
    )
    write_study(study, record, needed=bool(todo))
    if todo and reported:
        declare(sweep, study)
    began = datetime.now(UTC)
    configs = {job.run_id: job.config for job in todo}
    names = run_names(sweep.runs, with_rates=bool(sweep.grid))
    with Display(
        {job.run_id: costs[job.run_id] for job in todo},
        names=names,
        result=lambda name: headline(configs[name]) if name in configs else "",
    ) as display:
        for job in sweep.runs:
            if text := decision_text(*decided[job.run_id]):
                display.say(f"{names[job.run_id]}  {text}")
        display.say(f"{len(todo)} of {len(sweep.runs)} runs to do under {study}")
        outcomes = _launch(sweep, todo, display, costs, functions) if todo else {}
    return _summary(sweep, outcomes, study, (datetime.now(UTC) - began).total_seconds())


def _launch(
    sweep: Sweep, jobs: Sequence[Job], display: Display, costs: dict[str, float], functions: Functions
) -> dict[str, tuple[str, str]]:
    """(outcome, reason) of each job, whatever became of its process."""
    launcher = make_launcher(
        sweep, display=display, costs=costs, functions=functions, sides=_sides(sweep.runs)
    )
    outcomes: dict[str, tuple[str, str]] = {}
    # Our own launcher knows what waits for what; others are given the stages one after another.
    for wave in [jobs] if is_local(sweep) else _waves(jobs):
        found = {job.run_id: unfinished(job.config.waits_for, outcomes) for job in wave}
        barred = {name: not_started(stage, outcomes[stage]) for name, stage in found.items() if stage}
        outcomes |= barred
        for name, ended in barred.items():
            display.end(name, *ended)
        outcomes |= _launch_wave(launcher, [j for j in wave if j.run_id not in barred], display)
    for job in jobs:
        outcome, reason = outcomes[job.run_id]
        if outcome == "failed":
            mark(job.config, "failed", reason)
    return outcomes


def _waves(jobs: Sequence[Job]) -> list[list[Job]]:
    """The jobs by how many others they wait for, one after another."""
    waits = {job.run_id: job.config.waits_for for job in jobs}

    def depth(name: str) -> int:
        return max((1 + depth(stage) for stage in waits[name] if stage in waits), default=0)

    by: dict[int, list[Job]] = {}
    for job in jobs:
        by.setdefault(depth(job.run_id), []).append(job)
    return [by[number] for number in sorted(by)]


def _launch_wave(launcher: Launcher, jobs: Sequence[Job], display: Display) -> dict[str, tuple[str, str]]:
    """(outcome, reason) of each job, from one call of the launcher."""
    if not jobs:
        return {}
    try:
        with own_code_first(max(job.config.threads for job in jobs)):
            returns = launcher.launch([typed(job.overrides) for job in jobs], 0)
    except KeyboardInterrupt:
        for job in jobs:
            mark(job.config, "interrupted", "stopped by the user; launch again to go on")
        raise
    except Exception as error:  # a launcher that gives up, as joblib does when a worker is killed
        display.say(f"the launcher gave up: {type(error).__name__}: {error}".splitlines()[0])
        return {job.run_id: _from_record(job.config, "its launcher gave up") for job in jobs}
    outcomes = {}
    for job, ended in zip(jobs, returns, strict=True):
        value = ended._return_value
        if isinstance(value, tuple):
            outcomes[job.run_id] = value
        elif isinstance(value, Exception):
            outcomes[job.run_id] = ("failed", f"{type(value).__name__}: {value}".splitlines()[0])
        else:
            outcomes[job.run_id] = (str(value), "")
    return outcomes


def _sides(jobs: Sequence[Job]) -> dict[int, bool]:
    """The seeds that have runs, and whether those are of a GPU: a seed's other runs go where they went."""
    found: dict[int, bool] = {}
    for job in jobs:
        with suppress(RecordError):
            device = read_run(run_folder(job.config)).hardware.get("device")
            if device is not None:
                found.setdefault(job.config.seed, device != "cpu")
    return found


def _from_record(config: RunConfig, otherwise: str) -> tuple[str, str]:
    if finished(config) is not None:
        return "finished", ""
    mark(config, "failed", otherwise)
    return "failed", otherwise


def mark(config: RunConfig, status: Status, reason: str) -> None:
    """Record how a run ended whose own process could not: one that says `running`, or says nothing.

    A run that another process holds goes on, and is that process's to record.
    """
    folder = run_folder(config)
    if status == "interrupted" and not folder.exists():
        return
    with suppress(Held), hold(folder):
        _mark(config, folder, status, reason)


def _mark(config: RunConfig, folder: Path, status: Status, reason: str) -> None:
    try:
        record = read_run(folder)
        if record.status != "running":
            return
    except NewerRecord:
        return
    except RecordError:
        if status == "interrupted":
            return
        record = RunRecord(
            run_id=run_id(config),
            study=config.study,
            status=status,
            config=config.model_dump(mode="json"),
            seeds=streams_of(config),
            base_id=base_id(config),
            data_hash=digest(data_fingerprint(config.data)),
            code=code_state(),
            packages={},
            hardware={},
            started=_now(),
        )
    record.status, record.reason, record.finished = status, reason, _now()
    write_record(folder / "run.json", record)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _summary(sweep: Sweep, outcomes: dict[str, tuple[str, str]], study: Path, seconds: float) -> int:
    counts: dict[str, int] = {}
    for job in sweep.runs:
        outcome, reason = outcomes.get(job.run_id, ("skipped", ""))
        counts[outcome] = counts.get(outcome, 0) + 1
        if outcome not in DONE:
            with suppress(RecordError):
                reason = reason if is_behind(reason) else read_run(run_folder(job.config)).reason or reason
            print(f"{outcome}: {job.run_id}: {visible(reason)}", file=sys.stderr)
    text = ", ".join(f"{n} {outcome}" for outcome, n in counts.items())
    print(f"{study}: {text} in {duration(seconds)}", file=sys.stderr)
    if counts.keys() & {"finished", "skipped"}:
        for line in [*sync_lines([job.config for job in sweep.jobs]), f"next: {report_command(study)}"]:
            print(line, file=sys.stderr)
    if counts.keys() - {"finished", "skipped", "held"}:
        return 1
    return 3 if "held" in counts else 0
