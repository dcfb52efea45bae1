"""The reference's logprobs while the engine decodes, on the CPU without a stream: those of the plain pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from harness import experience as experience_module
from harness import reference_ahead as module
from harness.accounting import reproducible
from harness.batching import make_batch
from harness.config import RunConfig
from harness.gradient import fill_logprobs
from harness.reference_ahead import ReferenceAhead
from harness.rollout.native import NativeEngine
from harness.state import Run
from harness.trainer import experience, learn
from harness.types import Batch, ScoredGroup
from tests.unit.harness.test_update import EQUAL, MIXED, WRONG, policy
from tests.unit.harness.tiny import configure, run_on_untrained_base

GROUPS = [MIXED, EQUAL, WRONG]
ALL = torch.arange(9)
# The groups end as 1, 0, 2; they have 1 + 5 + 1 + 2 = 9, 2 + 2 + 4 + 3 = 11 and 3 + 2 + 2 + 3 = 10 tokens.
ORDER = (5, 4, 0, 3, 6, 1, 2, 8, 7)


def ended(order: Sequence[int], *lines: str) -> tuple[ReferenceAhead, RunConfig]:
    config = configure("objective=grpo", "rollout.group_size=3", *lines)
    found = ReferenceAhead(policy(5), [g.problem for g in GROUPS], [g.prompt for g in GROUPS], config)
    for place in order:
        found.on_end(place, GROUPS[place // 3].rollouts[place % 3].completion_ids)
    return found, config


def plain(batch: Batch, config: RunConfig) -> Tensor:
    return fill_logprobs(policy(5), batch, ALL[: len(batch.lengths)], config)


@pytest.mark.parametrize(
    ("budget", "ahead"),
    [
        (1000, []),  # never full
        (20, [[EQUAL, MIXED]]),  # 9 + 11 fit, and 10 more do not
        (19, [[EQUAL], [MIXED]]),
        (5, [[EQUAL], [MIXED]]),  # a group larger than a microbatch goes in several
    ],
)
def test_groups_that_have_ended_are_computed_a_microbatch_at_a_time(
    budget: int, ahead: list[list[ScoredGroup]]
) -> None:
    found, config = ended(ORDER, f"trainer.microbatch_tokens={budget}")
    made = [[tuple(ids) for ids in known.input_ids.tolist()] for known, _ in found.done]
    assert made == [
        [tuple(ids) for ids in make_batch(groups, pad_id=0).input_ids.tolist()] for groups in ahead
    ]
    batch = make_batch(GROUPS, pad_id=0)
    logprobs, share = found.logprobs(batch, ALL, config)
    expected = plain(batch, config)
    assert logprobs.dtype == expected.dtype and float(expected.min()) < -0.1
    torch.testing.assert_close(logprobs, expected, rtol=0, atol=1e-6)
    assert share == pytest.approx(sum(map(len, ahead)) / 3)


def test_rows_with_other_tokens_are_computed_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """One row cut after it had ended, one with its last token changed, a mask, rows in another order."""
    found, config = ended(ORDER, "trainer.microbatch_tokens=20")
    cut, other = MIXED.rollouts[1], EQUAL.rollouts[2]
    changed = [
        replace(EQUAL, rollouts=(*EQUAL.rollouts[:2], replace(other, completion_ids=(6, 3)))),
        WRONG,
        replace(MIXED, rollouts=(MIXED.rollouts[2], replace(cut, completion_ids=(5, 9)), MIXED.rollouts[0])),
    ]
    plain_rollouts = [tuple(replace(r, sampler_logprobs=None) for r in g.rollouts) for g in changed]
    groups = [replace(g, rollouts=r) for g, r in zip(changed, plain_rollouts, strict=True)]
    batch = make_batch(groups, pad_id=0)
    batch.completion_mask[0] = False  # as `truncated: mask` does
    computed: list[list[int]] = []

    def watched(reference: Any, batch: Batch, rows: Tensor, config: RunConfig) -> Tensor:
        computed.append(rows.tolist())
        return fill_logprobs(reference, batch, rows, config)

    monkeypatch.setattr(module, "fill_logprobs", watched)
    logprobs, share = found.logprobs(batch, ALL, config)
    assert computed == [[2, 3, 4, 5, 7]] and share == pytest.approx(4 / 9)
    assert float(logprobs[0].abs().max()) == 0
    torch.testing.assert_close(logprobs, plain(batch, config), rtol=0, atol=1e-6)
    some, share = found.logprobs(batch, torch.tensor([1, 6]), config)
    assert share == 1 and bool((some[1] != 0).any()) and float(some[[0, 2, 3, 4, 5, 7, 8]].abs().max()) == 0


def test_without_memory_the_rest_is_computed_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def failing(*args: Any) -> Tensor:
        calls.append(1)
        if len(calls) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return original(*args)

    original = module.logprobs_on_device
    monkeypatch.setattr(module, "logprobs_on_device", failing)
    found, config = ended(ORDER, "trainer.microbatch_tokens=5")
    assert len(calls) == 2 and found.out_of_memory and len(found.done) == 1
    batch = make_batch(GROUPS, pad_id=0)
    logprobs, share = found.logprobs(batch, ALL, config)
    assert share == pytest.approx(1 / 3)
    torch.testing.assert_close(logprobs, plain(batch, config), rtol=0, atol=1e-6)


def run_of(folder: Path, *lines: str) -> Run:
    """Outputs of unequal lengths: every eighth token ends one."""
    run = run_on_untrained_base(folder, "rollout.max_batch_size=5", "objective.reward.random=1", *lines)
    assert isinstance(run.engine, NativeEngine)
    run.engine._eos = frozenset(range(0, run.policy.dims.vocab_size, 8))
    return run


@pytest.mark.parametrize(("objective", "placement"), [("grpo", "loss"), ("ppo", "reward")])
def test_a_run_with_it_equals_a_run_without(
    objective: str, placement: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = (
        f"objective={objective}",
        f"objective.kl={{coef: 0.1, placement: {placement}, against: ref, target: null, horizon: null}}",
        "trainer.microbatch_tokens=60",
        "trainer.lr=1e-2",
    )
    rows = {}
    for devices in ((), ("cpu",)):
        monkeypatch.setattr(module, "DEVICES", devices)
        run, found = run_of(tmp_path / str(len(devices)), *lines), []
        for _ in range(3):
            groups, metrics = experience(run)
            assert (run.reference_ahead is not None) == bool(devices)
            metrics |= learn(run, groups, total=3)
            run.step += 1
            assert run.reference_ahead is None
            found.append(reproducible(metrics))
        rows[bool(devices)] = found
        rows[f"counts {bool(devices)}"] = [run.tokens, run.flops]
    assert len({x["completion_length"] for x in rows[True]}) > 1
    assert all(0.3 < row.pop("reference_ahead") <= 1 for row in rows[True])
    for row, other in zip(rows[True], rows[False], strict=True):
        assert row == pytest.approx(other, rel=1e-4, abs=1e-6)
    assert rows["counts True"] == rows["counts False"]


def test_the_numbers_can_be_used_in_a_loss_and_are_those_of_the_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refreshed reference: each step's come from the weights of that step."""
    monkeypatch.setattr(module, "DEVICES", ("cpu",))
    lines = ("objective=grpo", "trainer.microbatch_tokens=60", "objective.kl.refresh_every=1")
    run = run_of(tmp_path, *lines, "trainer.lr=1e-2")
    assert run.reference is not None
    for _ in range(2):
        groups, _ = experience(run)
        assert run.reference_ahead is not None and len(run.reference_ahead.done) > 1
        batch = make_batch(groups, pad_id=0)
        rows = torch.arange(len(batch.lengths))
        found, share = run.reference_ahead.logprobs(batch, rows, run.config)
        expected = fill_logprobs(run.reference, batch, rows, run.config)
        assert share > 0.3 and not found.is_inference()
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
        learn(run, groups, total=2)
        run.reference.load_state_dict(run.policy.state_dict())


@pytest.mark.parametrize(
    "lines",
    [
        ("objective=dr_grpo",),  # no reference
        ("objective=grpo", "objective.truncated=drop"),
        ("objective=dapo", "objective.kl.coef=0.1"),  # groups may be dropped
    ],
)
def test_where_rows_may_not_be_scored_nothing_is_computed_ahead(
    lines: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DEVICES", ("cpu",))
    run = run_on_untrained_base(tmp_path, *lines)
    experience_module.sample(run, run.problems[:1], 0)
    assert run.reference_ahead is None


def test_on_a_cpu_it_is_off(tmp_path: Path) -> None:
    run = run_on_untrained_base(tmp_path, "objective=grpo")
    assert run.reference is not None
    experience_module.sample(run, run.problems[:1], 0)
    assert run.reference_ahead is None
