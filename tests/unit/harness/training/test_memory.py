"""Out of memory, injected: the same gradient with half the microbatch, or a message with the remedy."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.model.policy import Policy
from harness.model.rows import Rows
from harness.schema.run_config import ConfigError, RunConfig
from harness.training import gradient
from harness.training.checkpoint import load_resume
from harness.training.memory import OutOfMemory, explained, halving
from harness.training.run_state import Run
from harness.training.saving import save
from harness.training.trainer import sample_and_grade, update_policy
from tests.unit.harness.tiny import DIMS, configure, run_on_untrained_base

HALVE = "trainer.on_oom=halve_microbatch"
# An untrained model is never right: a reward that differs within a group, so that there is a gradient.
PLAIN = ("trainer.max_grad_norm=1000", "objective.reward.accuracy=0", "objective.reward.random=1")


def learned(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *overrides: str, room: int | None
) -> tuple[Run, dict[str, float], list[int]]:
    """A step in which a forward pass of more than `room` padded tokens runs out of memory; all sizes."""
    run = run_on_untrained_base(folder, *PLAIN, *overrides)
    groups, _ = sample_and_grade(run)
    original, sizes = gradient.token_logprobs, list[int]()

    def limited(policy: Policy, rows: Rows, **keywords: Any) -> object:
        sizes.append(math.prod(rows.shape))
        if room is not None and sizes[-1] > room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 is full.")
        return original(policy, rows, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(gradient, "token_logprobs", limited)
        metrics = update_policy(run, groups, total=4)
    return run, metrics, sizes


@pytest.mark.parametrize("objective", ["grpo", "ppo"])
def test_half_the_microbatch_gives_the_same_step(
    objective: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = (f"objective={objective}", HALVE)
    whole, expected, _ = learned(tmp_path / "a", monkeypatch, *lines, room=None)
    small, found, sizes = learned(tmp_path / "b", monkeypatch, *lines, room=300)
    assert max(sizes) > 300 and small.counters.microbatch_tokens < whole.counters.microbatch_tokens == 8192
    assert found.pop("microbatch_tokens") == small.counters.microbatch_tokens
    assert expected["grad_norm"] > 0
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-6)
    for (name, x), y in zip(
        whole.models.policy.named_parameters(), small.models.policy.parameters(), strict=True
    ):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-6, msg=name)


def test_what_was_accumulated_before_memory_ran_out_does_not_count_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second microbatch of a step fails, when the first one's gradient is there."""
    lines = ("objective=grpo", HALVE, "objective.updates.minibatches=1", "trainer.microbatch_tokens=400")
    norms = []
    for fail_at in (None, 2):
        run = run_on_untrained_base(tmp_path / str(fail_at), *PLAIN, *lines)
        groups, _ = sample_and_grade(run)
        original, calls = gradient.policy_loss, []

        def failing(fail_at: int | None = fail_at, calls: list[int] = calls, **slots: object) -> object:
            calls.append(1)
            if len(calls) == fail_at:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return original(**slots)  # noqa: B023

        with monkeypatch.context() as patch:
            patch.setattr(gradient, "policy_loss", failing)
            norms.append(update_policy(run, groups, total=2)["grad_norm"])
        assert len(calls) > (fail_at or 1)
    assert norms[0] > 0 and norms[1] == pytest.approx(norms[0], rel=1e-4)


def test_later_steps_and_a_resumed_run_keep_the_smaller_microbatch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _, _ = learned(tmp_path, monkeypatch, "objective=grpo", HALVE, room=300)
    smaller = run.counters.microbatch_tokens
    save(run)
    state = load_resume(run.folder, policy=run.models.policy, optimizer=run.optimizer)
    assert state is not None and "microbatch_tokens" in state
    assert state["microbatch_tokens"] == smaller < 8192


def test_a_single_row_that_does_not_fit_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OutOfMemory):
        learned(tmp_path, monkeypatch, "objective=grpo", HALVE, room=10)


def test_the_message_names_phase_sizes_and_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OutOfMemory) as caught:
        learned(tmp_path, monkeypatch, "objective=dr_grpo", room=100)
    text = str(caught.value)
    # D 16, F 24: the widest activation counted has max(2 * 24, 4 * 16) = 64.
    for part in ("in train", "[8192, 64]", "trainer.microbatch_tokens=8192", "halve_microbatch", "2.00 GiB"):
        assert part in text, text
    run = run_on_untrained_base(
        tmp_path / "few",
        "rollout.prompts_per_step=2",
        "rollout.group_size=2",
        "objective.updates.minibatches=1",
    )
    with pytest.raises(OutOfMemory, match="keys and values of 4 rows"), run.timed("sample"):
        raise torch.OutOfMemoryError("CUDA out of memory.")
    run = run_on_untrained_base(tmp_path / "sample", "rollout.max_batch_size=7")
    with pytest.raises(OutOfMemory) as caught, run.timed("sample"):
        raise torch.OutOfMemoryError("CUDA out of memory.")
    # One layer, one head of 16, 24 new tokens, and at most 7 rows at once.
    for part in ("in sample", "[1, 7, 1, 24, 16]", "rollout.max_batch_size=7"):
        assert part in str(caught.value), str(caught.value)


def test_the_sizes_named_are_those_of_the_dtype_and_the_optimiser() -> None:
    tied = replace(DIMS, vocab_size=10**9, tie_word_embeddings=True)
    params = 16e9 / 2**30  # D 16 × V 1e9, the rest is nothing beside it; in GiB a byte
    eight = ("dtype=bfloat16", "trainer.optimizer=adamw_8bit")
    for lines, dims, size, optimizer in (
        ((), tied, 4, 8),  # two float32 moments
        (("dtype=bfloat16",), tied, 2, 12),  # and float32 masters
        (eight, tied, 2, 12),  # an embedding's moments are float32 all the same
        (eight, replace(tied, tie_word_embeddings=False), 4, 12 + 6),  # a head's are two of a byte; masters
    ):
        config = configure(*lines)
        kind = getattr(torch, config.dtype)
        with pytest.raises(OutOfMemory) as caught, explained("train", config, dims, kind):
            raise torch.OutOfMemoryError("CUDA out of memory.")
        assert f"weights {params * size:.2f} GiB" in str(caught.value)
        assert f"moments and masters {params * optimizer:.2f} GiB" in str(caught.value), str(caught.value)


def test_no_remedy_is_named_that_is_taken_already() -> None:
    taken = (
        "trainer.on_oom=halve_microbatch",
        "trainer.gradient_checkpointing=true",
        "rollout.release=true",
        "trainer.optimizer=adamw_8bit",
        "dtype=bfloat16",
    )
    with pytest.raises(OutOfMemory) as caught, explained("train", configure(*taken), DIMS, torch.bfloat16):
        raise torch.OutOfMemoryError("CUDA out of memory.")
    assert not any(setting in str(caught.value) for setting in taken), str(caught.value)
    with pytest.raises(OutOfMemory) as caught, explained("train", configure(), DIMS, torch.float32):
        raise torch.OutOfMemoryError("CUDA out of memory.")
    assert all(setting in str(caught.value) for setting in taken), str(caught.value)


def test_an_evaluation_names_the_longest_of_its_tasks() -> None:
    config = configure("eval.benchmarks=[{task: aime24, k: 1, max_new_tokens: 101}]")
    longest = pytest.raises(OutOfMemory, match=r"in evaluate: .* 101 new tokens")
    with longest, explained("evaluate", config, DIMS, torch.float32):
        raise torch.OutOfMemoryError("CUDA out of memory.")


@pytest.mark.parametrize(
    "said",
    [
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "CUDA error: out of memory",
        "Triton Error [CUDA]: out of memory",
        "[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried 9 bytes",
    ],
)
def test_a_library_that_says_it_in_words_is_understood(said: str) -> None:
    config, tried = configure(HALVE), list[int]()

    def work(config: RunConfig) -> str:
        tried.append(config.trainer.microbatch_tokens)
        if len(tried) == 1:
            raise RuntimeError(said)
        return "done"

    assert halving(work, config, [], longest=10)[0] == "done" and tried == [8192, 4096]
    with (
        pytest.raises(OutOfMemory, match="out of memory in train"),
        explained("train", config, DIMS, torch.half),
    ):
        raise RuntimeError(said)


def test_another_error_is_left_as_it_is() -> None:
    def work(config: RunConfig) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal"):
        halving(work, configure(HALVE), [], longest=10)
    with pytest.raises(RuntimeError, match="illegal"), explained("train", configure(), DIMS, torch.half):
        work(configure())


def test_an_unknown_remedy_is_refused() -> None:
    with pytest.raises(ConfigError, match="on_oom=ignore"):
        configure("trainer.on_oom=ignore")
