"""What each token is credited with once logprobs and values are known: a KL in the reward, GAE.

The other advantages depend on rewards alone and are in the batch before any model sees it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from harness.objectives import kl
from harness.objectives.advantages import ADVANTAGES, reinforce_pp, whiten
from harness.objectives.value import gae
from harness.schema.objective_config import ObjectiveConfig
from harness.types import Batch


def waits(objective: ObjectiveConfig) -> bool:
    """Whether advantages need logprobs or values, so that `credit` gives them."""
    return objective.advantage.fn == "gae" or objective.kl.in_reward


def credit(batch: Batch, objective: ObjectiveConfig, *, kl_coef: float, kl_exact: Tensor | None) -> None:
    """Fill `advantages` (and `returns`) from rewards, old and reference logprobs and values, in place.

    gae           -coef × KL of each token, the outcome's reward at the last (arXiv:2203.02155), then GAE
    reinforce_pp  the same token rewards, summed to come and whitened over the batch (arXiv:2501.03262)
    others        R - coef × KL of the whole output (RLOO, arXiv:2402.14740), then their own rule

    The KL is of the sampling policy to the reference; `kl_exact` [B, T] is it for the estimator exact.
    """
    assert batch.rewards is not None
    slot, mask = objective.advantage, batch.completion_mask
    penalty = torch.zeros_like(batch.old_logprobs)  # [B, T]
    if objective.kl.in_reward:
        assert batch.ref_logprobs is not None
        estimator = objective.kl.estimator
        if estimator == "exact":
            assert kl_exact is not None
            penalty = kl_exact
        else:
            penalty = kl.ESTIMATORS[estimator](logprobs=batch.old_logprobs, ref_logprobs=batch.ref_logprobs)
    if slot.fn not in ("gae", "reinforce_pp"):
        rewards = kl.penalised_rewards(rewards=batch.rewards, kl=penalty, completion_mask=mask, coef=kl_coef)
        advantages = ADVANTAGES[slot.fn](rewards=rewards, group_ids=batch.group_ids, **slot.params)
        batch.advantages = advantages[:, None] * mask
        return
    rewards = kl.token_rewards(rewards=batch.rewards, kl=penalty, completion_mask=mask, coef=kl_coef)
    if slot.fn == "reinforce_pp":
        batch.advantages = reinforce_pp(token_rewards=rewards, completion_mask=mask, eps=slot.eps)
        return
    value = objective.value
    assert value is not None and batch.values is not None
    batch.advantages, batch.returns = gae(
        rewards=rewards, values=batch.values, completion_mask=mask, gamma=value.gamma, lam=value.lam
    )
    if value.whiten:
        batch.advantages = whiten(batch.advantages, completion_mask=mask, eps=1e-8)
