"""The optimiser of replicas equals that of one process, and its state on the disk is read by any number."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from harness.model.files.hub import save_pretrained
from harness.model.policy import Policy, init_policy
from harness.records.reasons import is_disk_full
from harness.training import checkpoint, replicas, shares
from harness.training.distributed import destroy_process_group, init_process_group
from harness.training.optim import adamw, guarded_step
from harness.training.parallel import hub_weights, load_sharded, shard
from tests.ranks import over_two
from tests.shapes import model_dims

# 23 rows and 5: neither divides by two, and one process has the whole head of the value.
DIMS = model_dims(vocab_size=64)
SHAPES = {"wide": (23, 6), "narrow": (5,), "head": (1, 6), "even": (4, 3)}


class Some(nn.Module):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        for name, shape in SHAPES.items():
            kind = torch.float32 if name == "head" else dtype
            self.register_parameter(name, nn.Parameter(torch.randn(shape, generator=generator).to(kind)))


def gradients(step: int, rank: int) -> dict[str, Tensor]:
    """A process's gradients, in sixteenths: their sums are exact in any order."""
    generator = torch.Generator().manual_seed(10 * step + rank)
    return {name: torch.randint(-9, 9, s, generator=generator) / 16 for name, s in SHAPES.items()}


def made(module: nn.Module, *, shared: bool, lr: float = 0.1) -> torch.optim.Optimizer:
    return adamw(module, lr=lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1, replicas=shared)


def _steps(dtype: torch.dtype, out: Path) -> None:
    init_process_group("cpu")
    replicas.BUCKET_ELEMENTS = 16  # many pieces, of which some end within a row
    module = Some(dtype)
    optimizer, norms = made(module, shared=True), []
    for step in range(3):
        for name, x in gradients(step, dist.get_rank()).items():
            parameter = module.get_parameter(name)
            parameter.grad = None if (name, step) == ("narrow", 1) else x.to(parameter.dtype)
        norms.append(guarded_step(optimizer, list(module.parameters()), lr=0.1, max_grad_norm=1.0)[0])
    assert isinstance(optimizer, replicas.ReplicaAdamW)
    held = sum(share.numel() for share in optimizer.shares)
    torch.save([module.state_dict(), norms, held], out / f"{dist.get_rank()}.pt")
    destroy_process_group()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_replicas_update_as_one_process_does_on_the_summed_gradient(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    over_two(_steps, dtype, tmp_path)
    module = Some(torch.float32)  # its parameters are the masters
    module.load_state_dict(Some(dtype).state_dict())
    optimizer, norms = made(module, shared=False), []
    for step in range(3):
        both = [gradients(step, rank) for rank in range(2)]
        for name in SHAPES:
            whole = None if (name, step) == ("narrow", 1) else both[0][name] + both[1][name]
            module.get_parameter(name).grad = whole
        norms.append(guarded_step(optimizer, list(module.parameters()), lr=0.1, max_grad_norm=1.0)[0])
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    for state, their_norms, held in found:
        assert their_norms == pytest.approx(norms, rel=1e-6)
        assert held < 0.6 * sum(p.numel() for p in module.parameters())
        for name, x in module.state_dict().items():
            kind = torch.float32 if name == "head" else dtype
            # The clipping factor differs in its last bit: a master in its own, its rounding seldom.
            close = 1e-5 if kind == torch.float32 else 0.008
            assert state[name].dtype == kind
            torch.testing.assert_close(state[name].float(), x.to(kind).float(), rtol=close, atol=1e-6)
    assert all(torch.equal(found[0][0][name], found[1][0][name]) for name in SHAPES)


def whole_state(policy: Policy, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    state: dict[str, Any] = shares.collect({"policy": policy}, optimizer, {})
    return {n: (x.full_tensor() if hasattr(x, "full_tensor") else x).clone() for n, x in state.items()}


def trained(policy: Policy, optimizer: torch.optim.Optimizer, seed: int) -> None:
    for p in policy.parameters():
        generator = torch.Generator().manual_seed(seed + p.numel())
        p.grad = (
            torch.randn(p.shape, generator=generator).to(p.dtype) if not hasattr(p, "device_mesh") else None
        )
    guarded_step(optimizer, list(policy.parameters()), lr=1e-3, max_grad_norm=1.0)


LEGS = (("replicas", "a", "b"), ("sharded", "b", "c"), ("sharded", "a", "d"), ("replicas", "d", "e"))


def _pass_on(dtype: torch.dtype, folder: Path) -> None:
    """Read a state in one way and write it in the other, along LEGS; and write it whole, for comparison."""
    init_process_group("cpu")
    for kind, source, target in LEGS:
        sharded = kind == "sharded"
        policy = load_sharded(folder / "base", dtype, "cpu") if sharded else init_policy(DIMS, 9).to(dtype)
        optimizer = made(policy, shared=not sharded)
        found = checkpoint.load_resume(folder / source / "r", policy=policy, optimizer=optimizer)
        assert found is not None and found["note"] == "x"
        weights = {name: x.clone() for name, x in hub_weights(policy)}
        whole = whole_state(policy, optimizer)
        out = folder / target / "r"
        with pytest.MonkeyPatch.context() as patch:  # what is in shares stays there
            patch.setattr("torch.distributed.tensor.DTensor.full_tensor", None)
            checkpoint.save_resume(out, step=2, policy=policy, optimizer=optimizer, trainer={"note": "x"})
        if dist.get_rank() == 0:
            torch.save([whole, weights], out / "whole.pt")
    destroy_process_group()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_state_goes_from_one_process_to_shares_and_back_to_the_bit(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    policy = init_policy(DIMS, 0).to(dtype)
    save_pretrained(policy, tmp_path / "base")
    optimizer = made(policy, shared=False)
    trained(policy, optimizer, 1)
    trained(policy, optimizer, 2)
    first, note = tmp_path / "a" / "r", {"note": "x"}
    checkpoint.save_resume(first, step=2, policy=policy, optimizer=optimizer, trainer=note)
    expected = whole_state(policy, optimizer)
    if dtype != torch.float32:  # masters that are no rounded weights
        assert any(not torch.equal(x, x.to(dtype).float()) for x in expected.values())
    over_two(_pass_on, dtype, tmp_path)
    for kind, source, target in LEGS:
        whole, weights = torch.load(tmp_path / target / "r" / "whole.pt")
        assert whole.keys() == expected.keys()
        assert all(torch.equal(whole[name], x.detach()) for name, x in expected.items()), (kind, source)
        assert all(torch.equal(weights[name], x) for name, x in policy.state_dict().items()), (kind, source)
        files = (tmp_path / target / "r" / "resume" / "step_000002" / "shares").glob("*.distcp")
        sizes = [path.stat().st_size for path in files]
        assert len(sizes) == 2 and max(sizes) < 1.5 * min(sizes)
    back = init_policy(DIMS, 9).to(dtype)
    its = made(back, shared=False)
    assert checkpoint.load_resume(tmp_path / "c" / "r", policy=back, optimizer=its) is not None
    assert all(torch.equal(x, expected[name]) for name, x in whole_state(back, its).items())
    for each, one in ((policy, optimizer), (back, its)):  # and they go on alike
        trained(each, one, 3)
    assert all(torch.equal(x, back.state_dict()[name]) for name, x in policy.state_dict().items())


def _fill_the_disk(folder: Path) -> None:
    """Write a state of step 2, then one of step 4 for which process 1 has no room."""
    from torch.distributed.checkpoint import FileSystemWriter

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "a share")

    init_process_group("cpu")
    policy = init_policy(DIMS, 0)
    optimizer = made(policy, shared=True)
    trained(policy, optimizer, 1)
    how: dict[str, Any] = {"policy": policy, "optimizer": optimizer, "trainer": {}}
    checkpoint.save_resume(folder, step=2, **how)
    with pytest.MonkeyPatch.context() as patch:
        if dist.get_rank() == 1:
            patch.setattr(FileSystemWriter, "write_data", full)
        with pytest.raises(OSError, match="No space left on device") as caught:
            checkpoint.save_resume(folder, step=4, **how)
    assert is_disk_full(caught.value) and caught.value.filename == "a share"
    destroy_process_group()


@pytest.mark.timeout(120)
def test_shares_that_cannot_be_written_or_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A full disk at one process ends all with its error. A share cut short is never read in part."""
    folder = tmp_path / "r"
    over_two(_fill_the_disk, folder)
    state = folder / "resume" / "step_000002"
    assert [place.name for place in state.parent.iterdir()] == [state.name]
    share = state / "shares" / "__1_0.distcp"
    share.write_bytes(share.read_bytes()[:-1000])
    policy = init_policy(DIMS, 9)
    optimizer, before = made(policy, shared=False), {n: x.clone() for n, x in policy.state_dict().items()}
    assert checkpoint.load_resume(folder, policy=policy, optimizer=optimizer) is None
    assert f"warning: {share}: has " in capsys.readouterr().err
    assert all(torch.equal(x, before[name]) for name, x in policy.state_dict().items())
    (state / "manifest.json").unlink()  # nothing says that it is short
    with pytest.raises(RuntimeError, match=f"{state / 'shares'}: cannot be read .*; delete .*resume"):
        checkpoint.load_resume(folder, policy=policy, optimizer=optimizer)


def test_a_flipped_bit_tells_replicas_apart() -> None:
    weights = [torch.randn(7, 3), torch.randn(4).bfloat16()]
    before = replicas.checksum(weights)
    assert replicas.checksum([x.clone() for x in weights]) == before
    weights[1].view(torch.int16)[2] ^= 1
    assert replicas.checksum(weights) != before


def test_weights_in_shards_are_gathered_rounded_under_the_names_of_the_hub() -> None:
    over_two(_whole_again)


def _whole_again() -> None:
    init_process_group("cpu")
    policy, plain = init_policy(DIMS, 0), init_policy(DIMS, 0)
    sharded = shard(policy, torch.bfloat16, "cpu")
    found = {name: x.clone() for name, x in hub_weights(sharded)}
    assert found.keys() == plain.state_dict().keys()
    assert all(torch.equal(x.bfloat16(), found[name]) for name, x in plain.state_dict().items())
    destroy_process_group()
