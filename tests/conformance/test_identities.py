"""The theory's identities, exactly as far as they are true: by full enumeration of a policy with V = 3, T =
2.

`theta` holds the logits of the first token [3] and, for each first token, of the second [3, 3]; all nine
outputs are rows of a batch, so an expectation is a sum weighted by pi and nothing is sampled. Float64.
"""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from harness.objectives import kl
from harness.objectives.advantages import accepted_only, group_centered, rloo
from harness.objectives.compose import policy_loss
from harness.objectives.reduce import counted_rows, denominator, reduce

V = 3
OUTPUTS = torch.tensor(list(itertools.product(range(V), repeat=2)))  # [9, 2]
MASK = torch.ones(9, 2, dtype=torch.bool)
REWARDS = torch.tensor([1, 0, 0, 1, 0, 1, 0, 0, 0], dtype=torch.float64)
REDUCERS = ["token_mean", "sequence_mean", "sequence_sum", "constant"]


@pytest.fixture
def theta() -> Tensor:
    return torch.randn(
        V + 1, V, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    ).requires_grad_()


@pytest.fixture
def ref() -> Tensor:
    return torch.randn(V + 1, V, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def log_softmaxes(theta: Tensor, outputs: Tensor = OUTPUTS) -> Tensor:
    """log pi(. | prefix) at both positions of each output, [N, 2, V]."""
    table = theta.log_softmax(-1)  # [V + 1, V]
    return torch.stack([table[0].expand(len(outputs), V), table[1 + outputs[:, 0]]], dim=1)


def logprobs_of(theta: Tensor, outputs: Tensor = OUTPUTS) -> Tensor:
    return log_softmaxes(theta, outputs).gather(-1, outputs.unsqueeze(-1)).squeeze(-1)  # [N, 2]


def probabilities(theta: Tensor) -> Tensor:
    return logprobs_of(theta).sum(-1).exp()  # [9]


def grad(scalar: Tensor, theta: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(scalar, theta)
    return gradient


def batch_gradient(theta: Tensor, outputs: Tensor, advantages: Tensor, **slots: object) -> Tensor:
    """Gradient of one step on `outputs` [B, 2], fresh from the policy (old = current)."""
    reducer, over = slots.pop("reduce", "sequence_sum"), slots.pop("over", "all")
    mask = torch.ones_like(outputs, dtype=torch.bool)
    logprobs = logprobs_of(theta, outputs)
    output = policy_loss(
        logprobs=logprobs,
        old_logprobs=logprobs.detach(),
        advantages=advantages,
        completion_mask=mask,
        **{"loss": "policy_gradient", "loss_params": {}, "ratio": "token", **slots},  # type: ignore[arg-type]
    )
    counted = counted_rows(advantages=advantages, completion_mask=mask, over=over)  # type: ignore[arg-type]
    divisor = denominator(kind=reducer, completion_mask=mask, counted=counted, constant=5)  # type: ignore[arg-type]
    loss = reduce(loss=output.loss, completion_mask=mask, kind=reducer, denominator=divisor)  # type: ignore[arg-type]
    return grad(loss, theta)


def same(a: Tensor, b: Tensor) -> None:
    assert b.abs().max() > 1e-6, "an identity between zeros shows nothing"
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def some_batch(seed: int, size: int = 8) -> tuple[Tensor, Tensor]:
    rows = torch.randint(0, 9, (size,), generator=torch.Generator().manual_seed(seed))
    return OUTPUTS[rows], REWARDS[rows]


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


def test_the_policy_gradient_is_the_gradient_of_the_expected_reward(theta: Tensor) -> None:
    exact = grad(-(probabilities(theta) * REWARDS).sum(), theta)
    p = probabilities(theta).detach()
    per_output = [batch_gradient(theta, OUTPUTS[i : i + 1], REWARDS[i : i + 1]) for i in range(9)]
    same(torch.stack([p[i] * per_output[i] for i in range(9)]).sum(0), exact)


@pytest.mark.parametrize("reducer", REDUCERS)
@pytest.mark.parametrize("ratio", ["token", "sequence_mean"])
def test_ppo_clip_is_the_policy_gradient_at_ratio_1(theta: Tensor, reducer: str, ratio: str) -> None:
    outputs, rewards = some_batch(3)
    clip = {"clip_low": 0.2, "clip_high": 0.2}
    clipped = batch_gradient(
        theta, outputs, rewards - 0.3, loss="ppo_clip", loss_params=clip, ratio=ratio, reduce=reducer
    )
    same(clipped, batch_gradient(theta, outputs, rewards - 0.3, reduce=reducer))


def test_grpo_without_std_clip_and_kl_is_the_policy_gradient_with_the_group_mean(theta: Tensor) -> None:
    outputs, rewards = some_batch(4)
    ids = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    baseline = torch.stack([rewards[:4].mean(), rewards[4:].mean()]).repeat_interleave(4)
    centred = group_centered(rewards=rewards, group_ids=ids)
    same(
        batch_gradient(theta, outputs, centred, loss="surrogate"),
        batch_gradient(theta, outputs, rewards - baseline),
    )


def test_rloo_is_g_over_g_minus_1_times_the_centred_advantage_and_dr_grpo(theta: Tensor) -> None:
    outputs, rewards = some_batch(5)
    ids = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    left_out, centred = rloo(rewards=rewards, group_ids=ids), group_centered(rewards=rewards, group_ids=ids)
    same(left_out, 4 / 3 * centred)
    others = (rewards[:4].sum() - rewards[:4]) / 3
    same(left_out[:4], rewards[:4] - others)
    clip = {"clip_low": 0.2, "clip_high": 0.2}
    whole = batch_gradient(
        theta, outputs, left_out, loss="ppo_clip", loss_params=clip, ratio="sequence", reduce="sequence_mean"
    )
    dr_grpo = batch_gradient(theta, outputs, centred, loss="ppo_clip", loss_params=clip, reduce="constant")
    same(whole, 4 / 3 * 5 * dr_grpo)  # 5 is the constant


def test_rloo_is_unbiased_and_the_centred_advantage_is_short_by_g_minus_1_over_g(theta: Tensor) -> None:
    """Over all 81 groups of two."""
    exact = grad(-(probabilities(theta) * REWARDS).sum(), theta)
    p = probabilities(theta).detach()
    ids = torch.tensor([0, 0])
    expected = {rloo: torch.zeros_like(exact), group_centered: torch.zeros_like(exact)}
    for i, j in itertools.product(range(9), repeat=2):
        pair = torch.tensor([i, j])
        for fn, total in expected.items():
            advantages = fn(rewards=REWARDS[pair], group_ids=ids)
            total += p[i] * p[j] * batch_gradient(theta, OUTPUTS[pair], advantages)
    same(expected[rloo], exact)
    same(expected[group_centered], exact / 2)


def prefix_kl(theta: Tensor, ref: Tensor, *, reverse: bool = False) -> Tensor:
    """KL(pi || ref), or KL(ref || pi), at each position's prefix, over the vocabulary. [9, 2]."""
    a, b = log_softmaxes(theta), log_softmaxes(ref)
    a, b = (b, a) if reverse else (a, b)
    return (a.exp() * (a - b)).sum(-1)


@pytest.mark.parametrize("name", ["k1", "k3"])
def test_k1_and_k3_are_unbiased_in_value(theta: Tensor, ref: Tensor, name: str) -> None:
    p = probabilities(theta).detach()
    per_token = kl.ESTIMATORS[name](logprobs=logprobs_of(theta), ref_logprobs=logprobs_of(ref))  # [9, 2]
    exact = kl.exact(log_softmax=log_softmaxes(theta), ref_log_softmax=log_softmaxes(ref))
    same((p[:, None] * per_token).sum(0), (p[:, None] * exact).sum(0))
    same(exact, prefix_kl(theta, ref))


def test_k2_is_biased_and_k3_never_negative(theta: Tensor, ref: Tensor) -> None:
    p = probabilities(theta).detach()
    pair = {"logprobs": logprobs_of(theta).detach(), "ref_logprobs": logprobs_of(ref)}
    exact = float((p[:, None] * prefix_kl(theta, ref)).sum().detach())
    assert abs(float((p[:, None] * kl.k2(**pair)).sum()) - exact) > 0.01
    assert bool((kl.k3(**pair) >= 0).all())
    assert bool((kl.k1(**pair) < 0).any())


def expected_gradient(theta: Tensor, ref: Tensor, name: str) -> Tensor:
    """E over samples held fixed of the gradient of an estimator used as a loss, summed over both tokens."""
    p = probabilities(theta).detach()
    per_token = kl.ESTIMATORS[name](logprobs=logprobs_of(theta), ref_logprobs=logprobs_of(ref))
    return grad((p[:, None] * per_token).sum(), theta)


def test_expected_gradients_as_a_loss_per_token(theta: Tensor, ref: Tensor) -> None:
    """With prefixes fixed (their weights detached): k1 0, k2 that of KL(pi || ref), k3 that of KL(ref ||
    pi).
    """
    p = probabilities(theta).detach()
    forward = grad((p[:, None] * prefix_kl(theta, ref)).sum(), theta)
    backward = grad((p[:, None] * prefix_kl(theta, ref, reverse=True)).sum(), theta)
    assert expected_gradient(theta, ref, "k1").abs().max() < 1e-12
    same(expected_gradient(theta, ref, "k2"), forward)
    same(expected_gradient(theta, ref, "k3"), backward)
    assert (forward - backward).abs().max() > 0.01


def test_sequence_k2_has_the_gradient_of_the_sequence_kl_in_full(theta: Tensor, ref: Tensor) -> None:
    p = probabilities(theta).detach()
    log_ratio = (logprobs_of(theta) - logprobs_of(ref)).sum(-1)
    exact = grad((probabilities(theta) * log_ratio).sum(), theta)
    pair = {"logprobs": logprobs_of(theta), "ref_logprobs": logprobs_of(ref)}
    k2 = kl.sequence_k2(**pair, completion_mask=MASK)
    same(grad((p[:, None] * k2).sum(), theta), exact)
    per_token = expected_gradient(theta, ref, "k2")
    assert (per_token - exact).abs().max() > 0.01, "per token it leaves out which prefixes are visited"


def test_kl_in_the_reward_has_the_gradient_of_the_sequence_kl(theta: Tensor, ref: Tensor) -> None:
    """k1, detached and summed into the reward: the policy gradient of E[R] - coef KL(pi || ref)."""
    p = probabilities(theta)
    log_ratio = (logprobs_of(theta) - logprobs_of(ref)).sum(-1)
    exact = grad(-(p * (REWARDS - 0.3 * log_ratio)).sum(), theta)
    k1 = kl.k1(logprobs=logprobs_of(theta).detach(), ref_logprobs=logprobs_of(ref))
    rewards = kl.penalised_rewards(rewards=REWARDS, kl=k1, completion_mask=MASK, coef=0.3)
    per_output = [batch_gradient(theta, OUTPUTS[i : i + 1], rewards[i : i + 1]) for i in range(9)]
    same(torch.stack([p[i].detach() * per_output[i] for i in range(9)]).sum(0), exact)


def test_ppos_penalty_has_the_gradient_of_kl_old_to_current(theta: Tensor, ref: Tensor) -> None:
    """Samples of the old policy (`ref` here), roles swapped: k3 is unbiased in value and in gradient."""
    p_old = probabilities(ref)
    k3 = kl.k3(logprobs=logprobs_of(ref), ref_logprobs=logprobs_of(theta))
    exact = (p_old[:, None] * prefix_kl(theta, ref, reverse=True)).sum()
    estimate = (p_old[:, None] * k3).sum()
    same(estimate.detach(), exact.detach())
    same(grad(estimate, theta), grad(exact, theta))
