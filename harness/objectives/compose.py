"""The slots of an objective put together for one microbatch: ratio, loss, sampler correction, KL. Pure.

advantage slot -> Batch.advantages, once a rollout batch (advantages.py, value.py)
policy_loss    -> LossOutput [B, T], once a microbatch
reduce         -> scalar, with the optimiser step's own denominator (reduce.py)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

from harness.objectives.kl import ESTIMATORS, k3
from harness.objectives.losses import LOSSES, RatioLevel, importance_ratio, truncated_importance_weight
from harness.types import LossOutput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


def policy_loss(
    *,
    loss: str,
    loss_params: Mapping[str, float | None],
    ratio: RatioLevel,
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    completion_mask: Tensor,
    sampler_logprobs: Tensor | None = None,
    tis_cap: float | None = None,
    tis_level: RatioLevel = "token",
    ref_logprobs: Tensor | None = None,
    kl: str | None = None,
    kl_coef: float = 0.0,
    kl_against: Literal["ref", "old"] = "ref",
    kl_exact: Tensor | None = None,
) -> LossOutput:
    """loss(ratio, advantages) * truncated sampler weight + kl_coef * kl, unreduced. See losses.py and kl.py.

    Tensors [B, T], nats; `advantages` [B] or [B, T]. Padding may hold anything, NaN included: it is read as
    0. `tis_cap` None: no sampler correction. `kl` None: no KL term (a KL in the reward belongs to the
    advantages); "exact" takes `kl_exact` [B, T] from `kl.exact`. `kl_against` "old" is PPO's penalty
    KL(pi_old || pi), whose roles are swapped because the samples are pi_old's. Metrics: the loss's own, `kl`
    (k3 to the reference, if any), `kl_old` (k3 of KL(pi_old || pi)), `tis_weight`. Raises ValueError when a
    tensor that a slot needs is absent.
    """
    mask = completion_mask.bool()
    logprobs, old_logprobs = _inside(logprobs, mask), _inside(old_logprobs, mask)
    if advantages.dim() == 1:
        advantages = advantages.unsqueeze(-1)  # [B, 1]
    advantages = _inside(advantages.expand_as(logprobs), mask)  # [B, T]
    weights = importance_ratio(
        logprobs=logprobs, old_logprobs=old_logprobs, completion_mask=mask, level=ratio
    )  # [B, T]
    total, metrics = LOSSES[loss](logprobs=logprobs, ratio=weights, advantages=advantages, **loss_params)
    metrics["kl_old"] = k3(logprobs=old_logprobs, ref_logprobs=logprobs.detach())
    if tis_cap is not None:
        if sampler_logprobs is None:
            raise ValueError("tis_cap: set, but the rollouts have no sampler_logprobs; record them")
        tis = truncated_importance_weight(
            old_logprobs=old_logprobs,
            sampler_logprobs=_inside(sampler_logprobs, mask),
            completion_mask=mask,
            cap=tis_cap,
            level=tis_level,
        )
        total, metrics["tis_weight"] = total * tis, tis
    if ref_logprobs is not None:
        ref_logprobs = _inside(ref_logprobs, mask)
        metrics["kl"] = k3(logprobs=logprobs.detach(), ref_logprobs=ref_logprobs)
    if kl is not None:
        penalty = _penalty(kl, kl_against, logprobs, old_logprobs, ref_logprobs, kl_exact)
        total = total + kl_coef * penalty
    return LossOutput(loss=total, metrics=metrics)


def _penalty(
    kl: str, against: str, logprobs: Tensor, old: Tensor, ref: Tensor | None, exact: Tensor | None
) -> Tensor:
    if kl == "exact":
        if exact is None:
            raise ValueError("kl.estimator: exact needs the KL over the vocabulary; else use k1, k2 or k3")
        return exact
    if against == "old":
        return ESTIMATORS[kl](logprobs=old, ref_logprobs=logprobs)
    if ref is None:
        raise ValueError(f"kl.estimator: {kl} needs a reference policy's logprobs; set kl: null")
    return ESTIMATORS[kl](logprobs=logprobs, ref_logprobs=ref)


def _inside(x: Tensor, mask: Tensor) -> Tensor:
    """0 outside the mask, in value and in gradient."""
    return torch.where(mask, x, 0.0)
