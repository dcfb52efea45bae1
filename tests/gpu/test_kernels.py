"""The GPU's paths against PyTorch in higher precision: kernels, logprobs and gradients, decoding."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from harness.model.head import chunked_logprobs
from harness.model.policy import Policy, token_logprobs
from harness.model.rows import pack_rows
from harness.model.wide import head_logits
from harness.rollout.gpu.sampling import draw
from harness.rollout.native import NativeEngine
from harness.rollout.sampling import sample, truncate
from harness.types import Prompt, SamplingParams
from tests.benchmarks.shapes import QWEN_0_5B, random_policy

if not torch.cuda.is_available():
    pytest.skip("needs a CUDA GPU", allow_module_level=True)

SMALL = dataclasses.replace(
    QWEN_0_5B, hidden_size=256, intermediate_size=320, num_layers=3, num_heads=4, vocab_size=9001
)
SHAPES = {
    "qwen2": SMALL,
    "qwen3": dataclasses.replace(SMALL, architecture="qwen3", head_dim=128),
    "llama_mqa": dataclasses.replace(SMALL, architecture="llama", num_heads=8, num_kv_heads=1, head_dim=32),
}


def error(out: torch.Tensor, reference: torch.Tensor) -> float:
    out, reference = out.double().cpu(), reference.double().cpu()
    return float((out - reference).norm() / reference.norm())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_elementwise_kernels_equal_float64(dtype: torch.dtype) -> None:
    from harness.model import fused, kernels

    limit = 1e-6 if dtype == torch.float32 else 8e-3
    gate_up = torch.randn(37, 2 * 1300, device="cuda", dtype=dtype)
    grad = torch.randn(37, 1300, device="cuda", dtype=dtype)
    wide = gate_up.double().requires_grad_()
    gate, up = wide.chunk(2, dim=-1)
    reference = F.silu(gate) * up
    reference.backward(grad.double())
    assert error(kernels.swiglu(gate_up), reference.detach()) < limit
    assert error(kernels.swiglu_backward(grad, gate_up), wide.grad) < limit
    x, weight = (
        torch.randn(300, 257, device="cuda", dtype=dtype),
        torch.randn(257, device="cuda", dtype=dtype),
    )
    grad, beside = torch.randn_like(x), torch.randn_like(x)
    wide, gain = x.double().requires_grad_(), weight.double().requires_grad_()
    reference = F.rms_norm(wide, (257,), gain, 1e-5)
    (reference * grad + wide * beside).sum().backward()
    normed, scales = kernels.rms_norm(x, weight, 1e-5)
    grad_x, grad_weight = kernels.rms_norm_backward(grad, beside, x, weight, scales)
    assert error(normed, reference.detach()) < limit
    assert error(grad_x, wide.grad) < limit and error(grad_weight, gain.grad) < limit
    x = torch.randn(21, 11, 64, device="cuda", dtype=dtype)  # seven queries, two keys, two values
    angles = torch.randn(21, 1, 32, device="cuda")
    rotations = torch.polar(torch.ones_like(angles), angles)
    queries, keys_values = kernels.rotate(x, rotations, 7)
    assert error(queries, fused.turn(x[:, :7].double(), rotations)) < limit
    assert error(keys_values[:, :2], fused.turn(x[:, 7:9].double(), rotations)) < limit
    assert torch.equal(keys_values[:, 2:], x[:, 9:])
    assert error(kernels.rotate_backward(queries, keys_values, rotations), x) < limit


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logprobs_and_gradients_equal_the_cpu_in_float64(name: str, dtype: torch.dtype) -> None:
    limit = 2e-5 if dtype == torch.float32 else 3e-2
    policy = random_policy(SHAPES[name], dtype=dtype, device="cuda", std=0.05)
    reference = Policy(SHAPES[name], dtype=torch.float64, device="cpu")
    reference.load_state_dict({k: v.double().cpu() for k, v in policy.state_dict().items()})
    lengths = torch.tensor([50, 3, 131, 64])
    ids = torch.randint(0, 9001, (4, 131))
    mask = torch.rand(4, 131) < 0.7
    weight = torch.randn(4, 131)
    there, here = (pack_rows(ids, lengths, mask, device=device) for device in ("cuda", "cpu"))
    ours, entropy = token_logprobs(policy, there, temperature=0.8, with_entropy=True)
    theirs, their_entropy = token_logprobs(reference, here, temperature=0.8, with_entropy=True)
    assert error(ours.detach(), theirs.detach()) < limit
    assert entropy is not None and their_entropy is not None
    assert error(entropy, their_entropy) < limit
    (ours * weight.cuda()).sum().backward()
    (theirs * weight).sum().backward()
    for (key, a), b in zip(policy.named_parameters(), reference.parameters(), strict=True):
        assert a.grad is not None and b.grad is not None
        assert error(a.grad, b.grad) < limit * (1 if dtype == torch.float32 else 2), key


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sampler_logprobs_are_the_trainers(name: str, dtype: torch.dtype) -> None:
    policy = random_policy(SHAPES[name], dtype=dtype, device="cuda", std=0.05)
    engine = NativeEngine(policy, eos_token_ids=(5, 7), decode=str, max_batch_size=24)
    rng = torch.Generator().manual_seed(1)
    prompts = [
        Prompt(str(i), "t", "", tuple(torch.randint(0, 9001, (1 + i % 40,), generator=rng).tolist()))
        for i in range(60)
    ]
    params = SamplingParams(max_new_tokens=70, temperature=0.9, logprobs=True)
    first = engine.generate(prompts, params=params, seeds=range(60))
    with torch.no_grad():  # an update in place must reach the graphs
        for parameter in policy.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.01)
    second = engine.generate(prompts, params=params, seeds=range(60))
    assert [r.completion_ids for r in first] != [r.completion_ids for r in second]
    again = engine.generate(prompts, params=params, seeds=range(60))
    assert [r.completion_ids for r in again] == [r.completion_ids for r in second]
    for prompt, rollout in zip(prompts, second, strict=True):
        ids = torch.tensor([prompt.token_ids + rollout.completion_ids])
        rows = pack_rows(ids, torch.tensor([ids.shape[1]]), torch.ones_like(ids), device="cuda")
        with torch.no_grad():
            logprobs, _ = token_logprobs(policy, rows, temperature=0.9)
        gap = logprobs[0, len(prompt.token_ids) :].cpu() - torch.tensor(rollout.sampler_logprobs)
        assert float(gap.abs().mean()) < (1e-4 if dtype == torch.float32 else 3e-2)
        assert rollout.finish_reason == ("stop" if rollout.completion_ids[-1] in (5, 7) else "length")


def test_greedy_and_nucleus_run_and_the_splits_agree() -> None:
    policy = random_policy(SMALL, dtype=torch.float32, device="cuda", std=0.05)
    prompt = Prompt("p", "t", "", tuple(range(1, 300)))
    greedy = SamplingParams(max_new_tokens=40, temperature=0.0)
    alone = NativeEngine(policy, eos_token_ids=(), decode=str, max_batch_size=1)
    many = NativeEngine(policy, eos_token_ids=(), decode=str, max_batch_size=256)
    one = alone.generate([prompt], params=greedy, seeds=[0])[0]
    all_of_them = many.generate([prompt] * 256, params=greedy, seeds=range(256))
    assert all(r.completion_ids == one.completion_ids for r in all_of_them)
    first = SamplingParams(max_new_tokens=40, temperature=0.6, top_p=0.9, top_k=1)
    narrow = many.generate([prompt] * 256, params=first, seeds=range(256))
    assert all(r.completion_ids == one.completion_ids for r in narrow)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nucleus_draws_what_the_cpu_draws(dtype: torch.dtype) -> None:
    rng = torch.Generator().manual_seed(3)
    logits = (torch.randn(96, 49152, generator=rng) * 3).to(dtype)
    logits[:, 45000:] = float("-inf")
    uniforms = torch.rand(96, generator=rng)
    for top_p in (1e-6, 0.5, 0.95):
        params = SamplingParams(max_new_tokens=1, temperature=0.6, top_p=top_p, logprobs=True)
        expected, logprobs = sample(logits, uniforms, params)
        there = torch.tensor([0.6], device="cuda"), torch.tensor([top_p], device="cuda")
        found, their_logprobs = draw(logits.cuda(), uniforms.cuda(), *there)
        same = found.cpu() == expected  # a sum of 49,152 float32 numbers may round across a boundary
        assert same.float().mean() > 0.95
        assert logprobs is not None
        torch.testing.assert_close(their_logprobs.cpu()[same], logprobs[same], rtol=1e-4, atol=1e-4)
        allowed = truncate((logits.float() / 0.6).softmax(-1), top_k=0, top_p=top_p + 1e-4)
        assert (allowed.gather(1, found.cpu()[:, None]) > 0).all()


@pytest.mark.timeout(120)
def test_nucleus_ends_where_its_share_is_met_within_rounding() -> None:
    """Rows of the same logits in other orders, and the share of p that some of them have: sums that round
    across it or not. Threads that differ there once waited for each other for ever."""
    rng = torch.Generator("cuda").manual_seed(0)
    row = (torch.randn(49152, generator=rng, device="cuda") * 0.48).bfloat16()
    ordered = row.float().sort(descending=True).values
    cumulative = (ordered.double() / 0.6).softmax(-1).cumsum(-1)
    edges = (ordered[1:] != ordered[:-1]).nonzero().squeeze(1)
    orders = torch.stack([torch.randperm(49152, generator=rng, device="cuda") for _ in range(512)])
    uniforms = torch.rand(512, generator=rng, device="cuda")
    for share in (0.5, 0.9, 0.95, 0.99):
        edge = edges[(cumulative[edges] - share).abs().argmin()]
        top_p = cumulative[edge].float().reshape(1)
        tokens, _ = draw(row[orders], uniforms, torch.tensor([0.6], device="cuda"), top_p)
        drawn = row[orders].gather(1, tokens[:, None]).squeeze(1).float()
        after = ordered[
            edges[torch.searchsorted(edges, edge) + 1]
        ]  # the next smaller logit, inside for some rows
        assert bool((drawn >= after).all())


@pytest.mark.parametrize("chunk", [None, 100])
def test_a_head_in_float32_loses_nothing_in_its_product(chunk: int | None) -> None:
    """Bfloat16 states and weights against their product in float64; rounded logits are far off."""
    states = torch.randn(300, 256, device="cuda").bfloat16().requires_grad_()
    weight = (torch.randn(9001, 256, device="cuda") * 0.3).bfloat16().requires_grad_()
    targets, above = torch.randint(0, 9001, (300,), device="cuda"), torch.randn(300, device="cuda")
    wide = [x.detach().double().requires_grad_() for x in (states, weight)]
    expected = (wide[0] @ wide[1].t() / 0.8).log_softmax(-1).gather(1, targets[:, None]).squeeze(1)
    (expected * above).sum().backward()
    errors = {}
    for fp32 in (False, True):
        found, _ = chunked_logprobs(
            states, weight, targets, 0.8, with_entropy=False, chunk_tokens=chunk, fp32=fp32
        )
        errors[fp32] = float((found - expected).detach().abs().mean())
    (found * above).sum().backward()
    assert errors[True] < 1e-5 and errors[False] > 30 * errors[True]
    for mine, theirs in zip((states, weight), wide, strict=True):
        assert mine.grad is not None and theirs.grad is not None
        assert error(mine.grad, theirs.grad) < 8e-3
    with torch.no_grad():
        assert head_logits(states, weight, fp32=True).dtype == torch.float32
