"""The theory's identities, exactly as far as they are true: full enumeration of a policy with V = 3, T = 2.

Token 2 ends an output, and the second token does so in any case: seven outputs, of one and of two tokens.
`theta` holds the logits of the first token [3] and, for each first token, of the second [3, 3]; all outputs
are rows of a batch, so an expectation is a sum weighted by pi and nothing is sampled. Float64.

What does not hold is shown with a gap: VISIBLE for directions (see `apart`), 0.01 nats for values.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from harness.objectives import kl
from harness.objectives.advantages import accepted_only, group_centered, rloo
from harness.objectives.policy_loss import policy_loss
from harness.objectives.reduce import counted_rows, denominator, reduce

V, END, PAD = 3, 2, 0
OUTPUTS = torch.tensor([(END, PAD), *itertools.product(range(END), range(V))])  # [7, 2]
NUM, VISIBLE = len(OUTPUTS), 0.1
REWARDS = torch.tensor([1, 0, 0, 1, 0, 1, 0], dtype=torch.float64)
REDUCERS = ["token_mean", "sequence_mean", "sequence_sum", "constant"]


@pytest.fixture
def theta() -> Tensor:
    return torch.randn(
        V + 1, V, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    ).requires_grad_()


@pytest.fixture
def ref() -> Tensor:
    return torch.randn(V + 1, V, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def mask_of(outputs: Tensor) -> Tensor:
    """[N, 2]: there is a second token unless the first one ended the output."""
    return torch.stack([torch.ones(len(outputs), dtype=torch.bool), outputs[:, 0] != END], dim=1)


MASK = mask_of(OUTPUTS)


def log_softmaxes(theta: Tensor, outputs: Tensor = OUTPUTS) -> Tensor:
    """log pi(. | prefix) at both positions of each output, [N, 2, V]."""
    table = theta.log_softmax(-1)  # [V + 1, V]
    return torch.stack([table[0].expand(len(outputs), V), table[1 + outputs[:, 0]]], dim=1)


def logprobs_of(theta: Tensor, outputs: Tensor = OUTPUTS) -> Tensor:
    found = log_softmaxes(theta, outputs).gather(-1, outputs.unsqueeze(-1)).squeeze(-1)  # [N, 2]
    return torch.where(mask_of(outputs), found, 0.0)


def probabilities(theta: Tensor) -> Tensor:
    return logprobs_of(theta).sum(-1).exp()  # [NUM], they add up to 1


def expectation(per_token: Tensor, theta: Tensor) -> Tensor:
    """Of each position's values [NUM, 2] over outputs of `theta`, held fixed; no token counts as 0. [2]."""
    return (probabilities(theta).detach()[:, None] * torch.where(MASK, per_token, 0.0)).sum(0)


def grad(scalar: Tensor, theta: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(scalar, theta)
    return gradient


def batch_gradient(
    theta: Tensor, outputs: Tensor, advantages: Tensor, *, old: Tensor | None = None, **slots: object
) -> Tensor:
    """Gradient of one step on `outputs` [B, 2] of the policy `old` (None: fresh from `theta`)."""
    reducer, over = slots.pop("reduce", "sequence_sum"), slots.pop("over", "all")
    mask = mask_of(outputs)
    output = policy_loss(
        logprobs=logprobs_of(theta, outputs),
        old_logprobs=logprobs_of(theta if old is None else old, outputs).detach(),
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


def apart(a: Tensor, b: Tensor) -> float:
    """How far `a` is from every multiple of `b`: the sine of their angle. 0 is the same direction."""
    cosine = (a * b).sum() / (a.norm() * b.norm())
    return float((1 - cosine.square()).clamp(min=0).sqrt())


def some_batch(seed: int, size: int = 8) -> tuple[Tensor, Tensor]:
    rows = torch.randint(0, NUM, (size,), generator=torch.Generator().manual_seed(seed))
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


def expected_step(theta: Tensor, advantages: Tensor, **slots: object) -> Tensor:
    """E over outputs of the gradient of a step on one output."""
    p = probabilities(theta).detach()
    each = [batch_gradient(theta, OUTPUTS[i : i + 1], advantages[i : i + 1], **slots) for i in range(NUM)]
    return torch.stack([p[i] * each[i] for i in range(NUM)]).sum(0)


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


def updated(theta: Tensor) -> Tensor:
    """The policy some updates later."""
    noise = torch.randn(theta.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return (theta.detach() + 0.5 * noise).requires_grad_()


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
