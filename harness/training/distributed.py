"""One run over several processes under torchrun: what they exchange, and how they notice that one is gone.

Every process computes the same step. Each samples and grades its share of the requests and takes its share
of the rows through forward and backward; what all need is gathered, and gradients are summed. How weights
and the optimiser's state lie in the processes is the affair of `parallel`. Process 0 writes.

Two groups of processes. Tensors go through PyTorch's default one, whose exchanges end within 1.5 times
`trainer.rank_timeout` once all have come. Objects, and waiting for one that pretrains, samples or writes
alone, go through a patient one on the CPU; that a process is gone shows there by `heartbeat`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from harness.schema.run_config import ConfigError, RunConfig
from harness.training.heartbeat import Heartbeat

T = TypeVar("T")
# How long others wait for a process that is alive and works alone: it pretrains a base, or runs lm-eval.
PATIENCE = timedelta(hours=24)
# How long an exchange of tensors waits, in limits of the heartbeat: longer than the heartbeat needs, which
# can say which process it is that does not answer.
PER_LIMIT = 1.5

# What gloo, NCCL and the store say where another process has ended or does not answer.
_LOST = (
    *("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Connection refused"),
    *("Timed out waiting", "Socket Timeout", "NCCL communicator was aborted", "remote process exited"),
)


class _State:
    """This process's patient group and heartbeat, where it is one of several."""

    patient: Any = None
    heartbeat: Heartbeat | None = None


def world_size() -> int:
    """Processes of this run; 1 unless torchrun started it."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """This process's number; 0 unless torchrun started it."""
    return dist.get_rank() if dist.is_initialized() else 0


def init_process_group(device: str, *, timeout: float = 60.0) -> str:
    """Join torchrun's other processes, if it started this one. Returns the device to use, `cuda:1` say.

    `timeout` seconds without a sign of life from another process, this one ends.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return device
    if device == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group(
            "nccl" if device != "cpu" else "gloo",
            timeout=timedelta(seconds=max(PER_LIMIT * timeout, 1.0)),
        )
        _State.patient = dist.new_group(backend="gloo", timeout=PATIENCE)
        _State.heartbeat = Heartbeat(rank(), world_size(), limit=timeout)
        dist.barrier(group=_State.patient)  # every process's first beat is there
        _State.heartbeat.start()
    return device


def destroy_process_group() -> None:
    """Leave torchrun's group: a vLLM that lives on in this process has one of its own."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and dist.is_initialized():
        if _State.heartbeat is not None:
            _State.heartbeat.stop()
        _State.heartbeat = _State.patient = None
        dist.destroy_process_group()


def on_loss(record: Callable[[int, str], None]) -> None:
    """Call `record(rank, reason)` before this process ends because that other one is gone."""
    if _State.heartbeat is not None:
        _State.heartbeat.on_loss = record


def tell_failure(reason: str) -> None:
    """Tell the other processes why this one ends, before its exchanges with them do."""
    if _State.heartbeat is not None:
        _State.heartbeat.tell(reason)


def lost_peer(error: BaseException) -> str | None:
    """Why a run failed whose exchange between processes did; None where another error ended it.

    What another process told of its end, else that it is gone.
    """
    seen: BaseException | None = error
    while seen is not None and world_size() > 1:
        if isinstance(seen, RuntimeError) and (found := [x for x in _LOST if x in str(seen)]):
            if _State.heartbeat is not None and (told := _State.heartbeat.told()):
                return told[0]
            return f"another of {world_size()} processes is gone ({found[0]}); launch again to go on"
        seen = seen.__cause__ or seen.__context__
    return None


def check_supported(config: RunConfig, processes: int) -> None:
    """Raise ConfigError for settings that work in one process alone, where there are more."""
    if processes == 1:
        return
    if config.rollout.engine == "vllm":
        raise ConfigError(
            f"rollout.engine=vllm: not supported over {processes} processes; run it in one (no torchrun)"
        )


def patient_group() -> Any:
    """The group on the CPU whose exchanges may wait long; None, PyTorch's default, in a single process."""
    return _State.patient


def meet() -> None:
    """Wait until every process has come here; nothing in a single process.

    An exchange of tensors that follows is then a matter of seconds, however long one process worked.
    """
    if world_size() > 1:
        dist.barrier(group=_State.patient)


def broadcast_from_rank0(value: T | None) -> T:
    """Broadcast rank 0's object to every rank, whose own value is ignored."""
    if world_size() == 1:
        assert value is not None
        return value
    box: list[Any] = [value]
    dist.broadcast_object_list(box, src=0, group=_State.patient)
    return box[0]


def stride(items: Sequence[T]) -> Sequence[T]:
    """Deal out items in turn: this rank's are every `world_size()`-th, so that groups are shared evenly."""
    return items[rank() :: world_size()]


def gather_strided(items: Sequence[T]) -> list[T]:
    """Every rank's items in the order from which `stride` dealt them out."""
    if world_size() == 1:
        return list(items)
    boxes: list[Any] = [None] * world_size()
    dist.all_gather_object(boxes, list(items), group=_State.patient)
    return [box[turn] for turn in range(len(boxes[0])) for box in boxes if turn < len(box)]


def all_gather_list(items: Sequence[T]) -> list[T]:
    """Every rank's items in one list, in the order of ranks."""
    if world_size() == 1:
        return list(items)
    boxes: list[Any] = [None] * world_size()
    dist.all_gather_object(boxes, list(items), group=_State.patient)
    return [item for box in boxes for item in box]


def all_reduce_sum(x: Tensor, device: torch.device) -> Tensor:
    """Sum a tensor over the ranks, by way of `device`; x itself in a single process."""
    if world_size() == 1:
        return x
    meet()
    moved = x.to(device)
    dist.all_reduce(moved)
    return moved.to(x.device)


def all_reduce_dict(sums: dict[str, Tensor], device: torch.device) -> dict[str, float]:
    """Sum named scalars over the ranks and read them all at once: reading one waits for a GPU."""
    names = sorted({name for own in all_gather_list([list(sums)]) for name in own})
    if not names:
        return {}
    zero = torch.zeros((), device=device, dtype=torch.float64)
    stacked = torch.stack([sums.get(name, zero).to(device, torch.float64) for name in names])
    return dict(zip(names, all_reduce_sum(stacked, device).tolist(), strict=True))
