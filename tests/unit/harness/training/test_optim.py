"""The learning rate at every step, decay, clipping, and the guard against gradients that are not finite."""

from __future__ import annotations

import io
import math
import sys
from importlib.util import find_spec
from typing import Any, Literal

import pytest
import torch
from torch import nn

from harness.model.policy import init_policy
from harness.training.optim import Schedule, adamw, guarded_step, lr_at
from tests.shapes import model_dims

needs_8_bits = pytest.mark.skipif(
    find_spec("bitsandbytes") is None, reason="the extra [8bit] is not installed"
)


def schedule(kind: Schedule, *, total: int, warmup: int) -> list[float]:
    return [lr_at(step, peak=1.0, total=total, warmup=warmup, schedule=kind) for step in range(total)]


def test_warm_up_is_linear_and_ends_at_the_peak() -> None:
    # (step + 1) / 4 for the first four steps.
    assert schedule("constant", total=6, warmup=4) == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert schedule("constant", total=3, warmup=0) == [1.0, 1.0, 1.0]


def test_linear_goes_from_the_peak_to_a_tenth() -> None:
    # Steps 1..5 after one of warm-up: progress 0, 1/4, .., 1; lr = 0.1 + 0.9 (1 - progress).
    assert schedule("linear", total=6, warmup=1) == pytest.approx([1.0, 1.0, 0.775, 0.55, 0.325, 0.1])


def test_cosine_goes_from_the_peak_to_a_tenth() -> None:
    # progress 0, 1/2, 1: 0.5 (1 + cos) = 1, 0.5, 0; lr = 0.1 + 0.9 x = 1, 0.55, 0.1.
    # At progress 1/4 the cosine is sqrt(1/2): 0.1 + 0.45 (1 + sqrt(1/2)).
    found = schedule("cosine", total=5, warmup=0)
    assert found == pytest.approx([1.0, 0.1 + 0.45 * (1 + math.sqrt(0.5)), 0.55, 0.2318019484660536, 0.1])


def test_steps_beyond_the_last_stay_at_the_floor() -> None:
    assert lr_at(9, peak=2.0, total=5, warmup=0, schedule="cosine") == pytest.approx(0.2)
    assert lr_at(9, peak=2.0, total=5, warmup=0, schedule="linear") == pytest.approx(0.2)


def test_a_run_of_one_step_trains_at_the_peak() -> None:
    assert schedule("cosine", total=1, warmup=0) == [1.0]
    assert schedule("linear", total=2, warmup=2) == [0.5, 1.0]


def quadratic() -> tuple[nn.Linear, torch.optim.AdamW]:
    module = nn.Linear(2, 1)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[2.0, -2.0]]))
        module.bias.fill_(4.0)
    return module, adamw(module, lr=0.0, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.5)


def test_matrices_decay_and_vectors_do_not() -> None:
    module, optimizer = quadratic()
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    norm, stepped = guarded_step(optimizer, module.parameters(), lr=0.1, max_grad_norm=1.0)
    assert (norm, stepped) == (0.0, True)
    # Decoupled decay with no gradient: w (1 - lr wd) = 2 (1 - 0.05) = 1.9.
    assert torch.allclose(module.weight, torch.tensor([[1.9, -1.9]]))
    assert module.bias.item() == 4.0


def test_frozen_parameters_are_not_the_optimisers() -> None:
    module = nn.Linear(2, 1)
    module.weight.requires_grad_(False)
    optimizer = adamw(module, lr=0.1, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
    assert [p is module.bias for g in optimizer.param_groups for p in g["params"]] == [True]


def test_the_gradient_norm_is_that_before_clipping() -> None:
    # A plain SGD shows the clipping: gradient (3, 4) has norm 5, clipped to 1 it is (0.6, 0.8).
    weight = nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([weight], lr=123.0)
    weight.grad = torch.tensor([3.0, 4.0])
    norm, stepped = guarded_step(optimizer, [weight], lr=0.5, max_grad_norm=1.0)
    assert norm == pytest.approx(5.0) and stepped
    assert torch.allclose(weight, torch.tensor([-0.3, -0.4]), atol=1e-6)
    assert weight.grad is None


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
def test_a_gradient_that_is_not_finite_skips_the_step_and_touches_nothing(poison: float) -> None:
    module, optimizer = quadratic()
    module.weight.grad = torch.tensor([[1.0, poison]])
    module.bias.grad = torch.ones(1)
    norm, stepped = guarded_step(optimizer, module.parameters(), lr=0.1, max_grad_norm=1.0)
    assert not stepped and not math.isfinite(norm)
    assert module.weight.tolist() == [[2.0, -2.0]] and module.bias.tolist() == [4.0]
    assert all(p.grad is None for p in module.parameters())  # or the next step would add to it
    assert not optimizer.state  # neither moment has seen it
    module.weight.grad, module.bias.grad = torch.ones(1, 2), torch.ones(1)
    assert guarded_step(optimizer, module.parameters(), lr=0.1, max_grad_norm=1.0)[1]
    assert torch.isfinite(module.weight).all() and module.bias.item() != 4.0


def trained(
    module: nn.Module, *, steps: int, lr: float, state: dict[str, object] | None = None, first: int = 0
) -> torch.optim.AdamW:
    """Steps on gradients drawn from the step's number, the same in any precision."""
    optimizer = adamw(module, lr=lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
    if state is not None:
        optimizer.load_state_dict(state)
    for step in range(first, first + steps):
        generator = torch.Generator().manual_seed(step)
        for p in module.parameters():
            gradient = torch.randn(p.shape, generator=generator).bfloat16()  # exact in either dtype
            p.grad = gradient.to(p.dtype)
        guarded_step(optimizer, list(module.parameters()), lr=lr, max_grad_norm=1e9)
    return optimizer


def pair() -> tuple[nn.Module, nn.Module]:
    """Weights that bfloat16 holds exactly, in float32 and in bfloat16."""
    torch.manual_seed(0)
    low = nn.Sequential(nn.Linear(5, 7), nn.Linear(7, 3)).bfloat16()
    wide = nn.Sequential(nn.Linear(5, 7), nn.Linear(7, 3))
    wide.load_state_dict({k: v.float() for k, v in low.state_dict().items()})
    return wide, low


def test_masters_follow_float32_adamw_to_the_bit() -> None:
    wide, low = pair()
    trained(wide, steps=20, lr=1e-3)
    trained(low, steps=20, lr=1e-3)
    for a, b in zip(wide.parameters(), low.parameters(), strict=True):
        assert torch.equal(a.bfloat16(), b) and b.dtype == torch.bfloat16


def _clipped(module: nn.Module, steps: int, *, by_torch: bool = False) -> torch.optim.AdamW:
    """Steps on gradients (exact in bfloat16) cut to a norm of 0.3, by guarded_step or by torch itself."""
    optimizer = adamw(module, lr=1e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
    parameters, generator = list(module.parameters()), torch.Generator().manual_seed(0)
    for _ in range(steps):
        for p in parameters:
            p.grad = torch.randn(p.shape, generator=generator).bfloat16().to(p.dtype)
        if by_torch:
            norm = nn.utils.clip_grad_norm_(parameters, 0.3)
            optimizer.step()
        else:
            norm = torch.tensor(guarded_step(optimizer, parameters, lr=1e-3, max_grad_norm=0.3)[0])
        assert norm > 3  # so the scale is no power of 2, which bfloat16 could hold
    return optimizer


def test_gradients_of_bfloat16_are_clipped_in_float32() -> None:
    wide, low = pair()
    of_wide, of_low = _clipped(wide, 12), _clipped(low, 12)
    for theirs, ours in zip(of_wide.param_groups, of_low.param_groups, strict=True):
        for reference, master in zip(theirs["params"], ours["params"], strict=True):
            assert master.dtype == torch.float32
            torch.testing.assert_close(master, reference.detach(), rtol=0, atol=1e-7)


def test_clipping_in_float32_is_torchs_to_the_bit() -> None:
    (ours, _), (torchs, _) = pair(), pair()
    _clipped(ours, 12)
    _clipped(torchs, 12, by_torch=True)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), torchs.parameters(), strict=True))


def test_a_gradient_that_is_not_finite_leaves_masters_as_they_are() -> None:
    _, low = pair()
    optimizer = trained(low, steps=2, lr=1e-3)
    before = [p.detach().clone() for p in [*low.parameters(), *optimizer.state_dict()["masters"]]]
    for p in low.parameters():
        p.grad = torch.full_like(p, math.inf)
    assert not guarded_step(optimizer, list(low.parameters()), lr=1e-3, max_grad_norm=1.0)[1]
    after = [*low.parameters(), *optimizer.state_dict()["masters"]]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(p.grad is None for group in optimizer.param_groups for p in group["params"])


def test_a_thousand_tiny_updates_do_not_vanish() -> None:
    # One moves a weight of 1 by 1e-5, far below bfloat16's spacing of 2^-8 there; all of them by 0.01.
    module = nn.Linear(1, 1, bias=False).bfloat16()
    with torch.no_grad():
        module.weight.fill_(1.0)
    optimizer = adamw(module, lr=0.0, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0)
    plain = torch.optim.AdamW([pure := nn.Parameter(module.weight.detach().clone())], betas=(0.9, 0.95))
    for _ in range(1000):
        module.weight.grad = torch.ones_like(module.weight)
        guarded_step(optimizer, list(module.parameters()), lr=1e-5, max_grad_norm=10.0)
        pure.grad = torch.ones_like(pure)
        plain.param_groups[0].update(lr=1e-5, weight_decay=0.0)
        plain.step()
    assert module.weight.item() == pytest.approx(0.99, abs=2**-8)
    assert module.weight.item() != 1.0 and pure.item() == 1.0


def test_masters_resume_to_the_bit() -> None:
    _, whole = pair()
    _, broken = pair()
    trained(whole, steps=12, lr=1e-4)
    state = trained(broken, steps=5, lr=1e-4).state_dict()
    _, resumed = pair()
    resumed.load_state_dict(broken.state_dict())
    trained(resumed, steps=7, lr=1e-4, state=state, first=5)
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_step_clears_both_kinds_of_gradient() -> None:
    _, low = pair()
    optimizer = trained(low, steps=1, lr=1e-3)
    assert all(p.grad is None for p in low.parameters())
    assert all(p.grad is None for group in optimizer.param_groups for p in group["params"])


def _walk(
    bits: Literal[8, 32], dtype: torch.dtype, steps: int, state: object = None
) -> tuple[nn.Linear, Any]:
    """A layer of 64 x 128 after some steps on the same random gradients, and its optimiser."""
    torch.manual_seed(0)
    module = nn.Linear(128, 64, dtype=dtype)
    optimizer = adamw(module, lr=1e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1, bits=bits)
    generator = torch.Generator().manual_seed(1)
    for step in range(steps):
        if step == 3 and state is not None:
            module.load_state_dict(state[0])
            optimizer.load_state_dict(state[1])
        for parameter in module.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator).to(dtype)
        guarded_step(optimizer, list(module.parameters()), lr=1e-3, max_grad_norm=1e9)
    return module, optimizer


@needs_8_bits
def test_moments_of_8_bits_follow_those_of_32_and_take_a_quarter() -> None:
    exact, full = _walk(32, torch.float32, 20)
    found, small = _walk(8, torch.float32, 20)
    start, _ = _walk(32, torch.float32, 0)
    moved = (exact.weight - start.weight).abs().mean()
    assert (found.weight - exact.weight).abs().mean() < 0.05 * moved
    torch.testing.assert_close(found.bias, exact.bias)  # 64 numbers: kept in 32 bits

    def size(optimizer: Any, parameter: nn.Parameter) -> int:
        return sum(
            x.numel() * x.element_size() for x in optimizer.state[parameter].values() if torch.is_tensor(x)
        )

    # 8,192 numbers: two moments of 1 byte, two maxima a block of 256, beside two tables of 256 floats.
    assert size(small, found.weight) <= 2 * 8192 + 2 * 4 * 32 + 2 * 4 * 256
    assert size(full, exact.weight) >= 8 * 8192


@needs_8_bits
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_8_bits_go_on_from_a_saved_state(dtype: torch.dtype) -> None:
    whole, _ = _walk(8, dtype, 6)
    module, optimizer = _walk(8, dtype, 3)
    buffer = io.BytesIO()
    torch.save([module.state_dict(), optimizer.state_dict()], buffer)
    buffer.seek(0)
    resumed, _ = _walk(8, dtype, 6, torch.load(buffer, weights_only=True))
    assert torch.equal(resumed.weight, whole.weight)


@needs_8_bits
def test_8_bits_keep_masters_of_bfloat16() -> None:
    exact, _ = _walk(32, torch.bfloat16, 20)
    found, _ = _walk(8, torch.bfloat16, 20)
    start, _ = _walk(32, torch.bfloat16, 0)
    moved = (exact.weight - start.weight).float().abs().mean()
    assert (found.weight - exact.weight).float().abs().mean() < 0.05 * moved


def _words(bits: Literal[8, 32], steps: int, *, tied: bool, dtype: torch.dtype = torch.float32) -> Any:
    """A policy of 512 tokens after some steps on the same random gradients, and its optimiser."""
    module = init_policy(model_dims(vocab_size=512, hidden_size=32, tie_word_embeddings=tied), 0).to(dtype)
    optimizer = adamw(module, lr=1e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1, bits=bits)
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        for p in module.parameters():
            p.grad = torch.randn(p.shape, generator=generator).to(dtype)
        guarded_step(optimizer, list(module.parameters()), lr=1e-3, max_grad_norm=1e9)
    return module, optimizer


@needs_8_bits
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tied", [True, False])
def test_an_embeddings_moments_keep_32_bits(tied: bool, dtype: torch.dtype) -> None:
    exact, _ = _words(32, 10, tied=tied, dtype=dtype)
    found, optimizer = _words(8, 10, tied=tied, dtype=dtype)
    torch.testing.assert_close(found.model.embed_tokens.weight, exact.model.embed_tokens.weight)
    moments = [x["state1"] for x in optimizer.state.values() if x["state1"].shape == (512, 32)]
    kinds = sorted(str(x.dtype) for x in moments)  # a head of its own is a linear layer: 8 bits
    assert kinds == (["torch.float32"] if tied else ["torch.float32", "torch.uint8"])


@needs_8_bits
def test_a_saved_state_with_8_bits_for_embeddings_goes_on_with_them() -> None:
    # Saved before embeddings had 32 bits: the groups do not name them.
    def old() -> Any:
        module, optimizer = _words(8, 0, tied=True)
        for group in optimizer.param_groups:
            del group["full_moments"]
        return module, optimizer

    def go_on(module: Any, optimizer: Any, first: int, last: int) -> None:
        for step in range(first, last):
            for p in module.parameters():
                p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(step))
            guarded_step(optimizer, list(module.parameters()), lr=1e-3, max_grad_norm=1e9)

    whole, broken = old(), old()
    go_on(*whole, 0, 6)
    go_on(*broken, 0, 3)
    module, optimizer = _words(8, 0, tied=True)
    module.load_state_dict(broken[0].state_dict())
    optimizer.load_state_dict(broken[1].state_dict())
    go_on(module, optimizer, 3, 6)
    assert optimizer.state[module.model.embed_tokens.weight]["state1"].dtype == torch.uint8
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), whole[0].parameters(), strict=True))


def test_8_bits_without_bitsandbytes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    with pytest.raises(ValueError, match=r"pip install '\.\[8bit\]'"):
        _walk(8, torch.float32, 0)


def test_the_norm_of_bfloat16_gradients_is_taken_in_float32() -> None:
    # 300 gradients of 1.015625 (exact in bfloat16), one of 2: sqrt(300 × 1.015625² + 4); bfloat16's spacing
    # is 0.125 there.
    low = nn.ParameterList([nn.Parameter(torch.ones(100).bfloat16()) for _ in range(3)])
    low.append(nn.Parameter(torch.ones(1).bfloat16()))
    optimizer = adamw(low, lr=0.0, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0)
    for p in low:
        p.grad = torch.full_like(p, 1.015625 if len(p) > 1 else 2.0)
    norm, _ = guarded_step(optimizer, list(low), lr=0.0, max_grad_norm=1e9)
    assert norm == pytest.approx(math.sqrt(300 * 1.015625**2 + 4), rel=1e-6)
