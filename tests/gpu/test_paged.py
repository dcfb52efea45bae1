"""Attention over pages on a GPU against plain softmax in float64, and sampling where pages run out."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from harness.model.chunks import PAGE
from harness.model.paged_attention import attend_pages, splits_of
from harness.model.policy import Policy, token_logprobs
from harness.model.rows import Prompts, pack_rows
from harness.rollout.gpu import paged_slots
from harness.rollout.gpu.paged_decode import page_bytes
from harness.rollout.native import NativeEngine
from harness.types import Prompt, SamplingParams
from tests.benchmarks.shapes import random_policy
from tests.shapes import model_dims
from tests.unit.harness.rollout.gpu import drawn
from tests.unit.harness.rollout.gpu.plain import pages_in_any_order, plain_attention, poison_unwritten

if not torch.cuda.is_available():
    pytest.skip("needs a CUDA GPU", allow_module_level=True)

TEMPERATURE = 0.9
HEADS = {"qwen2.5-0.5b": (14, 2, 64), "qwen2.5-1.5b": (12, 2, 128), "one": (8, 1, 32), "all": (4, 4, 16)}


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_over_pages_equals_softmax(name: str, dtype: torch.dtype) -> None:
    heads, kv_heads, head_dim = HEADS[name]
    lengths = [1, PAGE, PAGE + 1, 1000, 2048, 5000]
    pages, table = pages_in_any_order(lengths, width=100)
    shape = (len(pages) + 1, kv_heads, PAGE, head_dim)
    keys, values = (torch.randn(shape, device="cuda").to(dtype) for _ in range(2))
    poison_unwritten(keys, values, table, lengths)
    positions = torch.tensor(lengths, device="cuda") - 1
    row_slot = torch.tensor([5, 3, 0, 4, 2, 1, 5, 0], device="cuda")
    queries = torch.randn(len(row_slot), heads, head_dim, device="cuda").to(dtype)
    table = table.cuda()
    expected = plain_attention(queries, keys, values, table, positions, row_slot)
    for splits in {1, 4, 64, splits_of(len(row_slot) * kv_heads, max(lengths))}:
        found = attend_pages(
            queries, keys, values, table=table, positions=positions, row_slot=row_slot, splits=splits
        )
        error = (found.double().cpu() - expected).norm() / expected.norm()
        assert float(error) < (1e-6 if dtype == torch.float32 else 8e-3), (splits, float(error))


def sampled_in(policy: Policy, sizes: Sequence[int | None], *, wait: Sequence[bool]) -> list[list[drawn.Row]]:
    """24 requests of 19 to 180 tokens, sampled together in pages of so many bytes; some `wait`, or none."""
    prompts = [Prompt(str(i), "t", "", tuple(range(1, 20 + 7 * i))) for i in range(24)]
    params = SamplingParams(max_new_tokens=300, temperature=TEMPERATURE, logprobs=True)
    limits = [60 + 10 * i for i in range(24)]
    made: list[paged_slots.PagedSampler] = []
    init = paged_slots.PagedSampler.__init__

    def watched(self: paged_slots.PagedSampler, *args: object, **keywords: object) -> None:
        init(self, *args, **keywords)
        made.append(self)

    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paged_slots.PagedSampler, "__init__", watched)
        for size in sizes:
            options = {"eos_token_ids": (5,), "decode": str, "max_batch_size": 24}
            engine = NativeEngine(policy, **options, paged=True, cache_bytes=size)
            rollouts = engine.generate(prompts, params=params, seeds=range(24), limits=limits)
            found.append(
                [
                    drawn.Row(p.token_ids, seed, r.completion_ids, r.sampler_logprobs or ())
                    for seed, (p, r) in enumerate(zip(prompts, rollouts, strict=True))
                ]
            )
    assert [sampler.num_pauses > 0 for sampler in made] == list(wait)
    return found


def small(architecture: str, dtype: torch.dtype) -> Policy:
    dims = model_dims(
        architecture=architecture,
        hidden_size=256,
        intermediate_size=320,
        num_layers=3,
        num_heads=4,
        num_kv_heads=2,
        head_dim=64,
        vocab_size=9001,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
    )
    return random_policy(dims, dtype=dtype, device="cuda", std=0.05)


def test_requests_that_wait_for_pages_part_from_others_by_rounding_alone() -> None:
    """In float32, with room for all 24 rows and for 5; `drawn` says what rounding may do.

    Rows that wait leave steps of other shapes, whose sums round differently: of 24 rows a few may part, each
    where its uniform number lies on the edge between two neighbouring tokens. A wrong page changes logprobs.
    """
    policy = small("llama", torch.float32)
    sizes = (None, 32 * page_bytes(policy))  # the longest has 8 pages
    plenty, few = sampled_in(policy, sizes, wait=(False, True))
    reference = drawn.in_float64(policy)
    parted = [drawn.part(reference, a, b, TEMPERATURE) for a, b in zip(plenty, few, strict=True)]
    assert sum(parted) <= 4


@pytest.mark.parametrize("fp32_head", [False, True])
def test_exact_requests_that_wait_for_pages_get_the_same_bits(fp32_head: bool) -> None:
    policy = small("qwen2", torch.bfloat16)
    policy.exact, policy.fp32_head = True, fp32_head
    plenty, few = sampled_in(policy, (None, 32 * page_bytes(policy)), wait=(False, True))
    assert plenty == few


@pytest.mark.parametrize("fp32_head", [False, True])
def test_exact_logprobs_are_the_trainers_to_the_bit(fp32_head: bool) -> None:
    """Samples of 24 and of 3 rows at once; the trainer on all and on two of them, prompts shared or not."""
    policy = small("qwen2", torch.bfloat16)
    policy.exact, policy.fp32_head = True, fp32_head
    prompts = [Prompt(str(i), "t", "", tuple(range(1, 9 + 40 * (i // 2)))) for i in range(24)]
    params = SamplingParams(max_new_tokens=90, temperature=TEMPERATURE, logprobs=True)
    found = []
    for rows in (24, 3):
        engine = NativeEngine(policy, eos_token_ids=(5,), decode=str, max_batch_size=rows, paged=True)
        found.append(engine.generate(prompts, params=params, seeds=range(24)))
    assert [(r.completion_ids, r.sampler_logprobs) for r in found[0]] == [
        (r.completion_ids, r.sampler_logprobs) for r in found[1]
    ]
    whole = [(*p.token_ids, *r.completion_ids) for p, r in zip(prompts, found[0], strict=True)]
    for chosen in (range(24), range(7, 9)):
        lengths = torch.tensor([len(whole[i]) for i in chosen])
        begins = torch.tensor([len(prompts[i].token_ids) for i in chosen])
        ids = torch.tensor([whole[i] + (0,) * (int(lengths.max()) - len(whole[i])) for i in chosen])
        column = torch.arange(ids.shape[1])
        mask = (column >= begins[:, None]) & (column < lengths[:, None])
        for shared in (None, Prompts(torch.tensor([i // 2 for i in chosen]), begins, False)):
            with torch.no_grad():
                packed = pack_rows(ids, lengths, mask, prompts=shared, device="cuda")
                logprobs, _ = token_logprobs(policy, packed, temperature=TEMPERATURE)
            expected = torch.tensor([x for i in chosen for x in found[0][i].sampler_logprobs or ()])
            assert torch.equal(logprobs.cpu()[mask], expected)
