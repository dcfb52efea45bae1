"""Exact sampling on a CPU, in Triton's interpreter: the sampler's logprobs and the trainer's, to the bit.

Run by test_kernels.py in a process of its own: the interpreter is chosen at import.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from harness.model import fused, head, kernels
from harness.model.policy import token_logprobs
from harness.model.rows import Prompts, pack_rows
from harness.rollout.results import Request
from harness.types import SamplingParams
from tests.unit.harness.model.test_policy import DIMS, random_policy
from tests.unit.harness.rollout.gpu.interpreted_kernels import sample_in_slots


def exact_sampling() -> None:
    """Logprobs of samples that shared their steps, and the trainer's in any packing: the same bits."""
    long, short = tuple(range(6, 61)) + (7,) * 7, (8, 1)  # the long one's fourth new token is on another page
    cases = (("llama", torch.float32, False, long), ("qwen2", torch.bfloat16, True, short))
    for name, dtype, fp32_head, tail in cases:
        policy = random_policy(dataclasses.replace(DIMS[name], num_layers=2, head_dim=8)).to(dtype)
        policy.exact, policy.fp32_head = True, fp32_head
        texts = [(*tail, 9), (7,), (*tail, 9), (3, 4, 8, 2), (7,)]
        requests = [Request(ids, seed, 4) for seed, ids in enumerate(texts)]
        params = SamplingParams(max_new_tokens=4, temperature=1.3, logprobs=True)
        sample_in_slots(policy, 9, requests, params)
        for chosen, shared in (([0, 1, 2, 3, 4], False), ([0, 1, 2, 3, 4], True), ([4, 2], False)):
            rows = [(*requests[i].prompt, *requests[i].tokens) for i in chosen]
            lengths, width = torch.tensor([len(row) for row in rows]), max(map(len, rows))
            ids = torch.tensor([row + (0,) * (width - len(row)) for row in rows])
            begins = torch.tensor([len(requests[i].prompt) for i in chosen])
            column = torch.arange(width)
            mask = (column >= begins[:, None]) & (column < lengths[:, None])
            prompts = Prompts(begins, begins, True) if shared else None  # equal lengths: equal prompts
            with torch.no_grad():
                packed = pack_rows(ids, lengths, mask, prompts=prompts)
                found, _ = token_logprobs(policy, packed, temperature=1.3)
            expected = torch.tensor([x for i in chosen for x in requests[i].logprobs])
            assert torch.equal(found[mask], expected), (name, chosen, found[mask] - expected)


def gradient() -> None:
    """The gradient is that of the same weights without `exact`, up to rounding."""
    policy = random_policy(dataclasses.replace(DIMS["qwen2"], num_layers=1, head_dim=8))
    torch.manual_seed(3)
    ids, lengths = torch.randint(0, 60, (3, 20)), torch.tensor([20, 2, 13])
    ids[2, :5] = ids[0, :5]
    shared = Prompts(torch.tensor([0, 1, 0]), torch.tensor([5, 1, 5]), True)
    for prompts in (None, shared):
        packed = pack_rows(ids, lengths, torch.ones_like(ids, dtype=torch.bool), prompts=prompts)
        gradients = []
        for on in (True, False):
            policy.exact = on
            policy.zero_grad()
            (token_logprobs(policy, packed, temperature=1.3)[0] * torch.arange(20)).sum().backward()
            gradients.append([p.grad.double().clone() for p in policy.parameters() if p.grad is not None])
        for a, b in zip(*gradients, strict=True):
            assert float((a - b).norm()) < 1e-5 * float(b.norm())


def rows_alike(a: np.ndarray, b: np.ndarray, dtype: np.dtype | None = None) -> np.ndarray:
    """Multiply as tensor cores do, every row alike: a CPU's BLAS sums some rows in another order."""
    return np.einsum("ik,kj->ij", a.astype(dtype or a.dtype), b.astype(dtype or b.dtype), optimize=False)


if __name__ == "__main__":
    for module in (fused, head):  # the trainer's kernels too
        module.uses_kernels = lambda x: True
    kernels._num_multiprocessors = lambda device: 1
    gradient()
    np.matmul = rows_alike
    exact_sampling()
    print("equal")
