"""Save and resume, bit for bit.

Random streams are functions of (seed, step), so weights, optimiser and counters are the whole state.

    <folder>/resume/step_000008/{state.pt, trainer.json}    the newest alone; a killed run resumes from it
    <folder>/checkpoints/step_000024/                       hub format, for evaluation and for other tools
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from harness.records.published import RESUME, Damaged, publish, reading, remove, verify, warn
from harness.records.records import clean
from harness.training.distributed import load_whole, rank, sharded_state, whole_state, whole_weights

State = dict[str, Any]


def identity(folder: Path, step: int) -> dict[str, Any]:
    """Name a state or a checkpoint: the folder of the run or base that it is of, and its step."""
    return {"owner": folder.name, "step": step}


def save_resume(
    folder: Path,
    *,
    step: int,
    policy: nn.Module,
    optimizer: torch.optim.Optimizer,
    trainer: State,
    others: Mapping[str, nn.Module] | None = None,
) -> None:
    """Write the state after `step` beside the previous one, then drop that; a kill leaves one of them whole.

    `others` are further modules that training changes: a value model, a reference that is refreshed. Tensors
    are written whole, so that any number of processes can resume from them; process 0 writes.
    """
    state: State = {"policy": dict(whole_weights(policy)), "optimizer": whole_state(optimizer)}
    state |= {name: module.state_dict() for name, module in (others or {}).items()}
    if rank() > 0:
        return

    def write(temporary: Path) -> None:
        # Through a file of ours: given a path, torch hides a full disk behind a RuntimeError.
        with (temporary / "state.pt").open("wb") as file:
            torch.save(state, file)
        (temporary / "trainer.json").write_text(json.dumps(clean({"step": step, **trainer})))

    target = folder / RESUME / f"step_{step:06d}"
    publish(target, write, identity=identity(folder, step), again=True)
    for other in target.parent.iterdir():
        if other != target:
            remove(other)


def load_resume(
    folder: Path,
    *,
    policy: nn.Module,
    optimizer: torch.optim.Optimizer,
    others: Mapping[str, nn.Module] | None = None,
    check: Callable[[State], None] = lambda trainer: None,
) -> State | None:
    """Fill modules and optimiser from the newest whole state. Returns its trainer.json; None without one.

    A state that is damaged, another run's, or refused by `check(trainer)` with Damaged is left out with a
    warning before anything is filled: training then begins earlier, and ends with the same numbers.
    """
    modules = {"policy": policy, **(others or {})}
    for found in sorted((folder / RESUME).glob("step_*"), reverse=True):
        try:
            state, trainer = _read(folder, found, modules)
            check(trainer)
            with reading(found / "state.pt"):
                optimizer.load_state_dict(
                    sharded_state(optimizer, state["optimizer"])
                )  # all of it or nothing
        except Damaged as error:
            warn(f"{error.what}; {found} is left out, and training starts earlier")
            continue
        load_whole(policy, state["policy"])
        for name, module in (others or {}).items():
            module.load_state_dict(state[name])
        return trainer
    return None


def _read(folder: Path, found: Path, modules: Mapping[str, nn.Module]) -> tuple[State, State]:
    """Read (state.pt, trainer.json) of a saved state whose tensors fit `modules`. Raises Damaged."""
    with reading(found):
        step = int(found.name.removeprefix("step_"))
    verify(found, identity(folder, step))
    with reading(found / "trainer.json"):
        trainer = json.loads((found / "trainer.json").read_text())
        if not isinstance(trainer, dict) or trainer.get("step") != step:
            raise ValueError(f"it is not that of step {step}")
    with reading(found / "state.pt"):
        state = torch.load(found / "state.pt", weights_only=True, map_location="cpu")
        for name, module in modules.items():
            if _shapes(state[name]) != _shapes(module.state_dict()):
                raise ValueError(f"its {name} is another model")
    return state, trainer


def _shapes(state: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def drop_resume(folder: Path) -> None:
    shutil.rmtree(folder / RESUME, ignore_errors=True)
