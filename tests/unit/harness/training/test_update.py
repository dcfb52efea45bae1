"""One rollout batch to optimiser steps: against a row-by-row recomputation, and by hand.

Plain SGD with lr 1 and no clipping stands in for AdamW: the change of the weights is minus the gradient.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.model.fused import unpack
from harness.model.policy import Policy
from harness.model.rows import Rows
from harness.training import gradient as module
from harness.training.advantages import build_batch
from harness.training.models import Models
from harness.training.optim import adamw
from harness.training.update import update
from tests.unit.harness.tiny import configure, group
from tests.unit.harness.training.one_step import (
    EQUAL,
    MIXED,
    NO_KL,
    ONE_STEP,
    WRONG,
    close,
    costs,
    gradient,
    logprobs_of,
    policy,
    stepped,
    weights,
)


def test_grpos_step_is_the_equation_row_by_row() -> None:
    # L = -1/6 sum_i 1/|o_i| sum_t A_i ratio_t; the equal group has A = 0 and counts in the 6.
    found, result = stepped(configure(NO_KL, *ONE_STEP), [MIXED, EQUAL])
    model = policy()
    loss = torch.zeros(())
    for rollout, advantage in zip(MIXED.rollouts, (2 / 3**0.5, -1 / 3**0.5, -1 / 3**0.5), strict=True):
        lp = logprobs_of(model, MIXED.prompt.token_ids, rollout.completion_ids)
        loss = loss - advantage * (lp - lp.detach()).exp().mean() / 6
    close(found, gradient(loss, model))
    assert result.metrics["loss"] == pytest.approx(loss.item(), abs=1e-5)
    assert result.metrics["grad_norm"] == pytest.approx(float(found.norm()), rel=1e-4)
    assert result.metrics["updates"] == 1.0 and result.metrics["skipped_updates"] == 0.0
    assert result.trained_tokens == (2 + 2) + (2 + 4) + (2 + 3)  # the equal group has no gradient to compute


def test_sft_is_the_cross_entropy_of_accepted_completions_and_of_nothing_else() -> None:
    # Accepted: one of MIXED, three of EQUAL; the prompts' tokens are in no term.
    config = configure("objective=sft_rejection", "objective.reduce=sequence_mean", *ONE_STEP)
    found, result = stepped(config, [MIXED, EQUAL, WRONG])
    model = policy()
    chosen = [(MIXED, 0), (EQUAL, 0), (EQUAL, 1), (EQUAL, 2)]
    rows = [logprobs_of(model, g.prompt.token_ids, g.rollouts[i].completion_ids).mean() for g, i in chosen]
    loss = -torch.stack(rows).mean()
    close(found, gradient(loss, model))
    assert result.metrics["loss"] == pytest.approx(loss.item(), rel=1e-5)


@pytest.mark.parametrize("objective", ["grpo", "sft_rejection", "dr_grpo", "rloo", "gspo", "cispo", "pg"])
def test_microbatches_do_not_change_the_step(objective: str) -> None:
    groups, reference = [MIXED, EQUAL, WRONG], policy(5)
    lines = (f"objective={objective}", *ONE_STEP)
    whole, result = stepped(configure(*lines), groups, reference=reference)
    for tokens in (1, 13):  # a row at a time, two rows at a time
        config = configure(*lines, f"trainer.microbatch_tokens={tokens}")
        split, same = stepped(config, groups, reference=reference)
        close(split, whole)
        assert same.microbatch_tokens == tokens
        assert same.metrics == pytest.approx(result.metrics, rel=1e-4, abs=1e-6)
        assert costs(same) == costs(result)


def test_the_order_of_rows_in_a_group_does_not_change_the_step() -> None:
    turned = group("mixed", [7, 3], [[2, 2, 1], [4, 1], [5, 9, 6, 1]], [0.0, 1.0, 0.0])
    config = configure(*ONE_STEP)
    a, _ = stepped(config, [MIXED, EQUAL], reference=policy(5))
    b, _ = stepped(config, [turned, EQUAL], reference=policy(5))
    close(a, b)


def test_the_first_minibatch_meets_its_own_policy() -> None:
    _, result = stepped(configure(NO_KL, *ONE_STEP), [MIXED])
    assert (
        result.metrics["ratio"] == 1.0
        and result.metrics["kl_old"] == 0.0
        and result.metrics["clip_frac"] == 0.0
    )


def test_the_sampler_gap_is_the_mean_distance_of_the_engines_logprobs() -> None:
    # The engine is off by + 0.25, - 0.5, + 0.25, ... in each output of 2, 4 and 3 tokens:
    # (0.75 + 1.5 + 1) / 9 tokens.
    config = configure(NO_KL, *ONE_STEP)
    batch, model = build_batch([MIXED], config.objective), policy()
    for row, rollout in enumerate(MIXED.rollouts):
        lp = logprobs_of(model, MIXED.prompt.token_ids, rollout.completion_ids).detach()
        batch.sampler_logprobs[row, 2 : 2 + len(lp)] = lp + torch.tensor([0.25, -0.5, 0.25, -0.5])[: len(lp)]
    _, result = stepped(config, [], batch=batch)
    assert result.metrics["sampler_gap"] == pytest.approx(3.25 / 9, rel=1e-5)
    assert result.metrics["sampler_gap_to_128"] == pytest.approx(3.25 / 9, rel=1e-5)
    assert "sampler_gap_to_512" not in result.metrics  # no output gets there


@pytest.mark.parametrize("minibatches", [1, 2])
def test_old_logprobs_stay_at_the_sampling_weights(minibatches: int) -> None:
    config = configure(
        NO_KL, *ONE_STEP, "objective.updates.epochs=3", f"objective.updates.minibatches={minibatches}"
    )
    other = replace(MIXED, prompt=replace(MIXED.prompt, token_ids=(9, 9)))
    batch = build_batch([MIXED, other], config.objective)
    _, result = stepped(config, [], batch=batch)
    model = policy()  # as it was before the first update
    for row, g in enumerate((MIXED, MIXED, MIXED, other, other, other)):
        rollout = g.rollouts[row % 3]
        expected = logprobs_of(model, g.prompt.token_ids, rollout.completion_ids).detach()
        start = len(g.prompt.token_ids)
        stored = result.batch.old_logprobs[row]
        assert torch.allclose(stored[start : start + len(expected)], expected, atol=1e-5)
        assert not stored[:start].any() and not stored[start + len(expected) :].any()
    assert not batch.old_logprobs.any()  # the caller's batch stays as it was
    assert result.metrics["updates"] == 3.0 * minibatches
    assert (
        abs(result.metrics["ratio"] - 1.0) > 1e-3 and result.metrics["kl_old"] > 1e-4
    )  # later epochs have moved away


def test_the_kl_penalty_pulls_towards_the_reference() -> None:
    # No advantage anywhere: what is left is coef/3 sum_i 1/|o_i| sum_t (r - 1 - log r), r = ref / policy.
    reference = policy(5)
    config = configure("objective.kl.coef=0.5", *ONE_STEP)
    found, result = stepped(config, [EQUAL], reference=reference)
    model = policy()
    rows = []
    for rollout in EQUAL.rollouts:
        lp = logprobs_of(model, (8,), rollout.completion_ids)
        log_r = logprobs_of(reference, (8,), rollout.completion_ids).detach() - lp
        rows.append((log_r.exp() - 1 - log_r).mean())
    loss = 0.5 * torch.stack(rows).mean()
    close(found, gradient(loss, model))
    assert result.metrics["loss"] == pytest.approx(loss.item(), rel=1e-4)
    doubled, _ = stepped(configure("objective.kl.coef=1", *ONE_STEP), [EQUAL], reference=reference)
    close(doubled, 2 * found)


def test_no_kl_penalty_at_the_reference_itself() -> None:
    found, result = stepped(configure("objective.kl.coef=0.5", *ONE_STEP), [EQUAL], reference=policy())
    assert float(found.norm()) < 1e-6 and result.metrics["kl"] < 1e-10


def test_nothing_accepted_moves_nothing() -> None:
    config = configure("objective=sft_rejection", "trainer.lr=1", "trainer.warmup_steps=0")
    model = policy()
    optimizer = adamw(model, lr=0.1, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
    for p in model.parameters():  # momentum and decay would move the weights if a step were taken
        p.grad = torch.ones_like(p)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    before = weights(model)
    result = update(
        Models(model),
        optimizer,
        build_batch([WRONG, replace(WRONG)], config.objective),
        config=config,
        order=torch.Generator(),
        num_updates_done=4,
        num_updates_total=10,
    )
    assert torch.equal(weights(model), before)
    assert (
        result.metrics["updates"] == 0.0
        and result.trained_tokens == 0.0
        and result.metrics["grad_norm"] == 0.0
    )


def test_a_gradient_that_is_not_finite_is_skipped_and_counted() -> None:
    config = configure(NO_KL, *ONE_STEP)
    batch = build_batch([MIXED], config.objective)
    batch.advantages[0, 2] = math.inf
    moved, result = stepped(config, [], batch=batch)
    assert result.metrics["skipped_updates"] == 1.0 and result.metrics["updates"] == 0.0
    assert not moved.any()


@pytest.mark.parametrize("objective", ["grpo", "sft_rejection", "gspo", "cispo"])
def test_poisoned_padding_changes_nothing(objective: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (f"objective={objective}", *ONE_STEP, "objective.updates.epochs=2")
    config, groups, reference = configure(*lines), [MIXED, EQUAL], policy(5)
    clean, result = stepped(config, groups, reference=reference)
    original = module.token_logprobs

    def poisoned(model: Policy, rows: Rows, **kwargs: Any) -> tuple[Tensor, None]:
        logprobs, _ = original(model, rows, **kwargs)
        inside = unpack(torch.ones(len(rows.at), dtype=torch.bool), rows.at, *rows.shape)
        return torch.where(inside, logprobs, math.nan), None

    monkeypatch.setattr(module, "token_logprobs", poisoned)
    batch = build_batch(groups, config.objective)
    outside = ~batch.completion_mask
    batch.sampler_logprobs[outside] = math.nan
    padding = torch.arange(batch.input_ids.shape[1]) >= batch.lengths[:, None]
    batch.input_ids[padding] = 10
    found, same = stepped(config, [], batch=batch, reference=reference)
    assert torch.equal(found, clean) and same.metrics == result.metrics


def test_the_schedule_counts_updates_not_rollout_batches() -> None:
    # Update number 4 + 2 - 1 = 5 of 10 (from 0), linear from 1 without warm-up: 0.1 + 0.9 (1 - 5/9) = 0.5.
    config = configure(NO_KL, "trainer.lr=1", "trainer.warmup_steps=0", "trainer.schedule=linear")
    model = policy()
    result = update(
        Models(model),
        torch.optim.SGD(model.parameters(), lr=0.0),
        build_batch([MIXED, replace(MIXED)], config.objective),
        config=config,
        order=torch.Generator(),
        num_updates_done=4,
        num_updates_total=10,
    )
    assert result.metrics["updates"] == 2.0 and result.metrics["lr"] == pytest.approx(0.5)


def test_a_batch_shorter_than_its_minibatches_is_one_of_fewer() -> None:
    lines = ("objective=sft_rejection_offline", "objective.updates.minibatches=2")
    _, result = stepped(configure(*lines), [EQUAL])
    assert result.metrics["updates"] == 1.0
