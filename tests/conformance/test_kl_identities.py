"""What the KL estimators' values and gradients are in expectation, by full enumeration (`enumerated`).

What does not hold is shown with a gap: VISIBLE for directions (see `apart`), 0.01 nats for values.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from harness.objectives import kl
from tests.conformance.enumerated import (
    MASK,
    REWARDS,
    VISIBLE,
    apart,
    expectation,
    expected_step,
    grad,
    log_softmaxes,
    logprobs_of,
    probabilities,
    same,
    updated,
)


def prefix_kl(theta: Tensor, ref: Tensor, *, reverse: bool = False) -> Tensor:
    """KL(pi || ref), or KL(ref || pi), at each position's prefix, over the vocabulary. [NUM, 2]."""
    a, b = log_softmaxes(theta), log_softmaxes(ref)
    a, b = (b, a) if reverse else (a, b)
    return (a.exp() * (a - b)).sum(-1)


def estimates(theta: Tensor, ref: Tensor, name: str) -> Tensor:
    return kl.ESTIMATORS[name](logprobs=logprobs_of(theta), ref_logprobs=logprobs_of(ref))  # [NUM, 2]


@pytest.mark.parametrize("name", ["k1", "k3"])
def test_k1_and_k3_are_unbiased_in_value(theta: Tensor, ref: Tensor, name: str) -> None:
    exact = kl.exact(log_softmax=log_softmaxes(theta), ref_log_softmax=log_softmaxes(ref))
    same(expectation(estimates(theta, ref, name), theta), expectation(exact, theta))
    same(exact, prefix_kl(theta, ref))


def test_k2_is_biased_and_k3_never_negative(theta: Tensor, ref: Tensor) -> None:
    exact = expectation(prefix_kl(theta, ref), theta).sum()
    gap = expectation(estimates(theta, ref, "k2"), theta).sum() - exact
    assert float(gap.detach().abs()) > 0.01
    assert bool((estimates(theta, ref, "k3") >= 0).all())
    assert bool((estimates(theta, ref, "k1") < 0).any())


def test_k3_is_biased_on_samples_of_another_policy(theta: Tensor, ref: Tensor) -> None:
    """After an update the samples are the old policy's; with top-k 2 they are a truncated one's."""
    exact = prefix_kl(theta, ref)
    old = updated(theta)
    gap = expectation(estimates(theta, ref, "k3"), old) - expectation(exact, old)
    assert float(gap.detach().abs().max()) > 0.01
    least = theta.detach().argmin(-1, keepdim=True)
    truncated = theta.detach().scatter(-1, least, -torch.inf)  # [V + 1, V]
    gap = expectation(estimates(theta, ref, "k3"), truncated) - expectation(exact, truncated)
    assert float(gap.detach().abs().max()) > 0.01


def expected_gradient(theta: Tensor, ref: Tensor, name: str) -> Tensor:
    """E over samples held fixed of the gradient of an estimator used as a loss, summed over both tokens."""
    return grad(expectation(estimates(theta, ref, name), theta).sum(), theta)


def test_expected_gradients_as_a_loss_per_token(theta: Tensor, ref: Tensor) -> None:
    """With prefixes fixed (weights detached): k1 0, k2 that of KL(pi || ref), k3 that of KL(ref || pi)."""
    forward = grad(expectation(prefix_kl(theta, ref), theta).sum(), theta)
    backward = grad(expectation(prefix_kl(theta, ref, reverse=True), theta).sum(), theta)
    assert expected_gradient(theta, ref, "k1").abs().max() < 1e-12
    same(expected_gradient(theta, ref, "k2"), forward)
    same(expected_gradient(theta, ref, "k3"), backward)
    assert apart(forward, backward) > VISIBLE


def test_k2_of_whole_outputs_has_the_gradient_of_the_sequence_kl_in_full(theta: Tensor, ref: Tensor) -> None:
    p = probabilities(theta).detach()
    log_ratio = (logprobs_of(theta) - logprobs_of(ref)).sum(-1)
    exact = grad((probabilities(theta) * log_ratio).sum(), theta)
    k2 = kl.k2(logprobs=logprobs_of(theta).sum(-1), ref_logprobs=logprobs_of(ref).sum(-1))  # [NUM]
    same(grad((p * k2).sum(), theta), exact)
    per_token = expected_gradient(theta, ref, "k2")
    assert (per_token - exact).abs().max() > 0.01, "per token it leaves out which prefixes are visited"


def test_kl_in_the_reward_has_the_gradient_of_the_sequence_kl(theta: Tensor, ref: Tensor) -> None:
    """k1, detached and summed into the reward: the policy gradient of E[R] - coef KL(pi || ref)."""
    p = probabilities(theta)
    log_ratio = (logprobs_of(theta) - logprobs_of(ref)).sum(-1)
    exact = grad(-(p * (REWARDS - 0.3 * log_ratio)).sum(), theta)
    k1 = kl.k1(logprobs=logprobs_of(theta).detach(), ref_logprobs=logprobs_of(ref))
    rewards = kl.penalised_rewards(rewards=REWARDS, kl=k1, completion_mask=MASK, coef=0.3)
    same(expected_step(theta, rewards), exact)


def test_ppos_penalty_has_the_gradient_of_kl_old_to_current(theta: Tensor, ref: Tensor) -> None:
    """Samples of the old policy (`ref` here), roles swapped: k3 is unbiased in value and in gradient."""
    k3 = kl.k3(logprobs=logprobs_of(ref), ref_logprobs=logprobs_of(theta))
    exact = expectation(prefix_kl(theta, ref, reverse=True), ref).sum()
    estimate = expectation(k3, ref).sum()
    same(estimate.detach(), exact.detach())
    same(grad(estimate, theta), grad(exact, theta))
