"""Slots over pages, without a GPU: a decoder whose cells say whose token they hold, and tails of 32k."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from harness.rollout.native import NativeEngine
from harness.rollout.results import Request
from harness.rollout.scheduler import Prefill, Scheduler
from harness.types import SamplingParams
from tests.benchmarks.lengths import log_normal
from tests.shapes import model_dims
from tests.unit.harness.model.test_policy import random_policy

pytest.importorskip("triton", reason="the decoder's module holds kernels")

from harness.model.chunks import PAGE
from harness.rollout.gpu.paged_decode import PagedDecoder, page_bytes
from harness.rollout.gpu.paged_slots import PagedSampler
from harness.rollout.gpu.pages import DUMMY_PAGE

BYTES_PER_TOKEN = 28_672  # of Qwen2.5-1.5B in bfloat16: 28 layers × 2 heads × 128 × 2 bytes, keys and values


class Labelled(PagedDecoder):
    """A decoder that computes nothing: every token is 4, and a slot's cells hold labels.

    The cell of column c has the key `label` = 10,000 × request + c + 1 and the value -label. With `look`, a
    step reads all cells of all its rows.
    """

    def __init__(self, *, num_slots: int, columns: int, num_pages: int, look: bool) -> None:
        policy = random_policy(model_dims(max_position_embeddings=columns))
        super().__init__(
            policy, num_slots=num_slots, columns=columns, max_new_tokens=columns, num_pages=num_pages
        )
        self.look, self.num_steps = look, 0
        self.whose: dict[int, int] = {}  # slot -> request

    def step(self, rows: int, params: SamplingParams) -> None:
        slots = self.row_slot[:rows]
        self.num_steps += 1
        for slot in slots[slots < self.num_slots].tolist() if self.look else ():
            self._write_and_look(slot)
        self.take(slots, torch.full((rows,), 4), torch.zeros(rows))

    def _write_and_look(self, slot: int) -> None:
        column = torch.arange(int(self.positions[slot]) + 1)
        page, place = self.table[slot].long()[column // PAGE], column % PAGE
        assert bool((page != DUMMY_PAGE).all())
        expected = 10_000.0 * self.whose[slot] + column + 1
        self.keys[0, page[-1], :, place[-1]] = expected[-1]
        self.values[0, page[-1], :, place[-1]] = -expected[-1]
        assert torch.equal(self.keys[0, page, 0, place, 0], expected)
        assert torch.equal(self.values[0, page, 0, place, 1], -expected)

    def draw(self, logits: Tensor, uniforms: Tensor, params: SamplingParams) -> tuple[Tensor, Tensor]:
        return torch.full((len(uniforms),), 4), torch.zeros_like(uniforms)

    def take(self, row_slot: Tensor, new_tokens: Tensor, new_logprobs: Tensor) -> None:
        going = row_slot[self.done[row_slot] == 0]
        self.out_tokens[going, self.num_made[going]] = 4
        self.num_made[going] += 1
        ended = self.num_made[going] >= self.limits[going]
        self.positions[going] += (~ended).long()
        self.done[going] = ended.to(torch.int8)


def labelled_prefill(scheduler: Scheduler, decoder: Labelled, slots: list[int]) -> Prefill:
    """Prompts whose keys and values are labels, one a slot."""
    lengths = [len(scheduler.active[slot].prompt) for slot in slots]
    decoder.whose.update({slot: scheduler.active[slot].seed for slot in slots})
    ends = torch.tensor(lengths).cumsum(0)
    both = zip(slots, lengths, strict=True)
    labels = torch.cat([10_000.0 * decoder.whose[slot] + torch.arange(n) + 1 for slot, n in both])
    cells = labels[:, None, None].expand(-1, 1, 8)  # [N, KV, Dh]
    return Prefill(
        prompts={slot: scheduler.active[slot].prompt for slot in slots},
        lengths=dict(zip(slots, lengths, strict=True)),
        limits={slot: scheduler.active[slot].limit for slot in slots},
        width=max(lengths),
        slots=torch.tensor(slots),
        begins=ends - torch.tensor(lengths),
        ends=ends,
        cache=[(cells, -cells)],
        logits=torch.zeros(len(slots), 11),
        uniforms=torch.zeros(len(slots), scheduler.params.max_new_tokens),
    )


def sampled(
    monkeypatch: pytest.MonkeyPatch, prompts: Sequence[int], limits: Sequence[int], **sizes: Any
) -> tuple[list[Request], Labelled, PagedSampler]:
    """Sample requests of so many prompt and new tokens to their end."""
    columns, capacity = max(a + b for a, b in zip(prompts, limits, strict=True)), sizes["num_slots"]
    decoder = Labelled(columns=columns, **sizes)

    def prefill(self: Scheduler, distinct: object, members: list[list[int]]) -> Prefill:
        return labelled_prefill(self, decoder, [slot for group in members for slot in group])

    monkeypatch.setattr(Scheduler, "_prefill", prefill)
    params = SamplingParams(max_new_tokens=max(limits))
    requests = [Request((2,) * n, i, limit) for i, (n, limit) in enumerate(zip(prompts, limits, strict=True))]
    sampler = PagedSampler(decoder, params, capacity=capacity, eos_token_ids=frozenset())
    scheduler = Scheduler(
        sampler,
        requests,
        params,
        capacity=capacity,
        eos_token_ids=frozenset(),
        has_stop=lambda _: False,
        prefill_tokens=10**9,
    )
    with torch.inference_mode():
        scheduler.run()
    return requests, decoder, sampler


@pytest.mark.parametrize("num_pages", [400, 40, 10])
def test_no_token_is_lost_or_overwritten(monkeypatch: pytest.MonkeyPatch, num_pages: int) -> None:
    """Every step looks at all cells of all its rows, with pages for all, for some, and for one long row."""
    limits = log_normal(60, mean=130, most=500, seed=2)
    limits[7] = 1  # ends with its first token
    prompts = [3 + 7 * i % 100 for i in range(60)]
    requests, _, sampler = sampled(monkeypatch, prompts, limits, num_slots=24, num_pages=num_pages, look=True)
    assert [len(r.tokens) for r in requests] == limits
    assert (sampler.num_pauses > 0) == (num_pages < 400)
    assert sampler.pages.held == {} and sampler.pages.paused == {}
    assert sorted(sampler.pages.free) == list(range(1, num_pages + 1))


@pytest.mark.parametrize(("most", "gib", "more"), [(16384, 6, 0.0), (32768, 12, 0.0), (32768, 8, 0.2)])
def test_tails_of_128_rows_fit_a_gpu_of_80_gb(
    monkeypatch: pytest.MonkeyPatch, most: int, gib: int, more: float
) -> None:
    """Qwen2.5-1.5B, lengths a quarter of the limit in the mean: in so many GiB nobody waits, or a few do.

    A cache of whole rows would be 128 × (limit + 100) tokens: 56 and 112 GiB.
    """
    assert 128 * (most + 100) * BYTES_PER_TOKEN > 55 * 2**30
    limits = log_normal(128, mean=most / 4, most=most, seed=1)
    assert max(limits) > 0.9 * most and np.mean(limits) < 0.3 * most
    num_pages = int(gib * 2**30 / BYTES_PER_TOKEN / PAGE)
    requests, decoder, sampler = sampled(
        monkeypatch, [100] * 128, limits, num_slots=128, num_pages=num_pages, look=False
    )
    assert [len(r.tokens) for r in requests] == limits
    print(f"{most} tokens, {gib} GiB: {sampler.num_pauses} pauses, {decoder.num_steps} steps")
    assert (sampler.num_pauses > 0) == (more > 0)
    assert max(limits) - 1 <= decoder.num_steps <= max(limits) * (1 + more)  # the longest row's, at least


def test_nobody_waits_where_there_are_pages_for_all() -> None:
    """48 requests of 100 and 28 tokens, two pages each: in 96 pages all run at once, in 95 not."""
    for num_pages, at_once in ((None, 48), (96, 48), (95, 31)):
        policy = random_policy(model_dims(max_position_embeddings=128))
        size = None if num_pages is None else num_pages * float(page_bytes(policy))
        engine = NativeEngine(
            policy, eos_token_ids=(), decode=str, max_batch_size=48, paged=True, cache_bytes=size
        )
        sampler = engine._slot_sampler(48, [128] * 50, SamplingParams(max_new_tokens=28))
        assert isinstance(sampler, PagedSampler)
        assert sampler.room([100] * 48) == at_once  # two pages each and one to grow into: 31 × 3 of 95


def test_the_batch_stays_full_while_requests_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """512 requests in 64 slots: rows of all steps over the slots there are, until none waits."""
    limits = log_normal(512, mean=250, most=1000, seed=3)
    requests, decoder, _ = sampled(
        monkeypatch, [50] * 512, limits, num_slots=64, num_pages=64 * 17, look=False
    )
    assert [len(r.tokens) for r in requests] == limits
    ideal = sum(limits) / 64
    assert decoder.num_steps < 1.15 * ideal + 1000  # the last row that starts may be a longest one
