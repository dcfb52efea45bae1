"""The weights reach the engine, and a run whose engine samples from others stops."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from harness.identity import eval_key, run_id
from harness.model.policy import token_logprobs
from harness.schema.run_config import ConfigError
from harness.seeds import derive
from harness.training.run_state import Run
from harness.training.sync import check_contexts, checked, max_kl, sampler_trainer_kl, sync
from harness.training.trainer import TrainingError, sync_engine
from harness.types import Prompt, Rollout
from tests.unit.harness.tiny import configure, run_on_untrained_base


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return run_on_untrained_base(tmp_path, "rollout.max_new_tokens=6", "rollout.temperature=0.8")


def _shift(run: Run, monkeypatch: pytest.MonkeyPatch, by: Callable[[int], float]) -> None:
    """An engine whose logprobs are off by `by(place in the completion)`."""
    original = run.engine.generate

    def shifted(*args: object, **keywords: object) -> list[Rollout]:
        found = original(*args, **keywords)
        assert all(r.sampler_logprobs for r in found)
        return [
            replace(r, sampler_logprobs=tuple(x + by(i) for i, x in enumerate(r.sampler_logprobs or ())))
            for r in found
        ]

    monkeypatch.setattr(run.engine, "generate", shifted)


def test_the_native_engine_agrees_with_the_trainer(run: Run) -> None:
    for _ in range(2):
        with torch.no_grad():
            for parameter in run.models.policy.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape))
        kl, stale = sync(run)
        assert 0.0 <= kl < 1e-10 and not stale
    assert run.counters.seconds["sync"] > 0 and run.counters.seconds["sync_check"] > 0


def test_a_shift_of_every_logprob(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    # The engine's logprobs are 0.1 higher, so d = −0.1: exp(−0.1) − 1 + 0.1 = 0.9048374 − 0.9 = 0.0048374.
    _shift(run, monkeypatch, lambda i: 0.1)
    assert sampler_trainer_kl(checked(run)) == pytest.approx(0.0048374, rel=1e-4)


def test_one_wrong_token_of_each_completion(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    # Every completion has 6 tokens here; the first is off by d = 1, the others are right: (e − 2) / 6.
    run.engine._eos = frozenset()
    _shift(run, monkeypatch, lambda i: -1.0 if i == 0 else 0.0)
    assert sampler_trainer_kl(checked(run)) == pytest.approx((math.e - 2) / 6, rel=1e-4)


def test_the_check_takes_several_prompts_and_contexts_as_deep_as_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that is wrong after 128 tokens or more is found out, by one sample among five."""
    run = run_on_untrained_base(tmp_path, "rollout.max_new_tokens=200")
    contexts = check_contexts(run)
    assert [depth for depth, _ in contexts] == [0] * 4 + [128]
    assert len({ids for _, ids in contexts}) >= 3  # two prompts a step here
    assert all(len(ids) == depth for depth, ids in contexts[4:])
    assert sampler_trainer_kl(checked(run)) < 1e-10
    original = run.engine.generate

    def wrong(prompts: list[Prompt], **keywords: object) -> list[Rollout]:
        found = original(prompts, **keywords)
        return [
            replace(r, sampler_logprobs=tuple(x - 0.1 for x in r.sampler_logprobs or ()))
            if len(p.token_ids) >= 128
            else r
            for p, r in zip(prompts, found, strict=True)
        ]

    monkeypatch.setattr(run.engine, "generate", wrong)
    # Off by d = 0.1 at one depth: exp(0.1) − 1 − 0.1, not a fifth of it.
    assert sampler_trainer_kl(checked(run)) == pytest.approx(0.0051709, rel=1e-3)


def test_the_check_has_random_numbers_of_its_own(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check has seeds of its own: a training sample's would tie it to what the run trains on."""
    asked, original = list[list[int]](), run.engine.generate

    def spy(*args: object, seeds: list[int], **keywords: object) -> list[Rollout]:
        asked.append(seeds)
        return original(*args, seeds=seeds, **keywords)

    monkeypatch.setattr(run.engine, "generate", spy)
    checked(run)
    run.counters.step = 3
    checked(run)
    stream = run.seeds["rollout"]
    assert asked == [[derive(stream, "check", i) for i in range(4)]] * 2
    assert not {derive(stream, step, place, i) for step in (0, 3) for place in (0, 1) for i in range(4)} & {
        *asked[0]
    }


def test_too_large_a_gap_or_none_at_all_stops_the_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sync_engine(run)["sampler_trainer_kl"] < 1e-10
    _shift(run, monkeypatch, lambda i: 0.01)  # exp(−0.01) − 1 + 0.01 = 5.0e-5, above 1e-5
    with pytest.raises(TrainingError, match=r"sampler_trainer_kl is 4\.98e-05 after step 0, above 1e-05"):
        sync_engine(run)
    _shift(run, monkeypatch, lambda i: math.nan)
    with pytest.raises(TrainingError, match="sampler_trainer_kl is nan"):
        sync_engine(run)


def _update(run: Run, size: float) -> None:
    with torch.no_grad():
        for parameter in run.models.policy.parameters():
            parameter.add_(size * torch.randn(parameter.shape).to(parameter.dtype))


@pytest.mark.parametrize(("dtype", "size", "updates"), [("float32", 1e-6, 1), ("bfloat16", 1e-3, 30)])
def test_a_stale_engine_stops_the_run_though_updates_are_tiny(
    tmp_path: Path, dtype: str, size: float, updates: int
) -> None:
    run = run_on_untrained_base(tmp_path, f"dtype={dtype}", "rollout.max_new_tokens=6")
    sync_engine(run)
    _update(run, size)
    sync_engine(run)
    fresh, run.engine = run.engine, deepcopy(run.engine)  # with weights of its own, which no update reaches
    run.engine.load_weights = lambda weights: None
    with pytest.raises(TrainingError, match="after step 0 the engine answers as it did before, to the bit"):
        for _ in range(updates):
            _update(run, size)
            assert sampler_trainer_kl(checked(run)) < max_kl(run.config)  # the limit does not tell
            sync_engine(run)
    run.engine = fresh
    sync_engine(run)


def test_a_trainer_that_rounds_in_another_way_makes_no_engine_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a kernel is chosen anew: its logprobs differ though no weight has moved."""
    run = run_on_untrained_base(tmp_path, "dtype=bfloat16", "rollout.max_new_tokens=6")
    sync_engine(run)
    assert run.current.last_check is not None
    rounding = (run.current.last_check.trainer - run.current.last_check.engine).abs().mean()
    assert rounding > 1e-4
    logprobs = token_logprobs

    def other(*rest: object, **keywords: object) -> tuple[torch.Tensor, torch.Tensor]:
        found, entropy = logprobs(*rest, **keywords)
        return found + 1.4 * rounding * torch.randn(found.shape).sign(), entropy

    monkeypatch.setattr("harness.training.sync.token_logprobs", other)
    for _ in range(5):
        sync_engine(run)


def test_an_engine_that_had_nothing_to_take_is_not_stale(run: Run) -> None:
    for _ in range(3):
        sync_engine(run)


def test_the_limit_follows_the_engines_dtype() -> None:
    assert max_kl(configure()) == max_kl(configure("rollout.engine=vllm")) == 1e-5
    assert max_kl(configure("rollout.engine=vllm", "+rollout.vllm.dtype=bfloat16")) == 1e-2
    assert max_kl(configure("+rollout.max_sampler_kl=0.5")) == 0.5


def test_the_engine_and_its_options_name_the_run_and_its_evaluations() -> None:
    native, vllm = configure(), configure("rollout.engine=vllm")
    options = configure("rollout.engine=vllm", "+rollout.vllm.memory=0.5")
    assert len({run_id(c) for c in (native, vllm, options)}) == 3
    assert len({eval_key(c) for c in (native, vllm, options)}) == 3
    # The check and the release of memory change no sample.
    assert run_id(configure("+rollout.max_sampler_kl=1", "+rollout.release=true")) == run_id(native)
    paged = configure("+rollout.cache=paged")  # its kernels round in another way; its size does not matter
    assert run_id(paged) != run_id(native)
    assert run_id(configure("+rollout.cache=paged", "+rollout.cache_memory=0.5")) == run_id(paged)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("+rollout.vllm.memory=0.5",), "engine=native"),
        (("rollout.engine=vllm", "+rollout.cache=paged"), "options of engine=native"),
        (("+rollout.cache_memory=0.5",), "set cache=paged"),
        (("+rollout.exact=true",), "exact=true with cache=auto; set cache=paged"),
        (
            ("+rollout.exact=true", "+rollout.cache=paged", "+trainer.lora={rank: 2, alpha: 4}"),
            "rollout.exact=true with trainer.lora",
        ),
    ],
)
def test_options_that_do_not_go_together_are_refused(lines: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        configure(*lines)


def test_exact_sampling_is_refused_where_there_is_no_gpu(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="its kernels need a GPU: set it to false on a CPU"):
        run_on_untrained_base(tmp_path, "+rollout.cache=paged", "+rollout.exact=true")
