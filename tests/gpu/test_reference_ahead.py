"""The reference's logprobs on a stream of their own while the engine decodes: the plain pass's numbers."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from harness.batching import make_batch
from harness.gradient import fill_logprobs
from harness.reference_ahead import ReferenceAhead
from harness.rollout.native import NativeEngine
from harness.types import Batch, Problem, Prompt, Rollout, SamplingParams, ScoredGroup
from tests.benchmarks.shapes import QWEN_0_5B, random_policy
from tests.unit.harness.tiny import configure

if not torch.cuda.is_available():
    pytest.skip("needs a CUDA GPU", allow_module_level=True)

SMALL = dataclasses.replace(
    QWEN_0_5B, hidden_size=256, intermediate_size=320, num_layers=3, num_heads=4, vocab_size=9001
)
GROUP, LONGEST, MICROBATCH = 4, 96, 700
PROBLEMS = [Problem(id=str(i), dataset="d", split="train", text="?", answer="7") for i in range(24)]
PROMPTS = [Prompt(str(i), "none", "", tuple(range(40 + i, 50 + 2 * i))) for i in range(24)]


@contextmanager
def no_synchronisation() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


class Watched(ReferenceAhead):
    """Whatever waits for the device while a microbatch is handed over is an error, once all is compiled."""

    warm = False

    def _compute(self) -> None:
        if not self.warm:
            super()._compute()
            return
        with no_synchronisation():
            super()._compute()


def batch_of(rollouts: list[Rollout]) -> Batch:
    groups = [
        ScoredGroup(problem, prompt, tuple(rollouts[i * GROUP : (i + 1) * GROUP]), (), ())
        for i, (problem, prompt) in enumerate(zip(PROBLEMS, PROMPTS, strict=True))
    ]
    return make_batch(groups, pad_id=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_another_stream_gives_the_plain_passs_numbers(dtype: torch.dtype) -> None:
    """Outputs end at different times (every 40th token ends one), and are refilled."""
    policy = random_policy(SMALL, dtype=dtype, device="cuda", std=0.05)
    reference = random_policy(SMALL, dtype=dtype, device="cuda", std=0.05)
    with torch.no_grad():
        for p in reference.parameters():
            p.mul_(1.1)
    config = configure(
        "objective=grpo",
        f"rollout.group_size={GROUP}",
        f"trainer.microbatch_tokens={MICROBATCH}",
        f"dtype={str(dtype).removeprefix('torch.')}",
    )
    engine = NativeEngine(policy, eos_token_ids=tuple(range(0, 9001, 40)), decode=str, max_batch_size=64)
    asked = [prompt for prompt in PROMPTS for _ in range(GROUP)]
    params = SamplingParams(max_new_tokens=LONGEST, logprobs=True)

    def sampled(ahead: ReferenceAhead | None) -> list[Rollout]:
        def on_end(place: int, tokens: list[int], stopped: bool) -> None:
            if ahead is not None:
                ahead.on_end(place, tokens)

        return engine.generate(asked, params=params, seeds=range(len(asked)), on_end=on_end)

    plain = sampled(None)
    assert len({len(r.completion_ids) for r in plain}) > 20
    batch = batch_of(plain)
    rows = torch.arange(len(asked))
    expected = fill_logprobs(reference, batch, rows, config)
    found: list[Tensor] = []
    for warm in (False, True, True):
        ahead = Watched(reference, PROBLEMS, PROMPTS, config)
        ahead.warm = warm
        assert ahead.stream is not None and ahead.stream != torch.cuda.current_stream()
        assert ahead.stream != torch.cuda.graph.default_capture_stream
        assert sampled(ahead) == plain, "the other stream reaches what is sampled"
        logprobs, share = ahead.logprobs(batch, rows, config)
        assert not ahead.out_of_memory and len(ahead.done) > 3 and 0.5 < share < 1
        found.append(logprobs)
    assert torch.equal(found[1], found[2]) and torch.equal(found[0], found[1])
    gap = (found[0] - expected).abs().max()
    assert float(gap) < (1e-3 if dtype == torch.float32 else 0.1), float(gap)
    assert float(expected.min()) < -5 and torch.equal(expected == 0, found[0] == 0)


def test_a_stream_that_is_out_of_memory_leaves_the_rest_to_the_plain_pass() -> None:
    """A limit on the process's memory that the forward pass does not fit."""
    reference = random_policy(SMALL, dtype=torch.bfloat16, device="cuda", std=0.05)
    config = configure(
        "objective=grpo", f"rollout.group_size={GROUP}", "trainer.microbatch_tokens=16384", "dtype=bfloat16"
    )
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 9001, (len(PROBLEMS) * GROUP, 300), generator=generator).tolist()
    rollouts = [Rollout(str(i // GROUP), i % GROUP, tuple(x), "", None, "stop") for i, x in enumerate(ids)]
    batch, rows = batch_of(rollouts), torch.arange(len(ids))
    expected = fill_logprobs(reference, batch, rows, config)
    gc.collect()
    torch.cuda.empty_cache()
    ahead = ReferenceAhead(reference, PROBLEMS, PROMPTS, config)
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 2**25) / total)
    try:
        for place, tokens in enumerate(ids):
            ahead.on_end(place, tokens)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert ahead.out_of_memory and not ahead.done
    found, share = ahead.logprobs(batch, rows, config)
    assert share == 0
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
