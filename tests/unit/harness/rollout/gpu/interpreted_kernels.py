"""The GPU's kernels and its decoder on a CPU, in Triton's interpreter, against PyTorch and the CPU's engine.

Run by test_kernels.py in a process of its own: the interpreter is chosen at import.
"""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F

from harness.model import fused, kernels
from harness.model.chunks import PAGE
from harness.model.head import _KernelLogprobs
from harness.model.paged_attention import attend_pages
from harness.model.policy import Policy
from harness.rollout.gpu import decode as gpu_decode
from harness.rollout.gpu.decode import SlotDecoder
from harness.rollout.gpu.paged_decode import PagedDecoder
from harness.rollout.gpu.paged_slots import PagedSampler
from harness.rollout.gpu.sampling import draw
from harness.rollout.gpu.slots import SlotSampler
from harness.rollout.native import NativeEngine
from harness.rollout.results import Request
from harness.rollout.scheduler import Scheduler
from harness.types import Prompt, SamplingParams
from tests.unit.harness.model.test_policy import DIMS, random_policy
from tests.unit.harness.rollout.gpu.plain import pages_in_any_order, plain_attention, poison_unwritten
from tests.unit.harness.rollout.test_sampling import nucleus_of


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a.double(), b.double(), rtol=1e-5, atol=1e-5)


def elementwise() -> None:
    torch.manual_seed(0)
    gate_up, grad = torch.randn(3, 2 * 1100), torch.randn(3, 1100)
    wide = gate_up.double().requires_grad_()
    gate, up = wide.chunk(2, dim=-1)
    (F.silu(gate) * up).backward(grad.double())
    close(kernels.swiglu(gate_up), (F.silu(gate) * up).detach())
    close(kernels.swiglu_backward(grad, gate_up), wide.grad)
    x = torch.randn(3, 7, 8)  # three queries, two keys, two values
    rotations = torch.polar(torch.ones(3, 1, 4), torch.randn(3, 1, 4))
    queries, keys_values = kernels.rotate(x, rotations, 3)
    close(queries, fused.turn(x[:, :3], rotations))
    close(keys_values, torch.cat((fused.turn(x[:, 3:5], rotations), x[:, 5:]), dim=1))
    close(kernels.rotate_backward(queries, keys_values, rotations), x)


def logprobs() -> None:
    torch.manual_seed(1)
    logits, targets, grad = torch.randn(4, 5000) * 3, torch.tensor([0, 4999, 17, 4096]), torch.randn(4)
    wide = logits.double().requires_grad_()
    reference = (wide / 0.7).log_softmax(-1)
    picked = reference.gather(1, targets[:, None]).squeeze(1)
    picked.backward(grad.double())
    found, normalisers, entropy = kernels.logprobs_of(logits, targets, 0.7)
    close(found, picked.detach())
    close(entropy, -(reference.exp() * reference).sum(1).detach())
    close(kernels.logits_gradient(logits, targets, normalisers, grad, 0.7, out=logits), wide.grad)


def frozen_head() -> None:
    """Its weight's gradient is left out, and nothing else changes, in one chunk or in several."""
    torch.manual_seed(4)
    start, table, targets = torch.randn(6, 16), torch.randn(40, 16), torch.arange(6)
    for chunk, keep in ((6, True), (6, False), (4, False)):
        gradients = []
        for trained in (True, False):
            states, weight = start.clone().requires_grad_(), table.clone().requires_grad_(trained)
            found, _ = _KernelLogprobs.apply(states, weight, targets, 0.7, chunk, keep, False, False)
            found.square().sum().backward()
            assert (weight.grad is not None) == trained
            gradients.append(states.grad)
        torch.testing.assert_close(*gradients, rtol=0, atol=0)


def wide_head() -> None:
    """A head in float32 under bfloat16, kept or computed again, in one chunk or several: against float64."""
    torch.manual_seed(6)
    start, table, targets = torch.randn(6, 16).bfloat16(), torch.randn(40, 16).bfloat16(), torch.arange(6)
    weights = torch.tensor([1.0, -2.0, 0.5, 0.0, 3.0, 1.0])
    states, weight = start.double().requires_grad_(), table.double().requires_grad_()
    expected = (states @ weight.t() / 0.7).log_softmax(-1)[torch.arange(6), targets]
    (expected * weights).sum().backward()
    for chunk, keep in ((6, True), (6, False), (4, True), (4, False)):
        mine, own = start.clone().requires_grad_(), table.clone().requires_grad_()
        found, _ = _KernelLogprobs.apply(mine, own, targets, 0.7, chunk, keep, True, False)
        close(found.detach(), expected.detach())
        (found * weights).sum().backward()
        for a, b in ((mine, states), (own, weight)):
            assert a.grad is not None and b.grad is not None and a.grad.dtype == torch.bfloat16
            error = float((a.grad.double() - b.grad).norm() / b.grad.norm())
            assert error < 6e-3, (chunk, keep, error)


def nucleus() -> None:
    """A token is drawn in the middle of its part of [0, 1), which it has if none is missing or too many."""
    torch.manual_seed(2)
    ties = (torch.randn(5000) * 4).round() / 2  # steps of 0.5, so many of each value
    masked = torch.randn(5000)
    masked[:4096], masked[4200:] = float("-inf"), float("-inf")  # a whole block, and a tail
    signed_zeros = torch.tensor([0.0, -0.0, -1.0, 0.0, -2.0])
    cases = [(ties, 0.6, p) for p in (0.3, 0.95)] + [(masked, 1.0, p) for p in (0.5, 1.0)]
    cases += [(signed_zeros, 1.0, p) for p in (1e-9, 0.6, 0.9)] + [(torch.randn(40), 0.01, 0.9)]
    for dtype, shown in ((torch.float32, cases), (torch.bfloat16, cases), (torch.float16, cases[1:2])):
        for logits, temperature, top_p in shown:
            logits = logits.to(dtype)
            share = nucleus_of(logits, temperature, top_p)
            tokens = share.nonzero().squeeze(1)
            share = share[tokens] / share.sum()
            middles = share.cumsum(0) - share / 2
            some = torch.linspace(0, len(tokens) - 1, min(len(tokens), 4)).long()
            found, logprobs = draw(
                logits.repeat(len(some), 1),
                middles[some].float(),
                torch.tensor([temperature]),
                torch.tensor([top_p]),
            )
            assert found.tolist() == tokens[some].tolist(), (dtype, temperature, top_p)
            close(logprobs, (logits.double() / temperature).log_softmax(0)[found])
    diverged, _ = draw(torch.full((1, 9), float("nan")), torch.zeros(1), torch.ones(1), torch.tensor([0.5]))
    assert 0 <= int(diverged) < 9


def attention() -> None:
    """Rows of other lengths, pages in any order, one program a row or several: against plain softmax."""
    torch.manual_seed(5)
    heads, kv_heads, head_dim = 6, 2, 16
    lengths = [1, PAGE, PAGE + 1, 5 * PAGE, 9 * PAGE - 1]
    pages, table = pages_in_any_order(lengths)
    keys = torch.randn(len(pages) + 1, kv_heads, PAGE, head_dim)
    values = torch.randn_like(keys)
    poison_unwritten(keys, values, table, lengths)
    positions, row_slot = torch.tensor(lengths) - 1, torch.tensor([3, 0, 4, 2, 1, 4])
    queries = torch.randn(len(row_slot), heads, head_dim)
    expected = plain_attention(queries, keys, values, table, positions, row_slot)
    for splits in (1, 2, 4):
        found = attend_pages(
            queries, keys, values, table=table, positions=positions, row_slot=row_slot, splits=splits
        )
        close(found, expected)


def sample_in_slots(
    policy: Policy, pages: int | None, requests: list[Request], params: SamplingParams
) -> SlotSampler:
    """Sample the requests in three slots: in so many pages, or in whole rows. Returns the sampler."""
    eos = frozenset((3, 5))
    with torch.inference_mode():
        columns = max(len(r.prompt) + r.limit for r in requests)
        sizes = {"num_slots": 3, "columns": columns, "max_new_tokens": params.max_new_tokens}
        sampler: SlotSampler
        if pages is None:
            sampler = SlotSampler(SlotDecoder(policy, **sizes), params, capacity=3, eos_token_ids=eos)
        else:
            decoder = PagedDecoder(policy, **sizes, num_pages=pages)
            sampler = PagedSampler(decoder, params, capacity=3, eos_token_ids=eos)
        Scheduler(
            sampler,
            requests,
            params,
            capacity=3,
            eos_token_ids=eos,
            has_stop=lambda _: False,
            prefill_tokens=256,
        ).run()
    return sampler


def decoding() -> None:
    """Refilled slots, shared prompts, ends, budgets, few pages: the CPU's engine's tokens, row by row."""
    tail = tuple(range(6, 61)) + (7,) * 7  # 62 tokens: the fourth new one is on another page
    gpu_decode._MAX_SPLITS = 2
    for name, top_p, pages in (
        ("llama", 1.0, 4),
        ("qwen3", 0.8, 2),
        ("qwen3", 0.8, None),
        ("llama", 1.0, None),
    ):
        policy = random_policy(dataclasses.replace(DIMS[name], num_layers=1, head_dim=8))
        texts = [(*tail, 9), (7,), (*tail, 9), (3, 4, 8, 2)]
        prompts = [Prompt(str(i), "t", "", ids) for i, ids in enumerate(texts)]
        params = SamplingParams(max_new_tokens=4, temperature=1.3, top_p=top_p, logprobs=True)
        plain = NativeEngine(policy, eos_token_ids=(3, 5), decode=str, max_batch_size=3)
        limits = [4, 2, 3, 4]
        expected = plain.generate(prompts, params=params, seeds=range(4), limits=limits)
        requests = [Request(p.token_ids, seed, limits[seed]) for seed, p in enumerate(prompts)]
        sample_in_slots(policy, pages, requests, params)
        for request, rollout in zip(requests, expected, strict=True):
            assert tuple(request.tokens) == rollout.completion_ids
            assert request.finish_reason == rollout.finish_reason
            close(torch.tensor(request.logprobs), torch.tensor(rollout.sampler_logprobs))


if __name__ == "__main__":
    elementwise()
    logprobs()
    frozen_head()
    wide_head()
    nucleus()
    attention()
    decoding()
    print("equal")
