"""One run, from config to record: lock, base, training, evaluation. A failure is recorded, not raised."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Literal

import torch

from harness.bases.pretrain import ensure_base
from harness.data.load import data_report
from harness.identity import bases_of, run_folder, weights_folder
from harness.launch.bookkeeping import close_record, dead_flags, new_record, resolve_device
from harness.launch.evaluating import evaluate_by_lm_eval, evaluate_engine
from harness.launch.following import dismiss, follow, lead_evaluation, lead_training, leading
from harness.launch.signals import hold_back, preempted, saving, was_interrupt
from harness.launch.status import (
    checkpoints_to_evaluate,
    finished,
    is_evaluated,
    skip_note,
    start_of,
    teacher_of,
    written_folders,
)
from harness.launch.tracking import Tracker
from harness.records.lines import read_metrics, write_sums
from harness.records.locks import Held, hold, hold_all
from harness.records.progress import Reporter
from harness.records.published import verify
from harness.records.reasons import is_disk_full, reason_of
from harness.records.records import RunRecord, write_record, write_text
from harness.reward_models.in_training import add_reward_models
from harness.rollout import process_cache as warm
from harness.schema.config_text import config_text
from harness.schema.run_config import RunConfig
from harness.schema.verl_rules import unmatched
from harness.training import checkpoint, distributed
from harness.training.accounting import Clock, Meter, begin_peak
from harness.training.memory import explained
from harness.training.run_state import Run
from harness.training.setup import setup
from harness.training.step_costs import rates
from harness.training.trainer import train

Outcome = Literal["finished", "failed", "skipped", "held"]
_COUNTED = ("seconds", "tokens", "flops", "peak_memory")  # of a run's counters, in its record


def execute(config: RunConfig, *, overrides: Sequence[str], report: Reporter) -> Outcome:
    """Start a run, resume it, or skip it if it is finished. Everything it does is in its folder."""
    folder = run_folder(config)
    torch.set_num_threads(config.threads)
    device = distributed.init_process_group(resolve_device(config), timeout=config.trainer.rank_timeout)
    if distributed.rank() > 0:
        return follow(config, folder, device)
    try:
        with hold(folder):
            if (earlier := finished(config)) is not None:
                dismiss()
                report("skipped", 1, 1, skip_note(earlier))
                return "skipped"
            try:
                return _execute(config, folder, device, overrides, report)
            finally:
                hold_back(False)
    except Held as error:
        dismiss()
        report("held", 0, 1, str(error))
        return "held"
    finally:
        distributed.destroy_process_group()


def _commits(record: RunRecord) -> str:
    begun = ", ".join(commit[:10] for commit in record.code["earlier_commits"])
    return f"begun by commit {begun}, this is {(record.code['commit'] or 'unknown')[:10]}"


def _execute(
    config: RunConfig, folder: Path, device: str, overrides: Sequence[str], report: Reporter
) -> Outcome:
    clock = Clock()
    record, tracker = new_record(config, folder, overrides), Tracker(config)
    distributed.on_loss(partial(_lose, folder, record, clock))
    begin_peak(torch.device(record.hardware["device"]))  # forget the peaks of this process's earlier runs
    try:
        write_text(folder / "config.yaml", config_text(config))
        write_text(folder / "data.json", json.dumps(data_report(config.data), indent=1))
        write_record(folder / "run.json", record)
        if record.code.get("earlier_commits"):
            report("resuming", 0, 1, _commits(record))
        _run(config, folder, record, device, report, clock, tracker)
        record.status, record.reason = "finished", None
        (folder / "error.txt").unlink(missing_ok=True)  # of an earlier attempt
    except (KeyboardInterrupt, Exception) as error:
        hold_back()  # torchrun ends the processes of one that is gone: this one is recorded before
        if was_interrupt(error) or isinstance(error, BrokenPipeError):  # nobody reads what it says
            why = str(error) if isinstance(error, KeyboardInterrupt) else ""
            record.status, record.reason = (
                "interrupted",
                f"{why or 'stopped by the user'}; launch again to go on",
            )
            if (unwritten := close_record(folder, record, clock)) is not None:
                print(f"error: {unwritten}", file=sys.stderr)
            tracker.finish(record, folder)
            raise KeyboardInterrupt(why) from error
        record.status, record.reason = "failed", distributed.lost_peer(error) or reason_of(error)
        if not is_disk_full(error):
            with suppress(OSError):  # the record has the reason, also where the folder is gone
                write_text(folder / "error.txt", traceback.format_exc())
    if record.status != "finished":
        warm.drop()  # here, where no traceback refers to the run's tensors any more
    if (unwritten := close_record(folder, record, clock)) is not None:
        record.status, record.reason = "failed", "; ".join(filter(None, [record.reason, unwritten]))
    tracker.finish(record, folder)  # once the record stands: a server that is silent may keep this waiting
    report(record.status, 1, 1, record.reason or "")
    return "finished" if record.status == "finished" else "failed"


def _lose(folder: Path, record: RunRecord, clock: Clock, lost: int, reason: str) -> None:
    """Record a run that ends because another of its processes is gone; this one ends at once."""
    record.status, record.reason = "failed", reason
    close_record(folder, record, clock)


def _run(
    config: RunConfig,
    folder: Path,
    record: RunRecord,
    device: str,
    report: Reporter,
    clock: Clock,
    tracker: Tracker,
) -> None:
    """Make the bases, train, evaluate, and keep `record` up to date."""
    trained = record.steps_done and weights_folder(folder, record.steps_done).exists()
    begun_from = _begun_from(config, needed=not trained)
    with clock.stopped():  # bases are shared: base.json has their time
        base, *_ = [ensure_base(needed, report) for needed in bases_of(config)]
    record.wandb_id = tracker.start(record, folder)
    start = base / "model" if begun_from is None else weights_folder(*begun_from)
    if not trained:
        lead_training(base, start)
        _train(config, folder, base, start, record, device, report, clock, tracker)
    _evaluate_missing(config, folder, base, begun_from, record, device, report, clock)
    dismiss()
    record.flags = dead_flags(read_metrics(folder / "metrics.jsonl"))
    if not config.objective.reward.weights:  # there is no reward that could vary
        record.flags = [flag for flag in record.flags if flag != "no_reward_variance"]


def _begun_from(config: RunConfig, *, needed: bool) -> tuple[Path, int] | None:
    """(folder, step) of a stage's start, checked; None without one. A trained stage goes on without it.

    The stage that trains its teacher is checked too.
    """
    try:
        found = start_of(config)
        for place in (found, teacher_of(config) if needed else None):
            if place is not None:
                verify(weights_folder(*place), checkpoint.identity(*place))
        return found
    except ValueError:
        if needed:
            raise
        return None


def _train(
    config: RunConfig,
    folder: Path,
    base: Path,
    start: Path,
    record: RunRecord,
    device: str,
    report: Reporter,
    clock: Clock,
    tracker: Tracker,
) -> None:
    """Set the run up and train it; `record` gets what it used, also where it fails."""
    if config.trainer.engine == "verl":
        return _train_on_verl(config, folder, start, record, report, tracker)
    report("loading", 0, 1, config.model.name)
    run = setup(config, base=base, start=start, folder=folder, device=device)
    record.hardware["parallel"] = run.placement.name
    add_reward_models(run)
    spent = clock.seconds - sum(run.current.costs.seconds.values())
    run.counters.add_phase("setup", spent, run.meter.outside)
    evaluated = partial(_evaluate_now, run_id=record.run_id, report=report, tracker=tracker)
    try:
        with saving():
            train(run, report=report, log=tracker.log, evaluate=evaluated, preempted=preempted)
    finally:
        for name in _COUNTED:
            setattr(record, name, getattr(run.counters, name))
    record.steps_done = run.counters.step
    record.rates = rates(run.counters, run.device)
    write_sums(folder / "metrics.jsonl")
    write_record(folder / "run.json", record)
    checkpoint.drop_resume(folder)


def _train_on_verl(
    config: RunConfig, folder: Path, start: Path, record: RunRecord, report: Reporter, tracker: Tracker
) -> None:
    """Train in verl's processes; `record` gets what they used, and what they do otherwise."""
    from harness.training.verl.compile import VERSION
    from harness.training.verl.engine import train_on_verl

    warm.drop()  # an engine of an earlier run would hold the memory that verl needs
    record.unmatched = unmatched(config)
    record.packages["verl"] = VERSION
    record.hardware |= {"processes": config.trainer.verl.num_gpus, "nodes": config.trainer.verl.nodes}
    with saving():
        counters = train_on_verl(
            config, folder=folder, start=start, report=report, log=tracker.log, preempted=preempted
        )
    for name in _COUNTED:
        setattr(record, name, getattr(counters, name))
    record.steps_done = counters.step
    record.rates = rates(counters, torch.device("cpu"))  # no MFU: verl's phases overlap with others
    write_sums(folder / "metrics.jsonl")
    write_record(folder / "run.json", record)


def _evaluate_now(run: Run, *, run_id: str, report: Reporter, tracker: Tracker) -> None:
    step = run.counters.step
    with leading(run.engine):
        evaluate_engine(run.config, run.engine, run.codec, run.folder, step, run_id, report)
    tracker.log_evaluations(run.folder, step)


def _evaluate_missing(
    config: RunConfig,
    folder: Path,
    base: Path,
    begun_from: tuple[Path, int] | None,
    record: RunRecord,
    device: str,
    report: Reporter,
    clock: Clock,
) -> None:
    """Evaluate every checkpoint asked for, a stage's start and the base, where a record is missing.

    The base comes last: what other runs need as well is often there by then. Time and memory count as the
    run's, but not those of the base, whose evaluations all its runs share, and of a stage's start, which are
    the stage before's.
    """

    def book(phase: str, seconds: float, peak: int) -> None:
        record.seconds[phase] = record.seconds.get(phase, 0.0) + seconds
        record.peak_memory[phase] = max(record.peak_memory.get(phase, 0), peak)

    meter = Meter(torch.device(device), book)
    steps = [step for step in checkpoints_to_evaluate(config, record.steps_done) if step]
    before = [(*begun_from, begun_from[0].name)] if begun_from else []
    for owner, step, run in [*((folder, s, record.run_id) for s in steps), *before, (base, 0, None)]:
        weights = weights_folder(owner, step) if step else base / "model"
        timed = meter.phase("evaluate") if owner == folder else clock.stopped()
        with timed, hold_all(written_folders(config, owner, step)):
            if is_evaluated(config, step, owner):
                continue
            verify(weights, checkpoint.identity(owner, step) if step else None)
            policy, engine, codec = lead_evaluation(config, weights, device)
            dims, dtype = policy.dims, policy.head_weight.dtype
            with explained("evaluate", config, dims, dtype), leading(engine):
                evaluate_engine(config, engine, codec, owner, step, run, report)
            evaluate_by_lm_eval(config, weights, owner, step, run, report)
    begin_peak(torch.device(device))  # what evaluating the base took is not the run's
