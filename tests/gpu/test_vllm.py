"""vLLM on a GPU: CUDA graphs, updates in place, seeds, sleep; logprobs against the trainer's in bf16."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Iterator

import pytest
import torch

from harness.model.policy import Policy
from harness.model.rows import pack_rows
from harness.rollout.process_cache import drop
from harness.rollout.vllm.engine import VllmEngine
from harness.types import Prompt, Rollout, SamplingParams
from tests.benchmarks.sampler_gap import gaps
from tests.benchmarks.shapes import QWEN_0_5B, random_policy

if not torch.cuda.is_available():
    pytest.skip("needs a CUDA GPU", allow_module_level=True)
if importlib.util.find_spec("vllm") is None:
    pytest.skip("vllm is not installed", allow_module_level=True)
pytestmark = pytest.mark.timeout(600)

SMALL = dataclasses.replace(
    QWEN_0_5B, num_layers=4, vocab_size=9001, hidden_size=448, num_heads=7, num_kv_heads=1, head_dim=64
)
SHAPES = {
    "tied": SMALL,
    "untied": dataclasses.replace(SMALL, architecture="llama", tie_word_embeddings=False),
}
PROMPTS = [
    Prompt(f"p{i // 8}", "none", "", tuple((31 * (i // 8) + 7 * j) % 9000 for j in range(40)))
    for i in range(64)
]
PARAMS = SamplingParams(max_new_tokens=64, temperature=0.8, logprobs=True)


def _engine(policy: Policy, *, eager: bool, sleep: bool = False) -> VllmEngine:
    return VllmEngine(
        policy,
        eos_token_ids=(3, 4, 5),
        decode=lambda ids: " ".join(map(str, ids)),
        max_batch_size=64,
        memory=0.2,
        enforce_eager=eager,
        max_model_len=256,
        sleep=sleep,
    )


@pytest.fixture(scope="module", params=[("tied", False), ("untied", False), ("tied", True)], ids=str)
def engine(request: pytest.FixtureRequest) -> Iterator[VllmEngine]:
    name, eager = request.param
    policy = random_policy(SHAPES[name], dtype=torch.bfloat16, device="cuda", std=0.05)
    yield _engine(policy, eager=eager)
    drop("vllm")


def _disturb(policy: Policy, std: float) -> None:
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(std * torch.randn_like(parameter))


def _no_more_than_rounding(policy: Policy, rollouts: list[Rollout]) -> float:
    """The mean gap to the trainer, nats: the engine is about as far from float32 as the trainer is."""
    mean = {name: float(x.mean()) for name, x in gaps(policy, PROMPTS, rollouts, 0.8).items()}
    assert mean["engine_float32"] <= 1.5 * mean["trainer_float32"], mean
    return mean["engine_trainer"]


def test_logprobs_follow_the_trainer_through_updates(engine: VllmEngine) -> None:
    for _ in range(3):
        rollouts = engine.generate(PROMPTS, params=PARAMS, seeds=range(64))
        gap = _no_more_than_rounding(engine.policy, rollouts)
        _disturb(engine.policy, 0.02)
        stale = engine.generate(PROMPTS, params=PARAMS, seeds=range(64))
        assert gaps(engine.policy, PROMPTS, stale, 0.8)["engine_trainer"].mean() > 5 * gap
        engine.load_weights(engine.policy.state_dict().items())


def test_seeds_stops_and_budgets(engine: VllmEngine) -> None:
    seeds = [2**62 + 11 * i for i in range(64)]
    rollouts = engine.generate(PROMPTS, params=PARAMS, seeds=seeds)
    assert len({r.completion_ids for r in rollouts}) == 64
    again = engine.generate(PROMPTS, params=PARAMS, seeds=seeds)
    # Batches are put together alike, so the same call gives the same tokens.
    assert [r.completion_ids for r in again] == [r.completion_ids for r in rollouts]
    for r in rollouts:
        assert (r.finish_reason == "stop") == (r.completion_ids[-1] in (3, 4, 5))
        assert not set(r.completion_ids[:-1]) & {3, 4, 5}
        assert r.finish_reason == "stop" or len(r.completion_ids) == 64
    stop = rollouts[0].text.split()[5]
    cut = engine.generate(
        PROMPTS[:1], params=dataclasses.replace(PARAMS, stop=(f" {stop} ",)), seeds=seeds[:1]
    )
    assert f" {stop} " not in cut[0].text


def test_first_tokens_have_the_policys_distribution(engine: VllmEngine) -> None:
    count, params = 4096, SamplingParams(max_new_tokens=1, temperature=1.0, logprobs=True)
    rollouts = engine.generate([PROMPTS[0]] * count, params=params, seeds=range(count))
    ids = torch.tensor([PROMPTS[0].token_ids], device="cuda")
    with torch.no_grad():
        states = engine.policy.hidden(pack_rows(ids.cpu(), torch.tensor([ids.shape[1]]), device="cuda"))
        p = torch.softmax((states[-1] @ engine.policy.head_weight.t()).float(), -1).cpu()
    surprise = -p[torch.tensor([r.completion_ids[0] for r in rollouts])].log()
    entropy = -(p * p.log()).sum()
    assert abs(surprise.mean() - entropy) < 5 * surprise.std() / count**0.5 + 0.02


@pytest.mark.skipif(
    importlib.util.find_spec("vllm") is not None and importlib.util.find_spec("vllm.cumem_allocator") is None,
    reason="this build of vllm lacks cumem_allocator",
)
def test_asleep_it_holds_no_memory_and_wakes_with_new_weights() -> None:
    drop("vllm")
    policy = random_policy(SMALL, dtype=torch.bfloat16, device="cuda", std=0.05)
    engine = _engine(policy, eager=True, sleep=True)
    engine.generate(PROMPTS, params=PARAMS, seeds=range(64))
    awake = torch.cuda.mem_get_info()[0]
    engine.release()
    assert torch.cuda.mem_get_info()[0] - awake > 5e9  # most of 0.2 × 80 GB is the cache
    _disturb(policy, 0.02)
    engine.load_weights(policy.state_dict().items())
    rollouts = engine.generate(PROMPTS, params=PARAMS, seeds=range(64))
    _no_more_than_rounding(policy, rollouts)
    engine.release()  # asleep, a call brings the policy's weights by itself
    assert engine.generate(PROMPTS, params=PARAMS, seeds=range(64)) == rollouts
    drop("vllm")
