"""The slots of an objective put together for one microbatch: ratio, loss, sampler correction, KL. Pure.

advantage slot -> Batch.advantages, once a rollout batch (advantages.py, value.py)
policy_loss    -> LossOutput [B, T], once a microbatch
reduce         -> scalar, with the optimiser step's own denominator (reduce.py)

What each YAML of conf/objective minimises, as its paper writes it (there J = -loss is maximised). Outputs
o_i, i = 1..G, of a prompt q with rewards R_i; r_t = pi(o_t) / pi_old(o_t); clip_t(A) =
min(r_t A_t, clip(r_t, 1 - eps_low, 1 + eps_high) A_t); k3 = pi_ref/pi - 1 - log(pi_ref/pi).

sft_rejection          -1/N sum_i 1[R_i > 0] sum_t log pi(o_it) (STaR, arXiv:2203.14465; RFT, 2308.01825), N
                       by `reduce` and `reduce_over`: of all samples or the accepted, tokens or outputs
sft_rejection_offline  the same on outputs of the base, sampled once, over epochs
cold_start             the same on the problems' own solutions, N their tokens (DeepSeek-R1, arXiv:2501.12948
                       section 2.3.1)
distill                the same on a teacher's outputs (DeepSeek-R1, arXiv:2501.12948 section 2.4)
distill_on_policy      sum_t sum_v pi(v) log(pi(v) / pi_teacher(v)), o ~ pi: reverse KL
                       (GKD, arXiv:2306.13649)
pg                     -1/G sum_i (R_i - mean R) sum_t log pi(o_it) (REINFORCE, Williams 1992)
ppo_clip               -E_t[clip_t(A)] (arXiv:1707.06347 eq. 7), A by GAE, + the value loss (eq. 9, value.py)
ppo_kl                 -E_t[r_t A_t - beta KL(pi_old || pi)] (eq. 8), beta doubled or halved (section 4)
ppo                    -E_t[clip_t(A) - beta KL(pi_old || pi)]: both
rlhf_ppo               PPO on R(q, o) - beta log(pi(o) / pi_SFT(o)), token by token (InstructGPT,
                       arXiv:2203.02155 eq. 2 without its pretraining term). Unlike there, the critic starts
                       from the base, not from the reward model, and R is that model's sigmoid, P(right),
                       not its logit
grpo                   -1/G sum_i 1/|o_i| sum_t (clip_t(A) - beta k3) (DeepSeekMath, arXiv:2402.03300 eq. 3,
                       k3 its eq. 4), A_i = (R_i - mean R) / std R; its gradient at r = 1 is -1/G sum_i
                       1/|o_i| sum_t (A_it + beta (pi_ref/pi - 1)) grad log pi(o_it) (eq. 21)
grpo_format_only       the same with R_i = 1[o_i ends and has an answer], right or wrong: a control
grpo_process           the same with A_it = sum over steps j of o_i that end at or after t of
                       (R_ij - mean R) / std R, over all steps of the group (section 4.1.3)
grpo_prm               the same, R_ij a learned process reward's (Math-Shepherd, arXiv:2312.08935)
dr_grpo                -1/(G L) sum_i sum_t clip_t(A), A_i = R_i - mean R, L a constant (arXiv:2503.20783)
dapo                   -1/(sum_i |o_i|) sum_i sum_t clip_t(A), eps_low < eps_high, groups with
                       0 < number right < G (arXiv:2503.14476 eq. 8, 11), R with the soft overlong punishment
                       (eq. 13)
rloo                   -1/G sum_i (R_i - mean of the other R) log pi(o_i) (arXiv:2402.14740), as one clipped
                       ratio of the whole output, pi(o_i) / pi_old(o_i), for several updates
reinforce_pp           -E_t[clip_t(A)], A_t = R - beta sum over s >= t of KL_s, normalised over the batch
                       (arXiv:2501.03262)
gspo                   -1/G sum_i min(s_i A_i, clip(s_i) A_i), s_i = (pi(o_i) / pi_old(o_i)) ** (1/|o_i|)
                       (arXiv:2507.18071 eq. 5, 7), A as in grpo
cispo                  -1/(sum_i |o_i|) sum_i sum_t sg[clip(r_t)] A_it log pi(o_it)
                       (arXiv:2506.13585 eq. 4, 5)
max_rl                 -E_t[clip_t(A)], A_i = (R_i - mean R) / mean R (arXiv:2602.02710)
pass_k                 -E_t[clip_t(A)], A_i the mean over the k-subsets of the group with o_i of their best
                       reward, less that over all of them, over its std (arXiv:2508.10751)
w_reinforce            -1/G sum_i A_i sum_t log pi(o_it), A_i = 0.1 for a right output, -1 for a wrong one
                       (W-REINFORCE, arXiv:2506.01347)
sapo                   -1/G sum_i 1/|o_i| sum_t 4/tau sigmoid(tau (r_t - 1)) A_i, tau by the sign of A_i
                       (arXiv:2511.20347), A as in grpo
gmpo                   -1/G sum_i A_i (product over t of the clipped r_t) ** (1/|o_i|) (arXiv:2507.20673),
                       A as in grpo
topr                   -1/G sum_i w_i A_i sum_t log pi(o_it), A_i = ±1, w_i = 1 if A_i > 0 and else
                       min(pi(o_i) / pi_old(o_i), 1), without gradient (arXiv:2503.14286)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from harness.objectives.kl import ESTIMATORS, k3
from harness.objectives.losses import (
    LOSSES,
    WHOLE_OUTPUTS,
    RatioLevel,
    importance_ratio,
    truncated_importance_weight,
)
from harness.types import LossOutput

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor


@dataclass(frozen=True, slots=True)
class SamplerCorrection:
    """The slot `tis`: every token's loss is weighed by min(pi_old / pi_sampler, cap), at this level.

    With `drop_outside` the weight is the ratio within [floor, cap], and 0 outside.
    """

    cap: float
    level: RatioLevel = "token"
    drop_outside: bool = False
    floor: float = 0.0


@dataclass(frozen=True, slots=True)
class KLPenalty:
    """The slot `kl` where it is a term of the loss: coef * estimator, k1, k2, k3 or exact.

    `against` "old" is PPO's penalty KL(pi_old || pi), whose roles are swapped because the samples are
    pi_old's. The estimator "exact" takes `exact` [B, T], nats, from `kl.exact`. `ratio_weighted`: times
    pi / pi_old of each token, with its gradient (DeepSeek-V3.2, arXiv:2512.02556).
    """

    estimator: str
    coef: float
    against: Literal["ref", "old"] = "ref"
    exact: Tensor | None = None
    ratio_weighted: bool = False


@dataclass(frozen=True, slots=True)
class EntropyBonus:
    """The slot `entropy_coef`: the loss less coef * entropy [B, T], nats, whose gradient acts."""

    coef: float
    entropy: Tensor


def policy_loss(
    *,
    loss: str | Callable[..., tuple[Tensor, dict[str, Tensor]]],
    loss_params: Mapping[str, float | None],
    ratio: RatioLevel,
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    completion_mask: Tensor,
    sampler_logprobs: Tensor | None = None,
    ref_logprobs: Tensor | None = None,
    tis: SamplerCorrection | None = None,
    kl: KLPenalty | None = None,
    bonus: EntropyBonus | None = None,
) -> LossOutput:
    """loss(ratio, advantages) * truncated sampler weight + KL - entropy, unreduced. See losses.py and kl.py.

    Tensors [B, T], nats; `advantages` [B] or [B, T]. Padding may hold anything, NaN included: it is read as
    0. `kl` None: no KL term (a KL in the reward belongs to the advantages). Metrics: the loss's own, `kl` (k3
    to the reference, if any), `kl_old` (k3 of KL(pi_old || pi)), `tis_weight`, `entropy_exact` (of a bonus).
    Raises ValueError when a tensor that a slot needs is absent. `loss` is a name of LOSSES, or a function
    that takes `completion_mask` as well.
    """
    mask = completion_mask.bool()
    logprobs, old_logprobs = _zero_outside(logprobs, mask), _zero_outside(old_logprobs, mask)
    if advantages.dim() == 1:
        advantages = advantages.unsqueeze(-1)  # [B, 1]
    advantages = _zero_outside(advantages.expand_as(logprobs), mask)  # [B, T]
    weights = importance_ratio(
        logprobs=logprobs, old_logprobs=old_logprobs, completion_mask=mask, level=ratio
    )  # [B, T]
    given = {"logprobs": logprobs, "ratio": weights, "advantages": advantages}
    if not isinstance(loss, str) or loss in WHOLE_OUTPUTS:
        given["completion_mask"] = mask
    total, metrics = (LOSSES[loss] if isinstance(loss, str) else loss)(**given, **loss_params)
    metrics["kl_old"] = k3(logprobs=old_logprobs, ref_logprobs=logprobs.detach())
    if tis is not None:
        weight = _sampler_weight(tis, old_logprobs, sampler_logprobs, mask)  # [B, T]
        total, metrics["tis_weight"] = total * weight, weight
    if ref_logprobs is not None:
        ref_logprobs = _zero_outside(ref_logprobs, mask)
        metrics["kl"] = k3(logprobs=logprobs.detach(), ref_logprobs=ref_logprobs)
    if kl is not None:
        total = total + kl.coef * _penalty(kl, logprobs, old_logprobs, ref_logprobs)
    if bonus is not None:
        entropy = _zero_outside(bonus.entropy, mask)
        total, metrics["entropy_exact"] = total - bonus.coef * entropy, entropy.detach()
    return LossOutput(loss=total, metrics=metrics)


def _sampler_weight(
    tis: SamplerCorrection, old_logprobs: Tensor, sampler_logprobs: Tensor | None, mask: Tensor
) -> Tensor:
    if sampler_logprobs is None:
        raise ValueError("tis.cap: set, but the rollouts have no sampler_logprobs; record them")
    return truncated_importance_weight(
        old_logprobs=old_logprobs,
        sampler_logprobs=_zero_outside(sampler_logprobs, mask),
        completion_mask=mask,
        cap=tis.cap,
        level=tis.level,
        drop_outside=tis.drop_outside,
        floor=tis.floor,
    )


def _penalty(kl: KLPenalty, logprobs: Tensor, old_logprobs: Tensor, ref_logprobs: Tensor | None) -> Tensor:
    if kl.estimator == "exact":
        if kl.exact is None:
            raise ValueError("kl.estimator: exact needs the KL over the vocabulary; else use k1, k2 or k3")
        return kl.exact
    if kl.against == "old":
        return ESTIMATORS[kl.estimator](logprobs=old_logprobs, ref_logprobs=logprobs)
    if ref_logprobs is None:
        raise ValueError(f"kl.estimator: {kl.estimator} needs a reference policy's logprobs; set kl: null")
    estimate = ESTIMATORS[kl.estimator](logprobs=logprobs, ref_logprobs=ref_logprobs)
    if not kl.ratio_weighted:
        return estimate
    everywhere = torch.ones_like(logprobs, dtype=torch.bool)  # both are 0 outside the completion
    ratio = importance_ratio(
        logprobs=logprobs, old_logprobs=old_logprobs, completion_mask=everywhere, level="token"
    )
    return ratio * estimate


def _zero_outside(x: Tensor, mask: Tensor) -> Tensor:
    """0 outside the mask, in value and in gradient."""
    return torch.where(mask, x, 0.0)
