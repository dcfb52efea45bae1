"""The critic: generalised advantage estimation, the value loss, explained variance. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


@torch.no_grad()
def gae(
    *,
    rewards: Tensor,
    values: Tensor,
    completion_mask: Tensor,
    gamma: float,
    lam: float,
) -> tuple[Tensor, Tensor]:
    """A_t = sum_l (gamma lam)^l delta_{t+l}, delta_t = r_t + gamma V_{t+1} - V_t. arXiv:1506.02438 eq. 16.

    rewards, values [B, T]: `values[:, t]` is V before token t is emitted. Every output is taken as ended, one
    that was cut too: the value after its last token is 0. Masked positions inside a row (tokens the policy
    did not write) are stepped over. Returns (advantages, returns = advantages + values), 0 outside the
    completion.
    """
    mask = completion_mask.bool()
    next_value = torch.zeros_like(values[:, 0])  # [B]
    next_advantage = torch.zeros_like(next_value)  # [B]
    advantages = torch.zeros_like(values)  # [B, T]
    for t in range(values.shape[1] - 1, -1, -1):
        here = mask[:, t]  # [B]
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        next_advantage = torch.where(here, delta + gamma * lam * next_advantage, next_advantage)
        next_value = torch.where(here, values[:, t], next_value)
        advantages[:, t] = torch.where(here, next_advantage, 0.0)
    return advantages, torch.where(mask, advantages + values, 0.0)


def value_loss(
    *, values: Tensor, old_values: Tensor, returns: Tensor, clip: float | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """(V - R)^2 / 2; with `clip`, the larger of that and the same with V held within ±clip of old_values.

    The clipped form is PPO's reference implementation's, not the paper's. [B, T] -> [B, T], in reward units
    squared.
    """
    plain = (values - returns).square()  # [B, T]
    if clip is None:
        return 0.5 * plain, {"value_clip_frac": torch.zeros_like(plain)}
    held = old_values + (values - old_values).clamp(-clip, clip)  # [B, T]
    clipped = (held - returns).square()  # [B, T]
    return 0.5 * torch.maximum(plain, clipped), {"value_clip_frac": (clipped > plain).to(plain.dtype)}


@torch.no_grad()
def explained_variance(*, values: Tensor, returns: Tensor, completion_mask: Tensor) -> Tensor:
    """1 - Var(R - V) / Var(R) over completion tokens: 1 is a perfect critic, 0 a constant one. Scalar.

    0 when the returns vary by no more than the rounding of advantages + values: there is nothing to explain.
    """
    mask = completion_mask.bool()
    inside, error = returns[mask], (returns - values)[mask]  # [num_tokens]
    if inside.numel() == 0:
        return torch.zeros((), dtype=returns.dtype, device=returns.device)
    scale = torch.maximum(inside.abs().max(), values[mask].abs().max())
    if bool(inside.max() - inside.min() <= 16 * torch.finfo(returns.dtype).eps * scale):
        return torch.zeros((), dtype=returns.dtype, device=returns.device)
    return 1 - error.var(correction=0) / inside.var(correction=0)
