"""One run over several processes under torchrun: sharded weights (FSDP2), shared work, one record.

Every process samples and grades its slice of a step's prompts and gathers the others', so that all hold the
same groups, advantages and denominators; then each takes its slice of the rows through forward and backward,
and gradients are summed. Weights, gradients and optimiser state lie in shards; the sampler, the reference and
the base that retention is measured against are whole in every process. Process 0 writes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from harness.model.lora import hub_state
from harness.model.policy import Policy
from harness.schema.run_config import ConfigError, RunConfig

T = TypeVar("T")
# How long other processes wait for process 0, which pretrains a base or evaluates alone.
PATIENCE = timedelta(hours=24)


def world_size() -> int:
    """Processes of this run; 1 unless torchrun started it."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """This process's number; 0 unless torchrun started it."""
    return dist.get_rank() if dist.is_initialized() else 0


def init_process_group(device: str) -> str:
    """Join torchrun's other processes, if it started this one. Returns the device to use, `cuda:1` say."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return device
    if device == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device != "cpu" else "gloo", timeout=PATIENCE)
    return device


def destroy_process_group() -> None:
    """Leave torchrun's group: a vLLM that lives on in this process has one of its own."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and dist.is_initialized():
        dist.destroy_process_group()


def check_supported(config: RunConfig, processes: int) -> None:
    """Raise ConfigError for settings that work in one process alone, where there are more."""
    if processes == 1:
        return
    objective = config.objective
    unable = {
        "objective.value": objective.value is not None,
        "objective.offline": objective.offline is not None,
        "objective.reward_model": objective.reward_model is not None,
        "objective.process_reward_model": objective.process_reward_model is not None,
        "rollout.search": config.rollout.search is not None,
        "rollout.engine=vllm": config.rollout.engine == "vllm",
        "trainer.on_oom=halve_microbatch": config.trainer.on_oom != "raise",
        "trainer.optimizer=adamw_8bit": config.trainer.optimizer != "adamw",
        "trainer.lora": config.trainer.lora is not None,
    }
    if found := [name for name, used in unable.items() if used]:
        raise ConfigError(
            f"{', '.join(found)}: not supported over {processes} processes; run it in one (no torchrun)"
        )


def broadcast_from_rank0(value: T | None) -> T:
    """Broadcast rank 0's object to every rank, whose own value is ignored."""
    if world_size() == 1:
        assert value is not None
        return value
    box: list[Any] = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def rank_slice(items: Sequence[T]) -> tuple[int, Sequence[T]]:
    """(start, items[start:end]) of this rank: the ranks' slices are even, consecutive and in order."""
    each, rest = divmod(len(items), world_size())
    first = rank() * each + min(rank(), rest)
    return first, items[first : first + each + (rank() < rest)]


def all_gather_list(items: Sequence[T]) -> list[T]:
    """Every rank's items in one list, in the order of ranks: the inverse of `rank_slice`."""
    if world_size() == 1:
        return list(items)
    boxes: list[Any] = [None] * world_size()
    dist.all_gather_object(boxes, list(items))
    return [item for box in boxes for item in box]


def all_reduce_sum(x: Tensor, device: torch.device) -> Tensor:
    """Sum a tensor over the ranks, by way of `device`; x itself in a single process."""
    if world_size() == 1:
        return x
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


def shard(policy: Policy, dtype: torch.dtype) -> Policy:
    """Shard a float32 policy in place over the processes, layer by layer; it computes in `dtype`.

    The shards are the float32 masters: weights are rounded when they are gathered, and gradients are reduced
    in float32.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

    device = policy.head_weight.device.type
    mesh = init_device_mesh(device, (world_size(),))
    precision = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
    for layer in policy.model.layers:
        fully_shard(layer, mesh=mesh, mp_policy=precision)
    # The root's weights (embedding, head) are read after `hidden` returns: they stay until the backward pass.
    fully_shard(policy, mesh=mesh, mp_policy=precision, reshard_after_forward=False)
    register_fsdp_forward_method(policy, "hidden")
    return policy


def hub_weights(policy: Policy) -> Iterable[tuple[str, Tensor]]:
    """(name, tensor) of the weights an engine loads: whole, under the hub's names, adapters merged."""
    return hub_state(policy).items() if world_size() == 1 else whole_weights(policy)


def whole_weights(policy: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Gather (name, whole tensor) one at a time; every process must iterate to the end."""
    _reshard(policy)
    for name, tensor in policy.state_dict().items():
        yield name, whole(tensor)


def _reshard(policy: nn.Module) -> None:
    """Shard the root's weights again: a forward pass without gradient leaves them gathered."""
    reshard: Any = getattr(policy, "reshard", None)
    if reshard is not None:
        reshard()


def whole(tensor: Any) -> Any:
    """Gather a sharded tensor; anything else as it is."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def whole_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The optimiser's state dict with whole tensors, as one process would write it."""
    state = optimizer.state_dict()
    if world_size() == 1:
        return state
    inner = {i: {k: whole(x) for k, x in found.items()} for i, found in state["state"].items()}
    return {**state, "state": inner}


def sharded_state(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """The optimiser's state dict with each tensor sharded like its parameter."""
    if world_size() == 1:
        return state
    from torch.distributed.tensor import DTensor, distribute_tensor

    parameters = [p for group in optimizer.param_groups for p in group["params"]]

    def cut(parameter: Tensor, x: Any) -> Any:
        if isinstance(parameter, DTensor) and isinstance(x, Tensor) and x.shape == parameter.shape:
            return distribute_tensor(x.to(parameter.device), parameter.device_mesh, parameter.placements)
        return x

    inner = {i: {k: cut(parameters[i], x) for k, x in found.items()} for i, found in state["state"].items()}
    return {**state, "state": inner}


def load_whole(policy: nn.Module, weights: dict[str, Tensor]) -> None:
    """Copy whole tensors into the policy, sharded or not."""
    if world_size() == 1:
        policy.load_state_dict(weights)
        return
    from torch.distributed.tensor import DTensor, distribute_tensor

    _reshard(policy)
    own = policy.state_dict()
    cut = {
        name: distribute_tensor(x.to(own[name].device), own[name].device_mesh, own[name].placements)
        if isinstance(own[name], DTensor)
        else x
        for name, x in weights.items()
    }
    policy.load_state_dict(cut)
