"""Run an ablation: write what it is, launch what is not finished, say how it ended. Imports no torch."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.data.load import data_fingerprint
from harness.identity import base_id, bases_of, digest, run_folder, run_id
from harness.launch.compose import CONF, Sweep, command_line
from harness.launch.jobs import ENSURE_BASE, EXECUTE, Job
from harness.launch.plan import describe, estimate, finished_records
from harness.launch.status import finished, skip_note
from harness.launch.study import merged_study
from harness.records.code_state import code_state
from harness.records.progress import Display, duration
from harness.records.records import NewerRecord, RecordError, RunRecord, Status, read_run, write_record
from harness.schema.run_config import ConfigError, RunConfig
from harness.seeds import all_streams

if TYPE_CHECKING:
    from hydra.plugins.launcher import Launcher
    from omegaconf import DictConfig

PROCESS = "harness.launch.launcher.ProcessLauncher"


@dataclass(frozen=True)
class Functions:
    """What a job calls, as `module:name`; tests put stand-ins here."""

    execute: str = EXECUTE
    ensure_base: str = ENSURE_BASE


def plan(sweep: Sweep) -> str:
    """What a launch would do; starts nothing. Raises as a launch does where the study on disk is another."""
    if sweep.factors or len(sweep.jobs) > 1:
        merged_study(sweep, _study_folder(sweep), command="")
    todo = {job.run_id: _decide(job.config)[0] for job in sweep.jobs}
    return describe(sweep, todo, workers=workers_of(sweep))


def _study_folder(sweep: Sweep) -> Path:
    return Path(sweep.jobs[0].config.output_dir) / sweep.jobs[0].config.study


def workers_of(sweep: Sweep) -> int:
    """How many runs a launch would have at once on this machine."""
    from harness.launch.launcher import num_cores

    threads = max(job.config.threads for job in sweep.jobs)
    return launcher_settings(master_config(sweep)).get("workers") or max(1, num_cores() // threads)


def run_sweep(
    sweep: Sweep,
    *,
    overrides: Sequence[str],
    functions: Functions = Functions(),
    pilot: Sequence[dict[str, Any]] = (),
) -> int:
    """Launch what is not finished. Returns the exit code: 0 all finished, 1 any failed, 3 any held elsewhere.

    `pilot` says how each arm got its learning rate, for the study's record. Raises ConfigError when the study
    on disk is of another kind, KeyboardInterrupt after stopping the runs.
    """
    launcher_settings(master_config(sweep))
    study = _study_folder(sweep)
    record = merged_study(sweep, study, command=command_line(["-m", *overrides]), pilot=pilot)
    write_record(study / "study.json", record)
    records = finished_records(sweep.jobs[0].config.output_dir)
    costs = {job.run_id: estimate(job.config, records).seconds for job in sweep.jobs}
    costs |= {
        base_id(c): estimate(c, records).base_seconds for job in sweep.jobs for c in bases_of(job.config)
    }
    decided = {job.run_id: _decide(job.config) for job in sweep.jobs}
    todo = sorted(
        (job for job in sweep.jobs if decided[job.run_id][0] != "skip"), key=lambda j: -costs[j.run_id]
    )
    began = datetime.now(UTC)
    with Display({job.run_id: costs[job.run_id] for job in todo}) as display:
        for job in sweep.jobs:
            action, note = decided[job.run_id]
            if action == "skip":
                display.say(f"{job.run_id}  skipped: {note}")
        display.say(f"{len(todo)} of {len(sweep.jobs)} runs to do under {study}")
        outcomes = _launch(sweep, todo, display, costs, functions) if todo else {}
    return _summary(sweep, outcomes, study, (datetime.now(UTC) - began).total_seconds())


def _decide(config: RunConfig) -> tuple[str, str]:
    """(run | resume | evaluate | skip, why). A damaged run.json is a run to be done again."""
    folder = run_folder(config)
    try:
        if (done := finished(config)) is not None:
            return "skip", skip_note(done)
        record = read_run(folder) if (folder / "run.json").exists() else None
    except RecordError as error:
        return "run", str(error)
    if record is None:
        return "run", ""
    if record.status == "finished":
        return "evaluate", "trained; an evaluation is missing"
    return ("resume", "interrupted") if record.status != "failed" else ("resume", f"failed: {record.reason}")


def _launch(
    sweep: Sweep, jobs: Sequence[Job], display: Display, costs: dict[str, float], functions: Functions
) -> dict[str, tuple[str, str]]:
    """(outcome, reason) of each job, whatever became of its process."""
    from harness.launch.launcher import own_code_first

    launcher = make_launcher(sweep, display=display, costs=costs, functions=functions)
    try:
        with own_code_first(max(job.config.threads for job in jobs)):
            returns = launcher.launch([list(job.overrides) for job in jobs], 0)
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
        outcome, reason = outcomes[job.run_id]
        if outcome == "failed":
            mark(job.config, "failed", reason)
    return outcomes


def _from_record(config: RunConfig, otherwise: str) -> tuple[str, str]:
    if finished(config) is not None:
        return "finished", ""
    mark(config, "failed", otherwise)
    return "failed", otherwise


def mark(config: RunConfig, status: Status, reason: str) -> None:
    """Record how a run ended whose own process could not: one that says `running`, or says nothing."""
    folder = run_folder(config)
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
            seeds=all_streams(seed=config.seed, base_seed=config.base_seed, replicate=config.replicate),
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
    for job in sweep.jobs:
        outcome, reason = outcomes.get(job.run_id, ("skipped", ""))
        counts[outcome] = counts.get(outcome, 0) + 1
        if outcome not in ("finished", "skipped"):
            with suppress(RecordError):
                reason = read_run(run_folder(job.config)).reason or reason
            print(f"{outcome}: {job.run_id}: {reason}", file=sys.stderr)
    text = ", ".join(f"{n} {outcome}" for outcome, n in counts.items())
    print(f"{study}: {text} in {duration(seconds)}", file=sys.stderr)
    if counts.keys() - {"finished", "skipped", "held"}:
        return 1
    return 3 if "held" in counts else 0


def make_launcher(
    sweep: Sweep, *, display: Display, costs: dict[str, float], functions: Functions
) -> Launcher:
    """The launcher that hydra/launcher names, set up. Raises ConfigError for one that is not installed."""
    from functools import partial

    from hydra._internal.callbacks import Callbacks
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.plugins import Plugins
    from hydra.core.utils import setup_globals
    from hydra.types import HydraContext

    from harness.launch.launcher import ProcessLauncher, run_task

    Plugins.instance().register(ProcessLauncher)
    config = master_config(sweep)
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    context = HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks(config))
    task = partial(run_task, execute=functions.execute)
    settings = launcher_settings(config)
    if settings.pop("_target_") == PROCESS:
        # Hydra instantiates plugins of the package hydra_plugins alone.
        launcher = ProcessLauncher(**settings)
        launcher.setup(hydra_context=context, task_function=task, config=config)
        launcher.execute, launcher.ensure_base = functions.execute, functions.ensure_base
        launcher.compose, launcher.costs, launcher.display = sweep.composer.config, costs, display
        return launcher
    setup_globals()
    return Plugins.instance().instantiate_launcher(hydra_context=context, task_function=task, config=config)


def master_config(sweep: Sweep) -> DictConfig:
    """Hydra's own config with the launcher's settings; its job folders lie in the study's."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from hydra.types import RunMode

    first = sweep.jobs[0].config
    folder = str(Path(first.output_dir) / first.study).replace("\\", "\\\\").replace("'", "\\'")
    overrides = [*sweep.composer.search, f"hydra.sweep.dir='{folder}'", *sweep.launcher]
    GlobalHydra.instance().clear()
    initialize_config_dir(str(CONF), version_base="1.3", job_name=first.study)
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    try:
        return hydra.compose_config(
            "config", overrides, run_mode=RunMode.MULTIRUN, with_log_configuration=False
        )
    except HydraException as error:
        text = " ".join(str(error).split("\n")[:2])
        known = ", ".join(hydra.config_loader.get_group_options("hydra/launcher"))
        raise ConfigError(f"{', '.join(sweep.launcher)}: {text}; installed launchers: {known}") from None


def launcher_settings(config: DictConfig) -> dict[str, Any]:
    """hydra.launcher's fields. Raises ConfigError for a number of workers that is none."""
    settings = {str(key): value for key, value in config.hydra.launcher.items()}
    if settings["_target_"] != PROCESS:
        return settings
    for name, null in (("workers", ", or null for every core"), ("per_gpu", "")):
        value = settings[name]
        if not (value is None and null) and not (type(value) is int and value > 0):
            raise ConfigError(f"hydra.launcher.{name}={value}: give a positive number{null}")
    if type(settings["warm"]) is not bool:
        raise ConfigError(f"hydra.launcher.warm={settings['warm']}: give true or false")
    return settings
