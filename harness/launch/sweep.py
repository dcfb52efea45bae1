"""Run an ablation: write what it is, launch what is not finished, say how it ended. Imports no torch."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.data.load import data_fingerprint
from harness.identity import base_id, bases_of, digest, run_folder, run_id, streams_of
from harness.launch.costs import estimate, finished_records
from harness.launch.declaration import declare
from harness.launch.expand import Sweep
from harness.launch.jobs import DONE, Functions, Job, is_behind
from harness.launch.launchers import is_local, run_works, workers_of
from harness.launch.plan import describe
from harness.launch.results import flag_lines, headline, report_command, run_names, sync_lines
from harness.launch.signals import Left
from harness.launch.status import decide, decision_text
from harness.launch.study import merged_study, write_study
from harness.launch.works import works_of
from harness.records.code_state import code_state
from harness.records.locks import Held, hold, study_lock
from harness.records.progress import Display, duration
from harness.records.reading import RecordError, visible
from harness.records.records import NewerRecord, RunRecord, Status, read_run, write_record
from harness.schema.run_config import RunConfig


def plan(sweep: Sweep) -> str:
    """What a launch would do; starts nothing. Raises as a launch does where the study on disk is another."""
    if sweep.factors or len(sweep.jobs) > 1:
        merged_study(sweep, study_folder(sweep), command="")
    todo = {job.run_id: decide(job.config)[0] for job in sweep.runs}
    return describe(sweep, todo, workers=workers_of(sweep), here=is_local(sweep))


def simulated(sweep: Sweep, assumed: Sequence[str]) -> list[str]:
    """The lines of a plan about this study on a cluster of `--assume`. Raises ConfigError."""
    from harness.launch.sizing import sizing_lines

    return sizing_lines(sweep, {job.run_id: decide(job.config)[0] for job in sweep.runs}, assumed)


def study_folder(sweep: Sweep) -> Path:
    return Path(sweep.jobs[0].config.output_dir) / sweep.jobs[0].config.study


def run_sweep(
    sweep: Sweep,
    *,
    overrides: Sequence[str],
    functions: Functions,
    pilot: Sequence[dict[str, Any]] = (),
    reported: bool = True,
) -> int:
    """Launch what is not finished. Returns the exit code: 0 all finished, 1 any not.

    Runs that another launch of the study has under way are waited for: both launches end with all of them.
    `pilot` says how each arm got its learning rate, for the study's record. A study that is `reported` is
    declared before its first run. Raises ConfigError when the study on disk is of another kind,
    KeyboardInterrupt after stopping the runs.
    """
    workers_of(sweep)  # refuse what the launcher cannot do before anything is written
    study = study_folder(sweep)
    command = f"python -m harness {shlex.join(['-m', *sweep.composer.flags, *overrides])}"
    records = finished_records(sweep.jobs[0].config.output_dir)
    costs = {job.run_id: estimate(job.config, records).seconds for job in sweep.runs}
    costs |= {
        base_id(c): estimate(c, records).base_seconds for job in sweep.runs for c in bases_of(job.config)
    }
    decided = {job.run_id: decide(job.config) for job in sweep.runs}
    todo = sorted(
        (job for job in sweep.runs if decided[job.run_id][0] != "skip"), key=lambda j: -costs[j.run_id]
    )
    with study_lock(study, needed=bool(todo)):
        record = merged_study(sweep, study, command=command, pilot=pilot)
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
    works = works_of(jobs, flags=sweep.composer.flags, functions=functions, costs=costs)
    display.expect({work.name: work.cost for work in works if work.is_base})
    try:
        ended = run_works(sweep, works, display=display, study=study_folder(sweep), sides=_sides(sweep.runs))
    except KeyboardInterrupt as error:
        for job in jobs if not isinstance(error, Left) else ():
            mark(job.config, "interrupted", "stopped by the user; launch again to go on")
        raise
    outcomes = {job.run_id: ended[job.run_id] for job in jobs}
    for job in jobs:
        outcome, reason = outcomes[job.run_id]
        if outcome == "failed":
            mark(job.config, "failed", reason)
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
        flagged = flag_lines([job.config for job in sweep.runs])
        waiting = sync_lines([job.config for job in sweep.jobs])
        for line in [*flagged, *waiting, f"next: {report_command(study)}"]:
            print(line, file=sys.stderr)
    return 1 if counts.keys() - {"finished", "skipped"} else 0
