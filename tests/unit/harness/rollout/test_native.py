"""The native engine against full recomputation, transformers, exact distributions and itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from harness.model.files.hub import save_pretrained
from harness.model.policy import Policy, token_logprobs
from harness.model.rows import pack_rows
from harness.rollout import columns
from harness.rollout.native import NativeEngine
from harness.types import Prompt, SamplingParams
from tests.unit.harness.model.test_policy import DIMS, LLAMA, random_policy


def _text(ids: Sequence[int]) -> str:
    return " ".join(map(str, ids))


def _engine(policy: Policy, *, eos: tuple[int, ...] = (), size: int = 64, **kwargs) -> NativeEngine:
    return NativeEngine(policy, eos_token_ids=eos, decode=_text, max_batch_size=size, **kwargs)


def _prompt(*ids: int) -> Prompt:
    return Prompt(problem_id=_text(ids), template="t", text=_text(ids), token_ids=ids)


def _ragged_prompts(count: int, seed: int = 0) -> list[Prompt]:
    rng = np.random.default_rng(seed)
    return [_prompt(*rng.integers(0, 61, rng.integers(1, 12)).tolist()) for _ in range(count)]


def _naive_greedy(policy: Policy, prompt: Prompt, steps: int) -> tuple[int, ...]:
    ids = list(prompt.token_ids)
    with torch.no_grad():
        for _ in range(steps):
            states = policy.hidden(pack_rows(torch.tensor([ids]), torch.tensor([len(ids)])))
            ids.append(int((states[-1] @ policy.head_weight.T).argmax()))
    return tuple(ids[len(prompt.token_ids) :])


@pytest.mark.parametrize("name", DIMS)
def test_greedy_equals_full_recomputation_and_transformers(name: str, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    policy = random_policy(DIMS[name])
    prompts = _ragged_prompts(6)
    rollouts = _engine(policy).generate(
        prompts, params=SamplingParams(max_new_tokens=12, temperature=0.0), seeds=range(6)
    )
    save_pretrained(policy, tmp_path)
    reference = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    for prompt, rollout in zip(prompts, rollouts, strict=True):
        assert rollout.completion_ids == _naive_greedy(policy, prompt, 12)
        theirs = reference.generate(torch.tensor([prompt.token_ids]), max_new_tokens=12, do_sample=False)
        assert rollout.completion_ids == tuple(theirs[0, len(prompt.token_ids) :].tolist())
        assert rollout.finish_reason == "length"


@pytest.mark.parametrize("name", ["llama", "qwen3"])
def test_sampler_logprobs_equal_token_logprobs(name: str) -> None:
    policy = random_policy(DIMS[name])
    prompts = _ragged_prompts(9)
    params = SamplingParams(max_new_tokens=14, temperature=1.7, logprobs=True)
    rollouts = _engine(policy, eos=(3, 5), size=4).generate(prompts, params=params, seeds=range(9))
    for prompt, rollout in zip(prompts, rollouts, strict=True):
        ids = torch.tensor([prompt.token_ids + rollout.completion_ids])
        lengths = torch.tensor([ids.shape[1]])
        logprobs, _ = token_logprobs(policy, pack_rows(ids, lengths, torch.ones_like(ids)), temperature=1.7)
        completion = logprobs[0, len(prompt.token_ids) :].detach()
        torch.testing.assert_close(completion, torch.tensor(rollout.sampler_logprobs), rtol=0, atol=1e-4)


def test_frequencies_match_the_exact_distribution() -> None:
    policy = random_policy(dataclasses.replace(LLAMA, vocab_size=7))
    prompt, count = _prompt(1, 2, 3), 4000
    params = SamplingParams(max_new_tokens=2, temperature=2.0)
    rollouts = _engine(policy, size=1000).generate([prompt] * count, params=params, seeds=range(count))
    with torch.no_grad():
        first = _distribution(policy, prompt.token_ids, 2.0)
        pairs = np.concatenate(
            [first[a] * _distribution(policy, (*prompt.token_ids, a), 2.0) for a in range(7)]
        )
    observed = np.zeros(49)
    for rollout in rollouts:
        observed[rollout.completion_ids[0] * 7 + rollout.completion_ids[1]] += 1
    assert (pairs * count).min() >= 5  # the chi-square's usual condition
    assert chisquare(observed, pairs * count).pvalue > 0.01  # fixed seeds: this is one draw, not a flake


def _distribution(policy: Policy, ids: tuple[int, ...], temperature: float) -> np.ndarray:
    states = policy.hidden(pack_rows(torch.tensor([ids]), torch.tensor([len(ids)])))
    logits = (states[-1] @ policy.head_weight.T).double() / temperature
    return logits.softmax(-1).numpy()


@pytest.mark.parametrize("size", [1, 3, 16])
def test_a_request_is_the_same_alone_refilled_or_among_others(size: int) -> None:
    policy = random_policy(LLAMA)
    prompts = [p for p in _ragged_prompts(8) for _ in range(3)]
    params = SamplingParams(max_new_tokens=20, temperature=1.5, logprobs=True)
    seeds = [1000 + i for i in range(24)]
    together = _engine(policy, eos=(3, 11, 17), size=size).generate(prompts, params=params, seeds=seeds)
    lengths = {len(r.completion_ids) for r in together}
    assert len(lengths) > 5 and 20 in lengths  # ragged ends, some at the limit
    assert [r.sample_idx for r in together] == [0, 1, 2] * 8
    for prompt, seed, rollout in zip(prompts, seeds, together, strict=True):
        (alone,) = _engine(policy, eos=(3, 11, 17)).generate([prompt], params=params, seeds=[seed])
        assert alone.completion_ids == rollout.completion_ids
        assert alone.finish_reason == rollout.finish_reason
        ended = rollout.completion_ids[-1] in (3, 11, 17)
        assert rollout.finish_reason == ("stop" if ended else "length")
        assert not {3, 11, 17} & set(rollout.completion_ids[:-1])
        assert rollout.text == _text(rollout.completion_ids[: -1 if ended else None])
        np.testing.assert_allclose(alone.sampler_logprobs, rollout.sampler_logprobs, atol=1e-4)


def test_many_refills_shift_the_columns_and_prefill_in_parts() -> None:
    policy = random_policy(LLAMA)
    prompts = _ragged_prompts(60)
    params = SamplingParams(max_new_tokens=30, temperature=1.5)
    engine = _engine(policy, eos=(3, 11), size=5, prefill_tokens=16)
    small = engine.generate(prompts, params=params, seeds=range(60))
    assert engine._slots is not None and engine._slots.columns < 60 * 5  # columns were reused
    large = _engine(policy, eos=(3, 11), size=60).generate(prompts, params=params, seeds=range(60))
    assert [r.completion_ids for r in small] == [r.completion_ids for r in large]


def test_long_samples_do_not_hold_up_short_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    policy, size, steps = random_policy(LLAMA), 5, 0
    prompts = _ragged_prompts(60)
    original = columns.ColumnSampler.advance

    def counted(self: columns.ColumnSampler) -> None:
        nonlocal steps
        steps += 1
        original(self)

    monkeypatch.setattr(columns.ColumnSampler, "advance", counted)
    params = SamplingParams(max_new_tokens=60, temperature=1.5)
    made = _engine(policy, eos=(3, 11), size=size).generate(prompts, params=params, seeds=range(60))
    lengths = [len(r.completion_ids) for r in made]
    in_batches = sum(max(lengths[i : i + size]) - 1 for i in range(0, 60, size))
    at_best = sum(n - 1 for n in lengths) / size  # prefill gives the first token
    assert in_batches > 1.5 * at_best  # there is something to gain
    assert steps < 1.1 * at_best + max(lengths)


def test_checks_every_few_steps_give_the_same_rollouts(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = random_policy(LLAMA)
    prompts = _ragged_prompts(20)
    params = SamplingParams(max_new_tokens=19, temperature=1.5, logprobs=True)
    every_step = _engine(policy, eos=(3, 11, 17), size=6).generate(prompts, params=params, seeds=range(20))
    monkeypatch.setitem(columns.STEPS_BETWEEN_CHECKS, "cpu", 8)
    seldom = _engine(policy, eos=(3, 11, 17), size=6).generate(prompts, params=params, seeds=range(20))
    assert [r.completion_ids for r in seldom] == [r.completion_ids for r in every_step]
    assert [r.finish_reason for r in seldom] == [r.finish_reason for r in every_step]


def test_two_runs_are_bit_equal_and_follow_the_weights() -> None:
    policy = random_policy(LLAMA)
    prompts = _ragged_prompts(10)
    params = SamplingParams(max_new_tokens=10, logprobs=True)
    engine = _engine(policy)
    first = engine.generate(prompts, params=params, seeds=range(10))
    assert engine.generate(prompts, params=params, seeds=range(10)) == first
    with torch.no_grad():
        policy.model.layers[0].mlp.up_proj.weight.mul_(3.0)
    changed = engine.generate(prompts, params=params, seeds=range(10))
    assert changed != first
    engine.release()
    engine.load_weights(random_policy(LLAMA).state_dict().items())
    assert engine.generate(prompts, params=params, seeds=range(10)) == first


def test_a_diverged_policy_does_not_poison_the_next_call() -> None:
    policy = random_policy(LLAMA)
    prompts, params = _ragged_prompts(9), SamplingParams(max_new_tokens=6, logprobs=True)
    engine = _engine(policy, prefill_tokens=8)
    good = engine.generate(prompts, params=params, seeds=range(9))
    weights = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    engine.load_weights((name, tensor * float("nan")) for name, tensor in weights.items())
    engine.generate([_prompt(*range(11))] * 9, params=params, seeds=range(9))
    engine.load_weights(weights.items())
    assert engine.generate(prompts, params=params, seeds=range(9)) == good


def test_training_works_after_sampling() -> None:
    """Nothing cached under inference_mode may reach the backward pass."""
    policy = random_policy(LLAMA)
    _engine(policy).generate([_prompt(1, 2)], params=SamplingParams(max_new_tokens=3), seeds=[0])
    ids = torch.tensor([[1, 2, 3]])
    logprobs, _ = token_logprobs(
        policy, pack_rows(ids, torch.tensor([3]), torch.ones_like(ids)), temperature=1.0
    )
    logprobs.sum().backward()
    assert policy.head_weight.grad is not None


def test_stop_strings_end_text_before_and_ids_after() -> None:
    policy = random_policy(LLAMA)
    (free,) = _engine(policy).generate(
        [_prompt(1, 2)], params=SamplingParams(max_new_tokens=40, temperature=0.0), seeds=[0]
    )
    cut_at = 5
    stop = f" {free.completion_ids[cut_at]}"
    params = SamplingParams(max_new_tokens=40, temperature=0.0, stop=("never", stop), logprobs=True)
    (rollout,) = _engine(policy).generate([_prompt(1, 2)], params=params, seeds=[0])
    before = next(n for n in range(1, 41) if stop in _text(free.completion_ids[:n]))
    assert rollout.completion_ids == free.completion_ids[:before]
    assert rollout.finish_reason == "stop"
    assert stop not in rollout.text and _text(free.completion_ids).startswith(rollout.text)
    assert rollout.sampler_logprobs is not None and len(rollout.sampler_logprobs) == before


def test_requests_that_cannot_be_served_name_the_field() -> None:
    engine = _engine(random_policy(LLAMA))
    good = SamplingParams(max_new_tokens=4)
    with pytest.raises(ValueError, match="seeds has 1"):
        engine.generate([_prompt(1)] * 2, params=good, seeds=[0])
    with pytest.raises(ValueError, match="max_position_embeddings 128"):
        engine.generate([_prompt(1)], params=SamplingParams(max_new_tokens=128), seeds=[0])
    with pytest.raises(ValueError, match="token_ids"):
        engine.generate([_prompt()], params=good, seeds=[0])
    with pytest.raises(ValueError, match="top_p"):
        engine.generate([_prompt(1)], params=SamplingParams(max_new_tokens=1, top_p=0.0), seeds=[0])
    assert engine.generate([], params=good, seeds=[]) == []


def test_each_request_has_its_own_limit_and_the_tokens_of_one_without() -> None:
    policy, prompts = random_policy(LLAMA), _ragged_prompts(9)
    params, limits = SamplingParams(max_new_tokens=10, logprobs=True), [1, 10, 3, 7, 2, 10, 5, 1, 4]
    for size in (64, 2):  # all at once, and with rows that are refilled
        whole = _engine(policy, size=size).generate(prompts, params=params, seeds=range(9))
        found = _engine(policy, size=size).generate(prompts, params=params, seeds=range(9), limits=limits)
        for rollout, other, limit in zip(found, whole, limits, strict=True):
            assert rollout.completion_ids == other.completion_ids[:limit]
            assert rollout.sampler_logprobs == pytest.approx(other.sampler_logprobs[:limit], abs=1e-5)
            assert rollout.finish_reason == "length"


@pytest.mark.parametrize("limits", [[0, 3], [3, 11], [3]])
def test_a_limit_lies_between_one_token_and_the_calls_own(limits: list[int]) -> None:
    engine, params = _engine(random_policy(LLAMA)), SamplingParams(max_new_tokens=10)
    with pytest.raises(ValueError, match=r"limits is .*; give each of 2 prompts one from 1 to 10"):
        engine.generate(_ragged_prompts(2), params=params, seeds=range(2), limits=limits)
