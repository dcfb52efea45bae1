"""What the processes of a run do that are not its first: train and sample with it, and nothing else.

Process 0 says what comes next: `(TRAIN, base, start)`, `(EVALUATE, weights)` or nothing, which is the end.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Literal

from harness.launch.signals import hold_back, preempted, saving
from harness.model.files.codec import Codec
from harness.model.policy import Policy
from harness.records.locks import Held, hold
from harness.records.reading import RecordError
from harness.records.reasons import reason_of
from harness.records.records import read_run, write_record
from harness.reward_models.in_training import add_reward_models
from harness.rollout.engines import warm_engine
from harness.schema.run_config import RunConfig
from harness.training import distributed
from harness.training.run_state import Run
from harness.training.setup import setup
from harness.training.shared_engine import SharedEngine
from harness.training.trainer import train
from harness.types import RolloutEngine

TRAIN, EVALUATE = "train", "evaluate"
_END: Any = ()


def follow(config: RunConfig, folder: Path, device: str) -> Literal["finished"]:
    """Do what process 0 says until it says no more. An error is recorded if process 0 cannot any more."""
    distributed.on_loss(partial(_record_loss, folder))
    try:
        while order := distributed.broadcast_from_rank0(_END):
            what, *places = order
            if what == TRAIN:
                _train(config, folder, *map(Path, places), device=device)
            else:
                _, engine, _ = _engine(config, Path(*places), device)
                assert isinstance(engine, SharedEngine)
                engine.follow()
        return "finished"
    except BaseException as error:  # also the signal by which torchrun ends it once process 0 is gone
        hold_back()
        reason = distributed.lost_peer(error)
        if reason is None:
            reason = f"process {distributed.rank()}: {reason_of(error)}"
            if isinstance(error, Exception):  # no signal
                distributed.tell_failure(reason)
        _record_failure(folder, reason)
        raise
    finally:
        hold_back(False)
        distributed.destroy_process_group()  # a process that ends with its group's threads running c


def dismiss() -> None:
    """Let the other processes end."""
    distributed.broadcast_from_rank0(_END)


def lead_training(base: Path, start: Path) -> None:
    """Let the other processes train, too."""
    distributed.broadcast_from_rank0((TRAIN, str(base), str(start)))


def lead_evaluation(config: RunConfig, weights: Path, device: str) -> tuple[Policy, RolloutEngine, Codec]:
    """Load weights to evaluate in every process: `warm_engine`, over all of them."""
    distributed.broadcast_from_rank0((EVALUATE, str(weights)))
    return _engine(config, weights, device)


def leading(engine: RolloutEngine) -> AbstractContextManager[None]:
    """Inside, process 0 samples with the others, which follow; alone, with nobody."""
    return engine.leading() if isinstance(engine, SharedEngine) else nullcontext()


def _engine(config: RunConfig, weights: Path, device: str) -> tuple[Policy, RolloutEngine, Codec]:
    policy, engine, codec = warm_engine(config, weights, device)
    return policy, engine if distributed.world_size() == 1 else SharedEngine(engine), codec


def _train(config: RunConfig, folder: Path, base: Path, start: Path, *, device: str) -> None:
    run = setup(config, base=base, start=start, folder=folder, device=device)
    add_reward_models(run)
    with saving():
        train(
            run,
            report=lambda *_: None,
            log=lambda _: None,
            evaluate=_evaluate,
            preempted=preempted,
        )


def _evaluate(run: Run) -> None:
    assert isinstance(run.engine, SharedEngine)
    run.engine.follow()


def _record_loss(folder: Path, lost: int, reason: str) -> None:
    """Record that process 0 gives no sign of life; it may be stopped with its lock on the folder."""
    record = read_run(folder)
    if lost == 0 and record.status == "running":
        record.status, record.reason = "failed", reason
        write_record(folder / "run.json", record)


def _record_failure(folder: Path, reason: str) -> None:
    """Record that a run failed whose first process is gone; that one records it as long as it lives."""
    try:
        with hold(folder):
            record = read_run(folder)
            if record.status == "running":
                record.status, record.reason = "failed", reason
                write_record(folder / "run.json", record)
    except (Held, OSError, RecordError):
        return
