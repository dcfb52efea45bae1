"""The policy gradient's identities, exactly as far as they are true, by full enumeration (`enumerated`).

What does not hold is shown with a gap, VISIBLE for directions (see `apart`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from harness.objectives.advantages import accepted_only, group_centered, rloo
from tests.conformance.enumerated import (
    MASK,
    NUM,
    OUTPUTS,
    REWARDS,
    VISIBLE,
    apart,
    batch_gradient,
    expected_step,
    grad,
    probabilities,
    same,
    some_batch,
    updated,
)

REDUCERS = ["token_mean", "sequence_mean", "sequence_sum", "constant"]


@pytest.mark.parametrize("reducer", REDUCERS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_rejection_sft_is_the_policy_gradient_of_a_01_reward(theta: Tensor, reducer: str, seed: int) -> None:
    outputs, rewards = some_batch(seed)
    ids = torch.zeros(len(rewards), dtype=torch.long)
    weights = accepted_only(rewards=rewards, group_ids=ids, threshold=0.5)
    sft = batch_gradient(theta, outputs, weights, loss="nll", reduce=reducer)
    same(sft, batch_gradient(theta, outputs, rewards, reduce=reducer))


def test_sft_over_accepted_samples_is_off_by_a_factor_that_depends_on_the_batch(theta: Tensor) -> None:
    factors = set()
    for seed in range(3):
        outputs, rewards = some_batch(seed)
        over_accepted = batch_gradient(theta, outputs, rewards, loss="nll", over="accepted")
        factor = len(rewards) / float(rewards.sum())
        same(over_accepted, factor * batch_gradient(theta, outputs, rewards))
        factors.add(factor)
    assert len(factors) > 1


def test_the_outputs_are_all_there_are(theta: Tensor) -> None:
    same(probabilities(theta).sum().detach(), torch.ones((), dtype=torch.float64))
    assert sorted(MASK.sum(-1).tolist()) == [1, 2, 2, 2, 2, 2, 2]


def test_the_policy_gradient_is_the_gradient_of_the_expected_reward(theta: Tensor) -> None:
    exact = grad(-(probabilities(theta) * REWARDS).sum(), theta)
    same(expected_step(theta, REWARDS), exact)


def test_under_sequence_mean_the_policy_gradient_is_another_direction(theta: Tensor) -> None:
    """A mean over each output's tokens halves what outputs of two tokens say, and not those of one."""
    exact = grad(-(probabilities(theta) * REWARDS).sum(), theta)
    assert apart(expected_step(theta, REWARDS, reduce="sequence_mean"), exact) > VISIBLE
    assert apart(expected_step(theta, REWARDS, reduce="constant"), exact) < 1e-6


@pytest.mark.parametrize("reducer", REDUCERS)
@pytest.mark.parametrize("ratio", ["token", "sequence_mean"])
def test_ppo_clip_is_the_policy_gradient_at_ratio_1(theta: Tensor, reducer: str, ratio: str) -> None:
    outputs, rewards = some_batch(3)
    clip = {"clip_low": 0.2, "clip_high": 0.2}
    clipped = batch_gradient(
        theta, outputs, rewards - 0.3, loss="ppo_clip", loss_params=clip, ratio=ratio, reduce=reducer
    )
    same(clipped, batch_gradient(theta, outputs, rewards - 0.3, reduce=reducer))


def test_ppo_clip_is_not_the_policy_gradient_after_an_update(theta: Tensor) -> None:
    outputs, rewards = some_batch(3)
    clip = {"loss": "ppo_clip", "loss_params": {"clip_low": 0.2, "clip_high": 0.2}}
    later = updated(theta)
    clipped = batch_gradient(later, outputs, rewards - 0.3, old=theta, **clip)
    assert apart(clipped, batch_gradient(later, outputs, rewards - 0.3)) > VISIBLE


def test_grpo_without_std_clip_and_kl_is_the_policy_gradient_with_the_group_mean(theta: Tensor) -> None:
    outputs, rewards = some_batch(4)
    ids = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    baseline = torch.stack([rewards[:4].mean(), rewards[4:].mean()]).repeat_interleave(4)
    centred = group_centered(rewards=rewards, group_ids=ids)
    policy_gradient = batch_gradient(theta, outputs, rewards - baseline)
    same(batch_gradient(theta, outputs, centred, loss="surrogate"), policy_gradient)
    per_length = batch_gradient(theta, outputs, centred, loss="surrogate", reduce="sequence_mean")
    assert apart(per_length, policy_gradient) > VISIBLE


def expected_over_pairs(theta: Tensor, advantage: Callable[..., Tensor], **slots: object) -> Tensor:
    """E of the gradient of a step, over all groups of two outputs."""
    p, total = probabilities(theta).detach(), torch.zeros_like(theta)
    for i, j in itertools.product(range(NUM), repeat=2):
        pair = torch.tensor([i, j])
        advantages = advantage(rewards=REWARDS[pair], group_ids=torch.tensor([0, 0]))
        total += p[i] * p[j] * batch_gradient(theta, OUTPUTS[pair], advantages, **slots)
    return total.detach()


def test_grpo_without_std_clip_and_kl_follows_the_expected_reward_but_for_lengths(theta: Tensor) -> None:
    """In expectation: (G - 1) / G of its gradient under `sequence_sum`, no multiple under `sequence_mean`."""
    exact = grad(-(probabilities(theta) * REWARDS).sum(), theta)
    same(expected_over_pairs(theta, group_centered, loss="surrogate"), exact / 2)
    per_length = expected_over_pairs(theta, group_centered, loss="surrogate", reduce="sequence_mean")
    assert apart(per_length, exact) > VISIBLE


def test_rloo_is_g_over_g_minus_1_times_the_centred_advantage_and_dr_grpo(theta: Tensor) -> None:
    outputs, rewards = some_batch(3)
    ids = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    left_out, centred = rloo(rewards=rewards, group_ids=ids), group_centered(rewards=rewards, group_ids=ids)
    same(left_out, 4 / 3 * centred)
    others = (rewards[:4].sum() - rewards[:4]) / 3
    same(left_out[:4], rewards[:4] - others)
    clip = {"loss": "ppo_clip", "loss_params": {"clip_low": 0.2, "clip_high": 0.2}}
    rloo_slots = {**clip, "ratio": "sequence", "reduce": "sequence_mean"}
    whole = batch_gradient(theta, outputs, left_out, **rloo_slots)
    dr_grpo = batch_gradient(theta, outputs, centred, **clip, reduce="constant")
    same(whole, 4 / 3 * 5 * dr_grpo)  # 5 is the constant
    later = updated(theta)
    whole = batch_gradient(later, outputs, left_out, old=theta, **rloo_slots)
    dr_grpo = batch_gradient(later, outputs, centred, old=theta, **clip, reduce="constant")
    assert apart(whole, dr_grpo) > VISIBLE


def test_rloo_is_unbiased_and_the_centred_advantage_is_short_by_g_minus_1_over_g(theta: Tensor) -> None:
    exact = grad(-(probabilities(theta) * REWARDS).sum(), theta)
    same(expected_over_pairs(theta, rloo), exact)
    same(expected_over_pairs(theta, group_centered), exact / 2)
