"""The record of one run: begun, closed, and what is read from its metrics. The run itself is execute.py's."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import torch

from harness.data.load import data_fingerprint
from harness.evaluation.eval_tasks import eval_tasks
from harness.identity import (
    base_id,
    digest,
    lm_eval_key,
    run_id,
    sampling_keys,
    search_key,
    streams_of,
    teacher_base,
    teacher_stage,
)
from harness.launch.status import evaluation_folders, readable
from harness.records.code_state import code_state, hardware, packages
from harness.records.reading import RecordError
from harness.records.reasons import reason_of
from harness.records.records import RunRecord, read_eval, write_record
from harness.schema.run_config import RunConfig
from harness.training import distributed
from harness.training.accounting import Clock, peak_bytes

_CLOCKS = ("gpu_seconds", "base_seconds", "waited_seconds")


def resolve_device(config: RunConfig) -> str:
    """The device of a run: "cpu" or "cuda". Raises ValueError for device=cuda without a GPU."""
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device=cuda: no GPU is visible to PyTorch; set device=cpu, or install a CUDA build")
    if config.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return config.device


def final_numbers(config: RunConfig, folder: Path, step: int) -> dict[str, float]:
    """Every metric of the last checkpoint's evaluations as `<split or benchmark>/<metric>`.

    Those asked for are whole; a damaged one of an earlier launch is left out, and named by the report.
    """
    found: dict[str, float] = {}
    for path in (
        p for place in evaluation_folders(config, folder, step) for p in sorted(place.glob("*.json"))
    ):
        with suppress(RecordError):
            record = read_eval(path)
            found |= {f"{record.split}/{name}": value for name, value in record.metrics.items()}
    return found


def dead_flags(metrics: Sequence[dict[str, float]]) -> list[str]:
    """Reasons why a run's numbers mean nothing, from the metrics of all its steps."""
    flags = []
    rows = [m for m in metrics if "zero_variance_groups" in m]
    if rows and all(m["zero_variance_groups"] == 1.0 for m in rows):
        flags.append("no_reward_variance")
    if rows and all(m.get("truncated") == 1.0 for m in rows):
        flags.append("all_truncated")
    if any(m.get("skipped_updates", 0) for m in metrics):
        flags.append("non_finite_gradients")
    if metrics and all(m.get("updates", 0) == 0 for m in metrics):
        flags.append("no_updates")
    return flags


def _teacher_id(config: RunConfig) -> str | None:
    """The base that a teacher is, or that the stage began from which trains it; None for the run's own."""
    if (made := teacher_base(config)) is not None:
        return base_id(made)
    stage = teacher_stage(config)
    record = None if stage is None else readable(stage)
    return None if record is None or record.base_id == base_id(config) else record.base_id


def new_record(config: RunConfig, folder: Path, overrides: Sequence[str]) -> RunRecord:
    """The record of a run that starts; one that resumes goes on with its earlier counters."""
    device = resolve_device(config)
    record = RunRecord(
        run_id=run_id(config),
        study=config.study,
        status="running",
        config=config.model_dump(mode="json"),
        overrides=list(overrides),
        seeds=streams_of(config),
        base_id=base_id(config),
        teacher_id=_teacher_id(config),
        data_hash=digest(data_fingerprint(config.data)),
        code=code_state(),
        packages=packages(),
        hardware={**hardware(device), "threads": config.threads, "processes": distributed.world_size()},
        eval_keys={
            **{task.task_name(): task.key for task in eval_tasks(config) if not task.further},
            **{f"lm_eval/{asked.task}": lm_eval_key(config, asked) for asked in config.eval.lm_eval},
            **{f"search/{i}": search_key(config, asked) for i, asked in enumerate(config.eval.search)},
        },
        sampling_keys={f"{t:g}, {p:g}": key for (t, p), key in sampling_keys(config).items()},
        nondeterminism="GPU reductions and kernel choice" if device == "cuda" else None,
        started=_now(),
    )
    earlier = readable(folder)
    if earlier is not None:
        record.num_resumes = earlier.num_resumes + 1
        record.started = earlier.started
        if earlier.eval_keys.items() >= record.eval_keys.items():  # else the earlier samplings had another k
            record.sampling_keys = earlier.sampling_keys | record.sampling_keys
        record.eval_keys = earlier.eval_keys | record.eval_keys
        for name in ("wandb_id", "steps_done", "seconds", "tokens", "flops", "peak_memory", *_CLOCKS):
            setattr(record, name, getattr(earlier, name))
        record.code["earlier_commits"] = _earlier_commits(folder, earlier, record.code["commit"])
    return record


def _earlier_commits(folder: Path, earlier: RunRecord, now: str | None) -> list[str]:
    """Other commits that made what a run goes on from: its numbers are theirs in part."""
    found = list(earlier.code.get("earlier_commits", []))
    if (folder / "resume").exists() or earlier.steps_done:
        found.append(earlier.code.get("commit"))
    return sorted({commit for commit in found if commit} - {now})


def close_record(folder: Path, record: RunRecord, clock: Clock) -> str | None:
    """Add up time and memory, and write the record. Returns why it could not be written, else None."""
    record.finished = _now()
    record.base_seconds += clock.apart
    record.waited_seconds += clock.waited
    device = torch.device(record.hardware["device"])
    if device.type == "cuda":
        record.gpu_seconds += clock.seconds * record.hardware.get("processes", 1)
    record.peak_memory_bytes = max(peak_bytes(device), *record.peak_memory.values(), 0)
    try:
        write_record(folder / "run.json", record)
    except OSError as error:
        return f"{folder / 'run.json'} could not be written: {reason_of(error)}"
    return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
