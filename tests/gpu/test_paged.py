"""Attention over pages on a GPU against plain softmax in float64, and sampling where pages run out."""

from __future__ import annotations

import pytest
import torch

from harness.rollout.gpu.attention import attend, splits_of
from harness.rollout.gpu.pages import DUMMY_PAGE, PAGE
from tests.unit.harness.rollout.gpu.plain import pages_in_any_order, plain_attention

if not torch.cuda.is_available():
    pytest.skip("needs a CUDA GPU", allow_module_level=True)

HEADS = {"qwen2.5-0.5b": (14, 2, 64), "qwen2.5-1.5b": (12, 2, 128), "one": (8, 1, 32), "all": (4, 4, 16)}


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_over_pages_equals_softmax(name: str, dtype: torch.dtype) -> None:
    heads, kv_heads, head_dim = HEADS[name]
    lengths = [1, PAGE, PAGE + 1, 1000, 2048, 5000]
    pages, table = pages_in_any_order(lengths, width=100)
    shape = (len(pages) + 1, kv_heads, PAGE, head_dim)
    keys, values = (torch.randn(shape, device="cuda").to(dtype) for _ in range(2))
    keys[DUMMY_PAGE], values[DUMMY_PAGE] = float("nan"), float("nan")
    positions = torch.tensor(lengths, device="cuda") - 1
    row_slot = torch.tensor([5, 3, 0, 4, 2, 1, 5, 0], device="cuda")
    queries = torch.randn(len(row_slot), heads, head_dim, device="cuda").to(dtype)
    table = table.cuda()
    expected = plain_attention(queries, keys, values, table, positions, row_slot)
    for splits in {1, 4, 64, splits_of(len(row_slot) * kv_heads, max(lengths))}:
        found = attend(
            queries, keys, values, table=table, positions=positions, row_slot=row_slot, splits=splits
        )
        error = (found.double().cpu() - expected).norm() / expected.norm()
        assert float(error) < (1e-6 if dtype == torch.float32 else 8e-3), (splits, float(error))


def test_requests_that_wait_for_pages_get_the_same_samples() -> None:
    """In float32, where a step of other rows rounds too little to change a token; 24 rows and room for 5."""
    pytest.importorskip("pydantic")
    from harness.rollout.gpu import slots
    from harness.rollout.gpu.decode import page_bytes
    from harness.rollout.native import NativeEngine
    from harness.types import Prompt, SamplingParams
    from tests.benchmarks.shapes import random_policy
    from tests.shapes import model_dims

    dims = model_dims(
        hidden_size=256,
        intermediate_size=320,
        num_layers=3,
        num_heads=4,
        num_kv_heads=2,
        head_dim=64,
        vocab_size=9001,
        max_position_embeddings=2048,
    )
    policy = random_policy(dims, dtype=torch.float32, device="cuda", std=0.05)
    prompts = [Prompt(str(i), "t", "", tuple(range(1, 20 + 7 * i))) for i in range(24)]
    params = SamplingParams(max_new_tokens=300, temperature=0.9, logprobs=True)
    limits = [60 + 10 * i for i in range(24)]
    made: list[slots.SlotSampler] = []
    init = slots.SlotSampler.__init__

    def watched(self: slots.SlotSampler, *args: object, **keywords: object) -> None:
        init(self, *args, **keywords)  # type: ignore[arg-type]
        made.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slots.SlotSampler, "__init__", watched)
        found = []
        for size in (None, 32 * page_bytes(policy)):  # the longest has 8 pages
            engine = NativeEngine(policy, eos_token_ids=(5,), decode=str, max_batch_size=24, cache_bytes=size)
            found.append(engine.generate(prompts, params=params, seeds=range(24), limits=limits))
    assert made[0].num_pauses == 0 and made[1].num_pauses > 0
    for a, b in zip(*found, strict=True):
        assert a.completion_ids == b.completion_ids
        assert a.sampler_logprobs is not None and b.sampler_logprobs is not None
        torch.testing.assert_close(
            torch.tensor(a.sampler_logprobs), torch.tensor(b.sampler_logprobs), rtol=0, atol=1e-4
        )
