"""One run, from config to record: lock, base, train, evaluate. Its own failures are recorded, not raised."""

from __future__ import annotations

import errno
import json
import sys
import traceback
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal

import torch
import yaml

from harness.bases.pretrain import ensure_base
from harness.data.load import data_fingerprint, data_report
from harness.evaluation.eval_tasks import eval_tasks
from harness.evaluation.evaluate import evaluate
from harness.identity import base_folder, base_id, bases_of, digest, run_folder, run_id
from harness.launch.status import (
    checkpoint_name,
    checkpoints_to_evaluate,
    evaluation_folders,
    finished,
    is_evaluated,
    mark_evaluated,
    readable,
    skip_note,
)
from harness.launch.tracking import Tracker, factor_tags
from harness.records.code_state import code_state, hardware, packages
from harness.records.locks import Held, hold
from harness.records.progress import Reporter
from harness.records.records import RunRecord, read_eval, read_metrics, write_record, write_text
from harness.reward_models.in_training import add_reward_models
from harness.reward_models.rerank import scorers
from harness.rollout import process_cache as warm
from harness.rollout.engines import warm_engine
from harness.schema.run_config import RunConfig
from harness.seeds import all_streams
from harness.training import checkpoint, distributed
from harness.training.accounting import Clock, Meter, begin_peak, peak_bytes
from harness.training.memory import explained
from harness.training.run_state import Run
from harness.training.saving import weights_folder
from harness.training.setup import setup
from harness.training.step_costs import rates
from harness.training.trainer import train
from harness.types import RolloutEngine

_CLOCKS = ("gpu_seconds", "base_seconds")
Outcome = Literal["finished", "failed", "skipped", "held"]


def execute(config: RunConfig, *, overrides: Sequence[str], report: Reporter) -> Outcome:
    """Run it, go on with it, or skip it if it is finished. The run's folder holds everything it did."""
    folder = run_folder(config)
    torch.set_num_threads(config.threads)
    device = distributed.init_process_group(resolve_device(config))
    if distributed.rank() > 0:
        return _follow(config, folder, device)
    try:
        with hold(folder):
            if (earlier := finished(config)) is not None:
                report("skipped", 1, 1, skip_note(earlier))
                return "skipped"
            return _execute(config, folder, overrides, report)
    except Held as error:
        report("held", 0, 1, str(error))
        return "held"
    finally:
        distributed.destroy_process_group()


def _follow(config: RunConfig, folder: Path, device: str) -> Outcome:
    """What every process but the first does: its share of the training, without a record."""
    try:
        if base := distributed.broadcast_from_rank0(""):
            run = setup(config, base=Path(base), folder=folder, device=device)
            train(run, report=lambda *_: None, log=lambda _: None, evaluate=lambda _: None)
        return "finished"
    finally:
        distributed.destroy_process_group()  # a process that ends with its group's threads running can abort


def _execute(config: RunConfig, folder: Path, overrides: Sequence[str], report: Reporter) -> Outcome:
    clock = Clock()
    record = _record(config, folder, overrides)
    begin_peak(torch.device(record.hardware["device"]))  # earlier runs of this process had theirs
    try:
        write_text(folder / "config.yaml", yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
        write_text(folder / "data.json", json.dumps(data_report(config.data), indent=1))
        write_record(folder / "run.json", record)
        _run(config, folder, record, report, clock)
        record.status, record.reason = "finished", None
        (folder / "error.txt").unlink(missing_ok=True)  # of an earlier attempt
    except KeyboardInterrupt:
        record.status, record.reason = "interrupted", "stopped by the user; launch again to go on"
        _close(folder, record, clock)
        raise
    except Exception as error:
        record.status, record.reason = "failed", _reason(error)
        (folder / "error.txt").write_text(traceback.format_exc()) if not _disk_full(error) else None
    if record.status != "finished":
        warm.drop()  # here, where no traceback holds the run's tensors any more
    _close(folder, record, clock)
    report(record.status, 1, 1, record.reason or "")
    return "finished" if record.status == "finished" else "failed"


def _run(config: RunConfig, folder: Path, record: RunRecord, report: Reporter, clock: Clock) -> None:
    device = distributed.init_process_group(resolve_device(config))
    with clock.stopped():  # what the base cost is no run's: base.json has it
        base, *_ = [ensure_base(needed, report) for needed in bases_of(config)]
    tags, resumed = factor_tags(config, record.overrides), record.num_resumes > 0
    tracker = Tracker(config, run_id=record.run_id, folder=folder, tags=tags, resumed=resumed)
    record.wandb_id, failed = tracker.id, True
    try:
        trained = record.steps_done and weights_folder(folder, record.steps_done).exists()
        distributed.broadcast_from_rank0("" if trained else str(base))
        if not trained:
            report("loading", 0, 1, config.model.name)
            run = setup(config, base=base, folder=folder, device=device)
            add_reward_models(run, base)
            spent = clock.seconds - sum(run.current.costs.seconds.values())
            run.counters.add_phase("setup", spent, run.meter.outside)
            evaluated = partial(_evaluate_now, run_id=record.run_id, report=report)
            try:
                train(run, report=report, log=tracker.log, evaluate=evaluated)
            finally:  # what a run that fails has used is told as well
                for name in ("seconds", "tokens", "flops", "peak_memory"):
                    setattr(record, name, getattr(run.counters, name))
            record.steps_done = run.counters.step
            record.rates = rates(run.counters, run.device)
            write_record(folder / "run.json", record)
            checkpoint.drop_resume(folder)
        _evaluate_missing(config, folder, base, record, device, report, clock)
        record.flags = dead_flags(read_metrics(folder / "metrics.jsonl"))
        if not config.objective.reward.weights:  # there is no reward that could vary
            record.flags = [flag for flag in record.flags if flag != "no_reward_variance"]
        tracker.summary(final_numbers(config, folder, record.steps_done))
        tracker.evaluations(folder)
        failed = False
    finally:
        tracker.finish(failed=failed)


def _evaluate_now(run: Run, *, run_id: str, report: Reporter) -> None:
    _evaluate(run.config, run.engine, run.codec.prompt_ids, run.folder, run.counters.step, run_id, report)


def _evaluate_missing(
    config: RunConfig,
    folder: Path,
    base: Path,
    record: RunRecord,
    device: str,
    report: Reporter,
    clock: Clock,
) -> None:
    """The base and every checkpoint asked for, on every split; what is recorded already is not done again.

    Time and memory are booked as the run's, but not the base's: all runs on it share its evaluations.
    """

    def book(phase: str, seconds: float, peak: int) -> None:
        record.seconds[phase] = record.seconds.get(phase, 0.0) + seconds
        record.peak_memory[phase] = max(record.peak_memory.get(phase, 0), peak)

    meter = Meter(torch.device(device), book)
    for step in checkpoints_to_evaluate(config, record.steps_done):
        owner, weights = (folder, weights_folder(folder, step)) if step else (base, base / "model")
        timed = meter.phase("evaluate") if step else clock.stopped()
        with timed, hold(owner / "eval", wait=True):
            if is_evaluated(config, step):
                continue
            policy, engine, codec = warm_engine(config, weights, device)
            run = record.run_id if step else None
            with explained("evaluate", config, policy.dims, policy.head_weight.dtype):
                _evaluate(config, engine, codec.prompt_ids, owner, step, run, report)


def _evaluate(
    config: RunConfig,
    engine: RolloutEngine,
    encode: Callable[[str, str], list[int]],
    folder: Path,
    step: int,
    run_id: str | None,
    report: Reporter,
) -> None:
    streams = all_streams(seed=config.seed, base_seed=config.base_seed, replicate=config.replicate)
    what = f"evaluating step {step}" if step else "evaluating the base"
    evaluate(
        engine,
        config=config,
        encode=encode,
        checkpoint=checkpoint_name(step),
        step=step,
        folder=folder,
        run_id=run_id,
        base_id=base_id(config),
        eval_seed=streams["eval_sampling"],
        progress=lambda task, done, total: report(what, done, total, task),
        scorers=lambda: scorers(config, base_folder(config), resolve_device(config)),
    )
    mark_evaluated(config, folder, step)


def resolve_device(config: RunConfig) -> str:
    """`auto` is the GPU where there is one. Raises ValueError for cuda without one."""
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device=cuda: no GPU is visible to PyTorch; set device=cpu, or install a CUDA build")
    if config.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return config.device


def final_numbers(config: RunConfig, folder: Path, step: int) -> dict[str, float]:
    """Every metric of the last checkpoint's evaluations as `<split or benchmark>/<metric>`."""
    folders = evaluation_folders(config, folder, step)
    records = [read_eval(path) for place in folders for path in sorted(place.glob("*.json"))]
    return {f"{r.split}/{name}": value for r in records for name, value in r.metrics.items()}


def dead_flags(metrics: Sequence[dict[str, float]]) -> list[str]:
    """What makes a run's numbers meaningless, seen over its whole length."""
    flags = []
    rows = [m for m in metrics if "zero_variance_groups" in m]
    if rows and all(m["zero_variance_groups"] == 1.0 for m in rows):
        flags.append("no_reward_variance")
    if rows and all(m["truncated"] == 1.0 for m in rows):
        flags.append("all_truncated")
    if any(m.get("skipped_updates", 0) for m in metrics):
        flags.append("non_finite_gradients")
    if metrics and all(m.get("updates", 0) == 0 for m in metrics):
        flags.append("no_updates")
    return flags


def _record(config: RunConfig, folder: Path, overrides: Sequence[str]) -> RunRecord:
    """A fresh record, or the interrupted run's, with its counters."""
    device = resolve_device(config)
    record = RunRecord(
        run_id=run_id(config),
        study=config.study,
        status="running",
        config=config.model_dump(mode="json"),
        overrides=list(overrides),
        seeds=all_streams(seed=config.seed, base_seed=config.base_seed, replicate=config.replicate),
        base_id=base_id(config),
        data_hash=digest(data_fingerprint(config.data)),
        code=code_state(),
        packages=packages(),
        hardware={**hardware(device), "threads": config.threads, "processes": distributed.world_size()},
        eval_keys={task.task_name(): task.key for task in eval_tasks(config)},
        nondeterminism="GPU reductions and kernel choice" if device == "cuda" else None,
        started=_now(),
    )
    earlier = readable(folder)
    if earlier is not None:
        record.num_resumes = earlier.num_resumes + 1
        record.started = earlier.started
        record.eval_keys = earlier.eval_keys | record.eval_keys
        for name in ("steps_done", "seconds", "tokens", "flops", "peak_memory", *_CLOCKS):
            setattr(record, name, getattr(earlier, name))
    return record


def _close(folder: Path, record: RunRecord, clock: Clock) -> None:
    """Write the last state; a disk that is full must not hide what happened."""
    record.finished = _now()
    record.base_seconds += clock.apart
    device = torch.device(record.hardware["device"])
    if device.type == "cuda":
        record.gpu_seconds += clock.seconds * distributed.world_size()
    record.peak_memory_bytes = max(peak_bytes(device), *record.peak_memory.values(), 0)
    try:
        write_record(folder / "run.json", record)
    except OSError as error:
        print(f"error: {folder / 'run.json'} could not be written: {_reason(error)}", file=sys.stderr)


def _disk_full(error: BaseException) -> bool:
    """safetensors has an error of its own, which tells in its text alone."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return type(error).__name__ == "SafetensorError" and any(
        f"(os error {number})" in str(error) for number in (errno.ENOSPC, errno.EDQUOT)
    )


def _reason(error: BaseException) -> str:
    if _disk_full(error):
        return "the disk is full; free some space and launch again: everything written before is intact"
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
