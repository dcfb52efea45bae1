"""Requests that wait for pages, in Triton's interpreter: their samples are those of ones that never wait.

Run by test_kernels.py in a process of its own: the interpreter is chosen at import.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from unittest import mock

import numpy as np
import torch

from harness.model import fused, head, kernels
from harness.model.policy import Policy
from harness.rollout.gpu import paged_slots, slots
from harness.rollout.gpu.paged_decode import PagedDecoder
from harness.rollout.gpu.paged_slots import PagedSampler
from harness.rollout.gpu.pages import Pages, pages_of
from harness.rollout.results import Request
from harness.types import SamplingParams
from tests.unit.harness.model.test_policy import DIMS, random_policy
from tests.unit.harness.rollout.gpu import drawn
from tests.unit.harness.rollout.gpu.interpreted_exact import rows_alike
from tests.unit.harness.rollout.gpu.interpreted_kernels import sample_in_slots

TEMPERATURE = 1.3
PROMPT = tuple(range(6, 61)) + (7,) * 4  # of all three: a page, and soon another
LIMITS = [7, 8, 9]


def as_many_as_fit(self: Pages, lengths: Sequence[int], ahead: int) -> int:
    """`Pages.room` without foresight: whoever fits starts, and is pushed out soon."""
    left = len(self.free)
    return sum((left := left - pages_of(length)) >= 0 for length in lengths)


def sampled(policy: Policy, pages: int, *, pauses: bool) -> list[drawn.Row]:
    """Sample the requests in so many pages, of which some must wait or none may."""
    requests = [Request(PROMPT, 12 + i, limit) for i, limit in enumerate(LIMITS)]
    params = SamplingParams(max_new_tokens=max(LIMITS), temperature=TEMPERATURE, logprobs=True)
    sampler = sample_in_slots(policy, pages, requests, params)
    assert isinstance(sampler, PagedSampler) and (sampler.num_pauses > 0) == pauses
    return [drawn.Row(r.prompt, r.seed, tuple(r.tokens), tuple(r.logprobs)) for r in requests]


def waiting(policy: Policy) -> None:
    """Each token is the one asked for; and the check sees each fault of what waits."""
    reference = drawn.in_float64(policy)
    plenty, few = sampled(policy, 12, pauses=False), sampled(policy, 3, pauses=True)
    assert not any(drawn.part(reference, a, b, TEMPERATURE) for a, b in zip(plenty, few, strict=True))
    cover, copy_in = Pages.cover, PagedDecoder.copy_in

    def shifted(self: PagedDecoder, pages: list[int], held: torch.Tensor) -> None:
        copy_in(self, [page % self.num_pages + 1 for page in pages], held)

    def shared(self: Pages, slot: int, columns: int) -> None:
        cover(self, slot, columns)
        others = [page for other, pages in self.held.items() if other != slot for page in pages]
        if others:  # two slots write to one page
            self.held[slot][-1] = others[-1]

    faults: list[tuple[type, str, Callable[..., object]]] = [
        (PagedDecoder, "copy_in", shifted),
        (Pages, "cover", shared),
    ]
    for owner, name, fault in faults:
        with mock.patch.object(owner, name, fault):
            wrong = sampled(policy, 3, pauses=True)
        try:
            for a, b in zip(plenty, wrong, strict=True):
                drawn.part(reference, a, b, TEMPERATURE)
        except AssertionError:
            continue
        raise AssertionError(f"a fault in {name} is not noticed")


def exactly(policy: Policy) -> None:
    """With `exact`, tokens and logprobs are the same bits, in enough pages and in few."""
    policy.exact = True
    plenty, few = sampled(policy, 12, pauses=False), sampled(policy, 3, pauses=True)
    assert plenty == few


if __name__ == "__main__":
    slots.STEPS_BETWEEN_CHECKS = paged_slots.STEPS_BETWEEN_CHECKS = 4
    Pages.room = as_many_as_fit
    small = random_policy(dataclasses.replace(DIMS["llama"], num_layers=1, head_dim=8))
    waiting(small)
    for module in (fused, head):  # the trainer's kernels too
        module.uses_kernels = lambda x: True
    kernels._num_multiprocessors = lambda device: 1
    np.matmul = rows_alike
    exactly(small)
    print("equal")
