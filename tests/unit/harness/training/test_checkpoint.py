"""A resumed state is the saved one to the bit; what a kill left is neither read nor kept."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from harness.model.policy import Policy, init_policy
from harness.records.published import MANIFEST, Damaged, publish
from harness.records.reasons import reason_of
from harness.training import checkpoint
from harness.training.optim import adamw
from tests.damage import DAMAGE, flip
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


def saved_in(folder: Path, number: int = 2) -> None:
    policy, optimizer = made(0)
    step(policy, optimizer, 1)
    checkpoint.save_resume(
        folder, step=number, policy=policy, optimizer=optimizer, trainer={"num_updates": 3}
    )


def bits(policy: Policy, optimizer: torch.optim.Optimizer) -> list[object]:
    return [*(p.tolist() for p in policy.parameters()), str(optimizer.state_dict())]


@pytest.mark.parametrize("has_manifest", [True, False])
@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["state.pt", "trainer.json", MANIFEST])
def test_a_damaged_state_is_left_out_before_anything_is_filled(
    name: str, damage: str, has_manifest: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved_in(tmp_path)
    found = tmp_path / "resume" / "step_000002"
    if name == MANIFEST and (damage == "deleted" or not has_manifest):
        return  # a state from before there were manifests
    DAMAGE[damage](found / name)
    if not has_manifest:
        (found / MANIFEST).unlink()
        if damage == "a flipped bit":
            return  # nothing there can tell
    policy, optimizer = made(99)
    before = bits(policy, optimizer)
    assert checkpoint.load_resume(tmp_path, policy=policy, optimizer=optimizer) is None
    assert bits(policy, optimizer) == before
    assert f"warning: {found}" in (said := capsys.readouterr().err) and "is left out" in said


def test_the_newest_whole_state_is_the_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved_in(tmp_path / "a", 2)
    saved_in(tmp_path / "b" / "a", 4)  # a kill left two
    shutil.move(tmp_path / "b" / "a" / "resume" / "step_000004", tmp_path / "a" / "resume")
    policy, optimizer = made(99)
    found = checkpoint.load_resume(tmp_path / "a", policy=policy, optimizer=optimizer)
    assert found is not None and found["step"] == 4
    flip(tmp_path / "a" / "resume" / "step_000004" / "state.pt")
    found = checkpoint.load_resume(tmp_path / "a", policy=policy, optimizer=optimizer)
    assert found is not None and found["step"] == 2
    assert "step_000004/state.pt: its content is not what was written" in capsys.readouterr().err


def test_a_state_of_another_model_or_optimiser_is_left_out(tmp_path: Path) -> None:
    saved_in(tmp_path)
    (tmp_path / "resume" / "step_000002" / MANIFEST).unlink()
    wide = init_policy(model_dims(hidden_size=32), 0)
    other = torch.optim.SGD(made(0)[0].parameters())
    for policy, optimizer in [
        (wide, adamw(wide, lr=1e-2, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)),
        (made(99)[0], other),
    ]:
        before = bits(policy, optimizer)
        assert checkpoint.load_resume(tmp_path, policy=policy, optimizer=optimizer) is None
        assert bits(policy, optimizer) == before


def test_what_the_caller_refuses_is_left_out(tmp_path: Path) -> None:
    def refuse(trainer: dict[str, object]) -> None:
        assert trainer == {"step": 2, "num_updates": 3}
        raise Damaged("metrics.jsonl: has steps 1 to 0 of 2", "launch again")

    saved_in(tmp_path)
    policy, optimizer = made(99)
    before = bits(policy, optimizer)
    assert checkpoint.load_resume(tmp_path, policy=policy, optimizer=optimizer, check=refuse) is None
    assert bits(policy, optimizer) == before


def test_a_state_is_written_again_where_the_old_one_was_refused(tmp_path: Path) -> None:
    saved_in(tmp_path)
    policy, optimizer = made(5)
    checkpoint.save_resume(tmp_path, step=2, policy=policy, optimizer=optimizer, trainer={"num_updates": 8})
    assert checkpoint.load_resume(tmp_path, policy=policy, optimizer=optimizer) == {
        "step": 2,
        "num_updates": 8,
    }


@pytest.mark.parametrize("limit", [150_000, 160_848, 161_000, 284_112])
def test_a_disk_that_fills_in_the_middle_of_a_state_is_called_full(limit: int, tmp_path: Path) -> None:
    """torch's own error, `unexpected pos`, hides the disk's: the file here ends where the disk would."""
    state = {name: torch.zeros(200, 200) for name in "abc"}

    class Disk(io.FileIO):
        def write(self, data: object) -> int:
            if self.tell() + memoryview(data).nbytes > limit:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)

    def write(folder: Path) -> None:
        with Disk(folder / "state.pt", "wb") as file:
            torch.save(state, file)

    with pytest.raises(OSError) as caught:
        publish(tmp_path / "resume", write, identity={})
    assert reason_of(caught.value).startswith(f"the disk is full ({tmp_path / 'resume'}); free some space")
