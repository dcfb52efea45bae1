"""A resumed state is the saved one to the bit; what a kill left is neither read nor kept."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
import torch

from harness.model.policy import Policy, init_policy
from harness.training import checkpoint
from harness.training.optim import adamw
from tests.shapes import model_dims

DIMS = model_dims()


def made(seed: int) -> tuple[Policy, torch.optim.AdamW]:
    policy = init_policy(DIMS, seed)
    return policy, adamw(policy, lr=1e-2, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)


def step(policy: Policy, optimizer: torch.optim.Optimizer, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in policy.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    optimizer.step()


def test_training_goes_on_to_the_bit(tmp_path: Path) -> None:
    policy, optimizer = made(0)
    step(policy, optimizer, 1)
    trainer = {"num_updates": 3, "seconds": {"train": 1 / 3}, "tokens": {"sampled": 2**40}}
    checkpoint.save_resume(tmp_path, step=7, policy=policy, optimizer=optimizer, trainer=trainer)
    resumed, its_optimizer = made(99)
    found = checkpoint.load_resume(tmp_path, policy=resumed, optimizer=its_optimizer)
    assert found == {"step": 7, **trainer}
    for p, o in ((policy, optimizer), (resumed, its_optimizer)):
        step(p, o, 2)  # needs both moments and the step count of AdamW
    for a, b in zip(policy.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_newest_state_alone_is_kept(tmp_path: Path) -> None:
    policy, optimizer = made(0)
    for number in (8, 9, 10):
        checkpoint.save_resume(tmp_path, step=number, policy=policy, optimizer=optimizer, trainer={})
    assert [p.name for p in (tmp_path / "resume").iterdir()] == ["step_000010"]
    checkpoint.drop_resume(tmp_path)
    assert checkpoint.load_resume(tmp_path, policy=policy, optimizer=optimizer) is None


def test_a_temporary_folder_of_a_killed_process_is_ignored_and_cleared(tmp_path: Path) -> None:
    policy, optimizer = made(0)
    checkpoint.save_resume(tmp_path, step=2, policy=policy, optimizer=optimizer, trainer={})
    half = tmp_path / "resume" / ".step_000004.123.tmp"
    half.mkdir()
    (half / "state.pt").write_bytes(b"half")
    found = checkpoint.load_resume(tmp_path, policy=policy, optimizer=optimizer)
    assert found is not None and found["step"] == 2
    checkpoint.save_resume(tmp_path, step=4, policy=policy, optimizer=optimizer, trainer={})
    assert [p.name for p in (tmp_path / "resume").iterdir()] == ["step_000004"]


@pytest.mark.parametrize("call", ["os.rename", "torch.save", "json.dumps"])
def test_a_full_disk_leaves_the_last_state(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy, optimizer = made(0)
    checkpoint.save_resume(tmp_path, step=2, policy=policy, optimizer=optimizer, trainer={})

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    module, name = call.split(".")
    monkeypatch.setattr({"os": os, "torch": torch, "json": json}[module], name, full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save_resume(tmp_path, step=4, policy=policy, optimizer=optimizer, trainer={})
    monkeypatch.undo()
    assert [p.name for p in (tmp_path / "resume").iterdir()] == ["step_000002"]
    assert checkpoint.load_resume(tmp_path, policy=policy, optimizer=optimizer) == {"step": 2}


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="needs /dev/full")
def test_torchs_own_writer_reports_a_full_disk_as_one(tmp_path: Path) -> None:
    """Given a path, torch.save raises a RuntimeError about its archive; given our file, the disk's error."""
    policy, optimizer = made(0)
    original = Path.open
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Path,
            "open",
            lambda self, *a: original(Path("/dev/full") if self.name == "state.pt" else self, *a),
        )
        with pytest.raises(OSError) as caught:
            checkpoint.save_resume(tmp_path, step=2, policy=policy, optimizer=optimizer, trainer={})
    assert caught.value.errno == errno.ENOSPC
    assert not list((tmp_path / "resume").iterdir())
