"""Save and resume, bit for bit.

Random streams are functions of (seed, step), so weights, optimiser and counters are the whole state.

    <folder>/resume/step_000008/{state.pt, trainer.json}    the newest alone; a killed run resumes from it
    <folder>/checkpoints/step_000024/                       hub format, for evaluation and for other tools
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from harness.records.records import clean
from harness.training.distributed import load_whole, rank, sharded_state, whole_state, whole_weights


def save_resume(
    folder: Path,
    *,
    step: int,
    policy: nn.Module,
    optimizer: torch.optim.Optimizer,
    trainer: dict[str, Any],
    others: Mapping[str, nn.Module] | None = None,
) -> None:
    """Write the state after `step` beside the previous one, then drop that; a kill leaves one of them whole.

    `others` are further modules that training changes: a value model, a reference that is refreshed. Tensors
    are written whole, so that any number of processes can resume from them; process 0 writes.
    """
    state: dict[str, Any] = {"policy": dict(whole_weights(policy)), "optimizer": whole_state(optimizer)}
    state |= {name: module.state_dict() for name, module in (others or {}).items()}
    if rank() > 0:
        return
    target = folder / "resume" / f"step_{step:06d}"
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        # Through a file of ours: given a path, torch hides a full disk behind a RuntimeError.
        with (temporary / "state.pt").open("wb") as file:
            torch.save(state, file)
        (temporary / "trainer.json").write_text(json.dumps(clean({"step": step, **trainer})))
        shutil.rmtree(target, ignore_errors=True)
        os.rename(temporary, target)
    except Exception:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    for other in target.parent.iterdir():
        if other != target:
            shutil.rmtree(other, ignore_errors=True)


def load_resume(
    folder: Path,
    *,
    policy: nn.Module,
    optimizer: torch.optim.Optimizer,
    others: Mapping[str, nn.Module] | None = None,
) -> dict[str, Any] | None:
    """Fill modules and optimiser from the newest state. Returns its trainer.json; None when there is none."""
    found = sorted((folder / "resume").glob("step_*"))
    if not found:
        return None
    state = torch.load(found[-1] / "state.pt", weights_only=True, map_location="cpu")
    load_whole(policy, state["policy"])
    optimizer.load_state_dict(sharded_state(optimizer, state["optimizer"]))
    for name, module in (others or {}).items():
        module.load_state_dict(state[name])
    return json.loads((found[-1] / "trainer.json").read_text())


def drop_resume(folder: Path) -> None:
    shutil.rmtree(folder / "resume", ignore_errors=True)


def publish(folder: Path, write: Any) -> None:
    """Fill a folder through `write(temporary)` and rename it into place, so it is whole or absent."""
    if folder.exists():
        return
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        write(temporary)
        os.rename(temporary, folder)
    except Exception:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
