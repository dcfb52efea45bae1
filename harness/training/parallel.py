"""How weights lie in several processes of one run: whole in each (replicas), or in shards (FSDP2).

Replicas: each process has all weights and their gradients, in the run's dtype, and a share of the float32
masters and moments (`replicas`). Its sampler is the policy itself, and a step exchanges gradients once.
Shards: float32 masters, moments and gradients lie in shards; layers are gathered for every pass, and the
sampler, which needs whole weights, is a copy. What no optimiser updates (the reference, the base that
retention is measured against) is sharded in either case where it does not fit whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness.model.dims import ModelDims
from harness.model.files.folder import folder_dims
from harness.model.files.hub import read_weights
from harness.model.lora import hub_state
from harness.model.policy import Policy
from harness.model.preflight import Placement, place, unable_in_shards
from harness.schema.run_config import ConfigError, RunConfig
from harness.training.distributed import broadcast_from_rank0, world_size


def placement_of(config: RunConfig, dims: ModelDims, device: str) -> Placement:
    """Decide how weights lie in this run's processes, by the memory of process 0's machine."""
    if world_size() == 1:
        return Placement()
    return broadcast_from_rank0(place(config, dims, device.partition(":")[0], processes=world_size()))


def check_placement(config: RunConfig, placement: Placement) -> None:
    """Raise ConfigError for settings that replicas alone can have, where weights are in shards."""
    if placement.sharded and (found := unable_in_shards(config)):
        raise ConfigError(
            f"trainer.parallel={config.trainer.parallel}: {', '.join(found)} not supported over "
            f"{placement.processes} processes with weights in shards; set trainer.parallel=replicas"
        )


def mesh(device: str) -> Any:
    """This run's processes as the one dimension of a device mesh."""
    from torch.distributed.device_mesh import init_device_mesh

    return init_device_mesh(device.partition(":")[0], (world_size(),))


def shard(policy: Policy, dtype: torch.dtype, device: str) -> Policy:
    """Shard a policy in place over the processes on `device`, layer by layer; it computes in `dtype`.

    Float32 shards are masters: weights are rounded when they are gathered, and gradients are reduced in
    float32.
    """
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

    over = mesh(device)
    precision = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
    for layer in policy.model.layers:
        fully_shard(layer, mesh=over, mp_policy=precision)
    # The root's weights (embedding, head) are read after `hidden` returns: they stay until the backward pass.
    fully_shard(policy, mesh=over, mp_policy=precision, reshard_after_forward=False)
    register_fsdp_forward_method(policy, "hidden")
    return policy


@torch.no_grad()
def load_sharded(folder: Path, dtype: torch.dtype, device: str) -> Policy:
    """Load a hub folder's model to train in shards; only the file's tensors are ever whole, on the CPU.

    The shards are float32 masters of the weights as `dtype` rounds them.
    """
    policy = shard(Policy(folder_dims(folder), dtype=torch.float32, device="meta"), dtype, device)
    policy.to_empty(device=device)
    weights = read_weights(folder)
    for name, parameter in policy.named_parameters():
        _copy_shard(parameter, weights[name].to(dtype))
    return policy


def is_sharded(policy: nn.Module) -> bool:
    """Whether a policy's weights lie in shards (FSDP2)."""
    return hasattr(policy, "reshard")


def hub_weights(policy: Policy) -> Iterable[tuple[str, Tensor]]:
    """(name, tensor) of the weights an engine loads: whole, under the hub's names, adapters merged."""
    return whole_weights(policy) if is_sharded(policy) else hub_state(policy).items()


@torch.no_grad()
def whole_weights(policy: Any) -> Iterator[tuple[str, Tensor]]:
    """Gather (name, whole tensor in the run's dtype), layer by layer; every process must iterate to the end.

    A tensor is whole until the next layer's are asked for.
    """
    layers = [(f"model.layers.{i}.", layer) for i, layer in enumerate(policy.model.layers)]
    for prefix, unit in [*layers, ("", policy)]:
        unit.unshard()
        for name, x in unit.named_parameters():
            if prefix or not name.startswith("model.layers."):
                yield prefix + name, x.detach()
        unit.reshard()


def reshard(policy: Any) -> None:
    """Shard the root's weights again: a forward pass without gradient leaves them gathered."""
    if is_sharded(policy):
        policy.reshard()


@torch.no_grad()
def copy_weights(source: Policy, target: Policy) -> None:
    """Set one model's weights to another's, rounded to its dtype; shards from shards are copied in place."""
    if is_sharded(source) and is_sharded(target):
        reshard(source)
        reshard(target)
        pairs: Iterable[tuple[Any, Any]] = zip(target.parameters(), source.parameters(), strict=True)
        for mine, theirs in pairs:
            mine.to_local().copy_(theirs.to_local())
        return
    reshard(target)  # then its parameters are the shards
    own = dict(target.named_parameters())
    for name, x in hub_weights(source):
        if is_sharded(target):
            _copy_shard(own[name], x)
        else:
            own[name].copy_(x)


def _copy_shard(parameter: Any, whole: Tensor) -> None:
    """Copy this process's part of a whole tensor into a shard."""
    local = parameter.to_local()
    if local.numel():
        local.copy_(whole.chunk(world_size(), dim=0)[parameter.device_mesh.get_local_rank()])
