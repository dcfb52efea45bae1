"""KL divergences from samples, exact over the vocabulary, and where they are put. Nats, pure.

All estimate KL(pi || ref) at a token from x ~ pi given its prefix, with r = ref(x) / pi(x)
(Schulman 2020, "Approximating KL divergence"; DeepSeekMath, arXiv:2402.03300 eq. 4 is k3):

          value                    expected gradient, when used as a loss on samples held fixed
    k1    unbiased, any sign       0: E[grad log pi] = 0, so as a loss it only adds noise
    k2    biased, >= 0             that of KL(pi || ref): unbiased
    k3    unbiased, >= 0           that of KL(ref || pi), the other direction
    exact exact                    exact, per token with the prefix fixed

With the roles swapped, KL(pi_old || pi) on samples of pi_old, the gradient is the second argument's alone,
and those of k1 and k3 are unbiased.

"Unbiased" needs samples of the untruncated current policy; after an update the samples are the old policy's.
Summed over a sequence, per-token terms with fixed prefixes leave out how the policy changes which prefixes
are visited; k2 of whole outputs does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


def k1(*, logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """-log r = log pi - log ref. Value unbiased; its gradient as a loss is 0 in expectation. [B, T]."""
    return logprobs - ref_logprobs


def k2(*, logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """(log r)^2 / 2, [B, T]. Value biased at third order; its expected gradient is that of KL(pi || ref)."""
    return 0.5 * (logprobs - ref_logprobs).square()


def k3(*, logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """r - 1 - log r. Value unbiased and >= 0; expected gradient as a loss that of KL(ref || pi). [B, T].

    Not clamped: above log r = 88 it overflows in float32, and the NaN guard should see it.
    """
    log_r = ref_logprobs - logprobs
    return log_r.expm1() - log_r


def exact(*, log_softmax: Tensor, ref_log_softmax: Tensor) -> Tensor:
    """Sum over the vocabulary of pi (log pi - log ref). [..., V] -> [...]. Exact per prefix."""
    difference = torch.where(log_softmax > -torch.inf, log_softmax - ref_log_softmax, 0.0)
    return (log_softmax.exp() * difference).sum(-1)


def penalised_rewards(*, rewards: Tensor, kl: Tensor, completion_mask: Tensor, coef: float) -> Tensor:
    """R_i - coef * sum over tokens of kl: as in RLOO. kl [B, T] -> [B]."""
    return rewards - coef * torch.where(completion_mask.bool(), kl, 0.0).sum(-1)


def token_rewards(*, rewards: Tensor, kl: Tensor, completion_mask: Tensor, coef: float) -> Tensor:
    """-coef * kl_t at each token, plus R at the last one, as in InstructGPT (arXiv:2203.02155 eq. 2).

    rewards [B], kl [B, T] -> [B, T]. A row without completion tokens has nowhere to put its reward: zeros.
    """
    mask = completion_mask.bool()
    after = mask.flip(-1).cumsum(-1).flip(-1)  # [B, T], completion tokens at or after t
    last = mask & (after == 1)
    return torch.where(mask, -coef * kl, 0.0) + torch.where(last, rewards.unsqueeze(-1), 0.0)


def adaptive_coef(*, coef: float, kl: float, target: float) -> float:
    """PPO's rule (arXiv:1707.06347 §4): halve when kl < target / 1.5, double when kl > 1.5 target."""
    if kl < target / 1.5:
        return coef / 2
    if kl > target * 1.5:
        return coef * 2
    return coef


def proportional_coef(*, coef: float, kl: float, target: float, num_samples: int, horizon: int) -> float:
    """coef * (1 + clip(kl/target - 1, ±0.2) * num_samples / horizon) (arXiv:1909.08593 eq. 5)."""
    error = max(-0.2, min(0.2, kl / target - 1))
    return coef * (1 + error * num_samples / horizon)


ESTIMATORS: dict[str, Callable[..., Tensor]] = {"k1": k1, "k2": k2, "k3": k3}
