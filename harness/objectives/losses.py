"""Unreduced policy losses and the importance ratios they take. Pure tensors in, tensors out.

Every loss has the same tensors, [B, T], so that they are interchangeable: `logprobs` (current policy, has
grad), `ratio` (from `importance_ratio`, has grad) and `advantages`; each ignores what its equation lacks.
Those of WHOLE_OUTPUTS take `completion_mask`, too.
Each returns (loss [B, T], metrics of [B, T]); the reducer masks padding and divides once for the whole
optimiser step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    Loss = tuple[Tensor, dict[str, Tensor]]

RatioLevel = Literal["token", "sequence", "sequence_mean"]

# exp(89) is inf in float32, and inf * 0 in the backward of a clipped token is NaN where the gradient is 0.
MAX_LOG_RATIO = 80.0


def importance_ratio(
    *, logprobs: Tensor, old_logprobs: Tensor, completion_mask: Tensor, level: RatioLevel
) -> Tensor:
    """Ratio of the current policy to the one that is held as old, [B, T], 1 outside the completion.

    token          pi(o_t) / pi_old(o_t), each token its own (PPO, arXiv:1707.06347 eq. 6; GRPO)
    sequence       pi(o|q) / pi_old(o|q) = the product over tokens, repeated at each token. Only the reducer
                   `sequence_mean` then gives each output's term once; another multiplies it by the length
    sequence_mean  s = sequence ** (1 / |o|) (GSPO, arXiv:2507.18071 eq. 7), with the gradient of eq. 14:
                   sg[s] * pi(o_t) / sg[pi(o_t)]. Summed over an output with one advantage this is eq. 5's
                   gradient
    """
    mask = completion_mask.bool()
    log_ratio = torch.where(mask, logprobs - old_logprobs, 0.0)  # [B, T], nats
    if level == "token":
        return _exp(log_ratio)
    total = log_ratio.sum(-1, keepdim=True)  # [B, 1]
    if level == "sequence":
        return torch.where(mask, _exp(total), 1.0)
    if level == "sequence_mean":
        mean = (total / mask.sum(-1, keepdim=True).clamp(min=1)).detach()  # [B, 1]
        return _exp(torch.where(mask, mean, 0.0) + (log_ratio - log_ratio.detach()))
    raise ValueError(f"ratio: unknown level '{level}'; choose token, sequence or sequence_mean")


@torch.no_grad()
def truncated_importance_weight(
    *,
    old_logprobs: Tensor,
    sampler_logprobs: Tensor,
    completion_mask: Tensor,
    cap: float,
    level: RatioLevel,
    drop_outside: bool = False,
    floor: float = 0.0,
) -> Tensor:
    """min(pi_old / pi_sampler, cap), no gradient, [B, T]: weighs a loss on another engine's samples.

    Truncated importance sampling (Ionides 2008; for sampler-trainer mismatch, Yao et al. 2025). 1 where the
    two agree. The levels are those of `importance_ratio`. With `drop_outside` the weight is the ratio within
    [floor, cap] and 0 outside: tokens (IcePop, arXiv:2510.18855), or whole outputs, are left out.
    """
    ratio = importance_ratio(
        logprobs=old_logprobs, old_logprobs=sampler_logprobs, completion_mask=completion_mask, level=level
    )
    if drop_outside:
        return torch.where((ratio >= floor) & (ratio <= cap), ratio, 0.0)
    return ratio.clamp(max=cap)


def nll(*, logprobs: Tensor, ratio: Tensor, advantages: Tensor) -> Loss:
    """-log pi(o_t) on rows that were accepted (advantage > 0), 0 on the others: SFT's cross entropy, nats."""
    accepted = advantages > 0
    return torch.where(accepted, -logprobs, 0.0), {"accepted": accepted.to(logprobs.dtype)}


def policy_gradient(*, logprobs: Tensor, ratio: Tensor, advantages: Tensor) -> Loss:
    """-A_t log pi(o_t): its gradient is REINFORCE's on samples of the current policy."""
    return -advantages * logprobs, {"ratio": ratio.detach()}


def surrogate(*, logprobs: Tensor, ratio: Tensor, advantages: Tensor) -> Loss:
    """-ratio_t A_t, unclipped (arXiv:1707.06347 eq. 6): what PPO's penalty-only form adds a KL to."""
    return -ratio * advantages, {"ratio": ratio.detach()}


def ppo_clip(
    *,
    logprobs: Tensor,
    ratio: Tensor,
    advantages: Tensor,
    clip_low: float,
    clip_high: float,
    dual_clip: float | None = None,
) -> Loss:
    """-min(ratio A, clip(ratio, 1-low, 1+high) A). PPO, arXiv:1707.06347 eq. 7; DAPO has low != high.

    `dual_clip` c > 1 bounds the loss of a negative advantage at -c A (arXiv:1912.09729 eq. 5); None leaves it
    out. With the ratio `sequence_mean` this is GSPO (arXiv:2507.18071 eq. 5). `clip_frac` marks a zeroed
    gradient.
    """
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high)  # [B, T]
    objective = torch.minimum(ratio * advantages, clipped * advantages)  # [B, T]
    if dual_clip is not None:
        objective = torch.where(advantages < 0, torch.maximum(objective, dual_clip * advantages), objective)
    low = (ratio < 1 - clip_low) & (advantages < 0)
    high = (ratio > 1 + clip_high) & (advantages > 0)
    metrics = {
        "ratio": ratio.detach(),
        "clip_frac": (low | high).to(ratio.dtype),
        "clip_low_frac": low.to(ratio.dtype),
        "clip_high_frac": high.to(ratio.dtype),
    }
    return -objective, metrics


def cispo(*, logprobs: Tensor, ratio: Tensor, advantages: Tensor, clip_low: float, clip_high: float) -> Loss:
    """-sg[clip(ratio, 1-low, 1+high)] A_t log pi(o_t) (CISPO, arXiv:2506.13585 eq. 4-5).

    No token loses its gradient. clip_low >= 1 leaves the lower side open, as the paper does.
    """
    weight = ratio.detach().clamp(1 - clip_low, 1 + clip_high)  # [B, T]
    metrics = {"ratio": ratio.detach(), "clip_frac": (weight != ratio.detach()).to(ratio.dtype)}
    return -weight * advantages * logprobs, metrics


def sapo(*, logprobs: Tensor, ratio: Tensor, advantages: Tensor, tau_low: float, tau_high: float) -> Loss:
    """-4/tau sigmoid(tau (ratio - 1)) A, tau_high where A > 0, else tau_low (SAPO, arXiv:2511.20347).

    A soft clip: the weight of the gradient is ratio at 1 and falls smoothly on both sides, faster with tau.
    """
    tau = torch.full_like(ratio, tau_low).masked_fill(advantages > 0, tau_high)
    gate = 4 / tau * torch.sigmoid(tau * (ratio - 1))
    return -gate * advantages, {"ratio": ratio.detach()}


def gmpo(
    *,
    logprobs: Tensor,
    ratio: Tensor,
    advantages: Tensor,
    completion_mask: Tensor,
    clip_low: float,
    clip_high: float,
) -> Loss:
    """-A exp(mean of an output's clipped log ratios): the geometric mean (GMPO, arXiv:2507.20673).

    A token's log ratio is held at clip_high where A > 0, and at -clip_low where A < 0. The gradient is each
    token's own, sg[mean] / sg[ratio] x ratio, as that of the ratio `sequence_mean`.
    """
    log_ratio = ratio.log()  # 0 outside the completion
    low = (log_ratio < -clip_low) & (advantages < 0)
    high = (log_ratio > clip_high) & (advantages > 0)
    held = torch.where(low, -clip_low, torch.where(high, clip_high, log_ratio))  # [B, T]
    mean = held.detach().sum(-1, keepdim=True) / completion_mask.sum(-1, keepdim=True).clamp(min=1)  # [B, 1]
    geometric = torch.where(completion_mask, (mean + (held - held.detach())).exp(), 1.0)
    metrics = {
        "ratio": ratio.detach(),
        "clip_frac": (low | high).to(ratio.dtype),
        "clip_low_frac": low.to(ratio.dtype),
        "clip_high_frac": high.to(ratio.dtype),
    }
    return -geometric * advantages, metrics


def topr(*, logprobs: Tensor, ratio: Tensor, advantages: Tensor) -> Loss:
    """-A log pi where A > 0, -sg[min(ratio, 1)] A log pi where A < 0 (TOPR, arXiv:2503.14286).

    For samples of another policy: good outputs count in full, a bad one the less the policy still gives it.
    The paper's ratio is that of the whole output: ratio=sequence, reduce=sequence_sum.
    """
    ratio = ratio.detach()
    weight = torch.where(advantages < 0, ratio.clamp(max=1.0), 1.0)
    return -weight * advantages * logprobs, {"ratio": ratio, "clip_frac": (weight != ratio).to(ratio.dtype)}


def _exp(log_ratio: Tensor) -> Tensor:
    return log_ratio.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()


LOSSES: dict[str, Callable[..., Loss]] = {
    "nll": nll,
    "policy_gradient": policy_gradient,
    "surrogate": surrogate,
    "ppo_clip": ppo_clip,
    "cispo": cispo,
    "sapo": sapo,
    "gmpo": gmpo,
    "topr": topr,
}
WHOLE_OUTPUTS = ("gmpo",)
