"""Save and resume, bit for bit.

Random streams are functions of (seed, step), so weights, optimiser and counters are the whole state.

    <folder>/resume/step_000008/{state.pt, trainer.json}    the newest alone; a killed run resumes from it
                               {shares/, trainer.json}      the same of several processes (`training.shares`)
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

from harness.records.published import RESUME, Damaged, publish, reading, remedy, remove, verify, warn
from harness.records.reasons import one_line
from harness.records.records import clean
from harness.training import shares
from harness.training.distributed import broadcast_from_rank0, rank

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
    trained: Mapping[str, nn.Module] | None = None,
    others: Mapping[str, nn.Module] | None = None,
) -> None:
    """Write the state after `step` beside the previous one, then drop that; a kill leaves one of them whole.

    `trained` are further modules that the optimiser updates, a value model; `others` those that change beside
    it, a reference that is refreshed. Every process must call it: each writes its shares, or process 0 all.
    """
    parts = {"policy": policy, **(trained or {})}
    target = folder / RESUME / f"step_{step:06d}"
    if together := shares.in_shares(optimizer):
        state: State = dict(shares.collect(parts, optimizer, others or {}))
    elif rank() > 0:
        return
    else:
        state = {name: module.state_dict() for name, module in {**parts, **(others or {})}.items()}
        state["optimizer"] = optimizer.state_dict()

    def write(temporary: Path) -> None:
        if together:
            shares.save(broadcast_from_rank0(temporary) / shares.FOLDER, state)
        else:
            # Through a file of ours: given a path, torch hides a full disk behind a RuntimeError.
            with (temporary / "state.pt").open("wb") as file:
                torch.save(state, file)
        (temporary / "trainer.json").write_text(json.dumps(clean({"step": step, **trainer})))

    if rank() > 0:
        shares.save(broadcast_from_rank0(Path()) / shares.FOLDER, state)
        return
    publish(target, write, identity=identity(folder, step), again=True)
    for other in target.parent.iterdir():
        if other != target:
            remove(other)


def load_resume(
    folder: Path,
    *,
    policy: nn.Module,
    optimizer: torch.optim.Optimizer,
    trained: Mapping[str, nn.Module] | None = None,
    others: Mapping[str, nn.Module] | None = None,
    check: Callable[[State], None] = lambda trainer: None,
) -> State | None:
    """Fill modules and optimiser from the newest whole state. Returns its trainer.json; None without one.

    A state that is damaged, another run's, or refused by `check(trainer)` with Damaged is left out with a
    warning before anything is filled: training then begins earlier, and ends with the same numbers. Where
    several processes have the state in shares, process 0 checks for all.
    """
    parts, beside = {"policy": policy, **(trained or {})}, others or {}
    together = shares.in_shares(optimizer)

    def judged(found: Path) -> tuple[State | None]:
        try:
            trainer = _checked(folder, found)
            check(trainer)
            return (trainer,)
        except Damaged as error:
            _left_out(error, found)
            return (None,)

    places = sorted((folder / RESUME).glob("step_*"), reverse=True)
    for found in broadcast_from_rank0(places) if together else places:
        if together:
            (trainer,) = broadcast_from_rank0(judged(found) if rank() == 0 else None)
        else:
            (trainer,) = judged(found)
        if trainer is None:
            continue
        try:
            _fill(found, parts, optimizer, beside)
            return trainer
        except Damaged as error:  # every process reads the same files and comes here
            _left_out(error, found)
    return None


def _left_out(error: Damaged, found: Path) -> None:
    if rank() == 0:
        warn(f"{error.what}; {found} is left out, and training starts earlier")


def _checked(folder: Path, found: Path) -> State:
    """Read trainer.json of a saved state whose files are what was written. Raises Damaged."""
    with reading(found):
        step = int(found.name.removeprefix("step_"))
    verify(found, identity(folder, step))
    with reading(found / "trainer.json"):
        trainer: State = json.loads((found / "trainer.json").read_text())
        if not isinstance(trainer, dict) or trainer.get("step") != step:
            raise ValueError(f"it is not that of step {step}")
    return trainer


def _fill(
    found: Path,
    parts: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    others: Mapping[str, nn.Module],
) -> None:
    """Fill modules and optimiser from a saved state, of this kind or the other.

    Raises Damaged before anything is filled, RuntimeError where shares cannot be read to their end.
    """
    place = found / shares.FOLDER
    if place.exists():
        with reading(place):
            saved = shares.shapes(place)
            state = shares.collect(parts, optimizer, others, names=set(saved))
            if not shares.fits(saved, state):
                raise ValueError("its tensors are another model's")
        try:
            shares.load(place, state)
        except Exception as error:  # some tensors are filled: training from the base would not be from it
            raise RuntimeError(f"{place}: cannot be read ({one_line(error)}); {remedy(found)}") from error
        return shares.finish(optimizer)
    in_shares = shares.in_shares(optimizer)
    with reading(found / "state.pt"):  # mapped, every process reads its share alone
        whole = torch.load(found / "state.pt", weights_only=True, map_location="cpu", mmap=in_shares)
        for name, module in {**parts, **others}.items():
            if _shapes(whole[name]) != _shapes(module.state_dict()):
                raise ValueError(f"its {name} is another model")
        if in_shares:
            named = shares.from_whole(whole, parts)
            shares.fill(shares.collect(parts, optimizer, others, names=set(named)), named)
            return shares.finish(optimizer)
        optimizer.load_state_dict(whole["optimizer"])  # all of it or nothing
    for name, module in {**parts, **others}.items():
        module.load_state_dict(whole[name])


def _shapes(state: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def drop_resume(folder: Path) -> None:
    shutil.rmtree(folder / RESUME, ignore_errors=True)
