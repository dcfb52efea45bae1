"""The state of several processes on the disk: each writes its shares, and any number of processes reads them.

    resume/step_000008/shares/{.metadata, __0_0.distcp, __1_0.distcp, …}     PyTorch's distributed checkpoint

Under a trained parameter's name stand its float32 master and, with `.exp_avg`, `.exp_avg_sq` and `.step`, its
moments; under another module's, its weights. No process ever has a tensor whole that it has in shares. One
process's `state.pt` holds the same numbers, and either kind of state can be gone on from as the other.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness.records.reasons import one_line
from harness.training.distributed import patient_group, world_size
from harness.training.optim import wide_and_narrow
from harness.training.parallel import mesh, reshard

MOMENTS = ("exp_avg", "exp_avg_sq", "step")
FOLDER = "shares"


def in_shares(optimizer: torch.optim.Optimizer) -> bool:
    """Whether several processes have an optimiser's state in shares."""
    tensors = (p for group in optimizer.param_groups for p in group["params"])
    return hasattr(optimizer, "parts") or any(hasattr(p, "device_mesh") for p in tensors)


def trained(modules: Mapping[str, nn.Module]) -> Iterator[tuple[str, nn.Parameter]]:
    """(name, parameter) of what is trained, `policy.model.norm.weight` say, in the optimiser's order."""
    for module_name, module in modules.items():
        for found in wide_and_narrow(module):
            yield from ((f"{module_name}.{name}", parameter) for name, parameter in found)


def collect(
    modules: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    others: Mapping[str, nn.Module],
    *,
    names: set[str] | None = None,
) -> dict[str, Tensor]:
    """The state by name: shares as DTensors, the rest as it is. Who fills the tensors fills the state.

    `modules` are those that the optimiser updates. With `names`, those of a saved state, moments are made
    where there are none yet.
    """
    for module in (*modules.values(), *others.values()):
        reshard(module)  # what a pass has gathered are other tensors than those that are trained
    over = mesh(next(modules["policy"].parameters()).device.type) if hasattr(optimizer, "parts") else None
    state: dict[str, Tensor] = {}
    for name, parameter in trained(modules):
        held = _held(parameter, optimizer)
        state[name] = _shared(held, parameter, over)
        moments = optimizer.state[held]
        if not moments and names is not None and f"{name}.step" in names:
            moments |= {m: torch.zeros_like(held) for m in MOMENTS[:2]}
            moments["step"] = torch.zeros((), dtype=torch.float32, device=held.device)
        for moment in MOMENTS if moments else ():
            x = moments[moment]
            state[f"{name}.{moment}"] = x if moment == "step" else _shared(x, parameter, over)
    for module_name, module in others.items():
        state |= {f"{module_name}.{name}": x for name, x in module.state_dict().items()}
    return state


def save(folder: Path, state: Mapping[str, Tensor]) -> None:
    """Write this process's shares into `folder`; every process must call it."""
    from torch.distributed import checkpoint

    writer = checkpoint.FileSystemWriter(folder)
    with _unwrapped():
        checkpoint.save(dict(state), storage_writer=writer, process_group=patient_group())


@contextmanager
def _unwrapped() -> Iterator[None]:
    """Raise what one process met as it is, in all of them: PyTorch's CheckpointException is no Exception."""
    from torch.distributed.checkpoint.api import CheckpointException

    try:
        yield
    except CheckpointException as error:
        number, (cause, _) = next(iter(error.failures.items()))
        if isinstance(cause, OSError):
            raise cause from error
        raise RuntimeError(f"process {number}: {one_line(cause)}") from error


def load(folder: Path, state: Mapping[str, Tensor]) -> None:
    """Fill the tensors of `state` from the shares of any number of processes.

    Raises RuntimeError or OSError with some of them filled: nothing can be trained from these any more.
    """
    from torch.distributed import checkpoint

    alone = world_size() == 1
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # as it is meant
        reader = checkpoint.FileSystemReader(folder)
        with _unwrapped():
            checkpoint.load(dict(state), storage_reader=reader, process_group=patient_group(), no_dist=alone)


def shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor that is saved, by name."""
    from torch.distributed.checkpoint import FileSystemReader

    saved = FileSystemReader(folder).read_metadata().state_dict_metadata
    return {name: tuple(x.size) for name, x in saved.items() if hasattr(x, "size")}


def from_whole(saved: Mapping[str, Any], modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """One process's saved state by the names of `collect`."""
    named = list(trained(modules))
    state = {
        f"{module}.{name}": x
        for module in saved
        if module != "optimizer"
        for name, x in saved[module].items()
    }
    masters = iter(saved["optimizer"].get("masters", ()))
    low = [name for name, _ in named if state[name].dtype != torch.float32]
    state |= dict(zip(low, masters, strict=True))
    for i, moments in saved["optimizer"]["state"].items():
        state |= {f"{named[i][0]}.{m}": moments[m] for m in MOMENTS}
    return state


@torch.no_grad()
def fill(state: Mapping[str, Any], whole: Mapping[str, Tensor]) -> None:
    """Copy whole tensors into the state, of each share its own part."""
    for name, mine in state.items():
        if not hasattr(mine, "device_mesh"):
            mine.copy_(whole[name])
        elif (local := mine.to_local()).numel():
            local.copy_(whole[name].chunk(mine.device_mesh.size(), dim=0)[mine.device_mesh.get_local_rank()])


def finish(optimizer: torch.optim.Optimizer) -> None:
    """Set the weights to the masters that were filled."""
    if hasattr(optimizer, "gather_weights"):
        optimizer.gather_weights()
    elif hasattr(optimizer, "round_masters"):
        optimizer.round_masters()


def _held(parameter: nn.Parameter, optimizer: Any) -> Tensor:
    """What the optimiser updates for a parameter: its share, its master or itself."""
    if hasattr(optimizer, "parts"):
        share: Tensor = optimizer.parts[parameter].share
        return share
    master: Tensor = getattr(optimizer, "masters", {}).get(parameter, parameter)
    return master


def _shared(x: Tensor, parameter: nn.Parameter, over: Any) -> Tensor:
    """A replica's share as the DTensor that it is a part of, over a mesh; anything else as it is."""
    if over is None:
        return x.detach()
    from torch.distributed.tensor import DTensor, Shard

    shape, stride = parameter.shape, parameter.stride()
    return DTensor.from_local(x, over, [Shard(0)], run_check=False, shape=shape, stride=stride)


def fits(saved: Mapping[str, Sequence[int]], state: Mapping[str, Tensor]) -> bool:
    """Whether a saved state has every tensor of `state`, in its shape."""
    return all(tuple(saved.get(name, (-1,))) == tuple(x.shape) for name, x in state.items())
