"""Advantages of a rollout batch, whatever they need: rewards, steps, logprobs or values.

    fn             needs                           A, [B, T]
    group rules    rewards                         the rule of objectives.advantages, repeated at each token
    the same, with a KL in the reward              R - coef × KL of the whole output first (arXiv:2402.14740)
    reinforce_pp   rewards; a KL if in the reward  rewards to go, whitened over the batch (arXiv:2501.03262)
    process        step rewards                    normalised step rewards to go (arXiv:2402.03300 §4.1.3)
    gae            values; a KL if in the reward   -coef × KL of each token, the outcome's reward at the last
                                                   (arXiv:2203.02155), then GAE (arXiv:1506.02438)

The weights of either sign act last (`sign`, `positive_weight`, `negative_weight`). The KL is the sampling
policy's to the reference. Nothing here writes into a Batch: functions return another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from harness.objectives import kl
from harness.objectives.advantages import (
    ADVANTAGES,
    process_supervision,
    reinforce_pp,
    weigh_signs,
    whiten,
)
from harness.objectives.selection import accepted
from harness.objectives.value import gae
from harness.schema.objective_config import ObjectiveConfig
from harness.training.batching import make_batch
from harness.training.own_functions import own_advantage
from harness.types import Batch, ScoredGroup


def needs_model_scores(objective: ObjectiveConfig) -> bool:
    """True if advantages depend on values or on a KL in the reward, which models must compute first."""
    return objective.advantage.fn == "gae" or objective.kl.in_reward


def build_batch(groups: Sequence[ScoredGroup], objective: ObjectiveConfig) -> Batch:
    """The rows of every group, with their advantages unless these need the models' scores."""
    batch = make_batch(groups, pad_id=0, mask_truncated=objective.truncated == "mask")
    return batch if needs_model_scores(objective) else with_advantages(batch, objective, groups=groups)


def with_advantages(
    batch: Batch,
    objective: ObjectiveConfig,
    *,
    groups: Sequence[ScoredGroup] = (),
    kl_coef: float = 0.0,
    kl_exact: Tensor | None = None,
) -> Batch:
    """The batch with `advantages` [B, T] (and `returns` under GAE), by the table of this module.

    `groups`, which the rows came from, are read by process supervision and by the selection "accepted".
    `kl_exact` [B, T] is the KL over the vocabulary, for the estimator exact in the reward.
    """
    slot, mask, returns = objective.advantage, batch.completion_mask, None
    penalty = _kl_in_reward(batch, objective, kl_exact)  # [B, T]
    if slot.fn == "process":
        advantages = process_advantages(groups, batch, objective)
    elif slot.fn in ("gae", "reinforce_pp"):
        rewards = kl.token_rewards(rewards=batch.rewards, kl=penalty, completion_mask=mask, coef=kl_coef)
        if slot.fn == "reinforce_pp":
            advantages = reinforce_pp(token_rewards=rewards, completion_mask=mask, eps=slot.eps)
        else:
            advantages, returns = _gae(rewards, batch, objective)
    else:
        rewards = kl.penalised_rewards(rewards=batch.rewards, kl=penalty, completion_mask=mask, coef=kl_coef)
        rule = ADVANTAGES[slot.fn] if slot.custom is None else own_advantage(slot.custom)
        per_row = rule(rewards=rewards, group_ids=batch.group_ids, **slot.params)  # [B]
        advantages = per_row[:, None] * mask
    if objective.selection.fn == "accepted":
        advantages = torch.where(_accepted_rows(groups, objective)[:, None], advantages, 0.0)
    return replace(batch, advantages=weigh_signs(advantages, **slot.sign_weights), returns=returns)


def active_rows(batch: Batch, objective: ObjectiveConfig) -> Tensor:
    """Rows that have a gradient, indices [b]: the others stay in the denominator but need no forward pass."""
    acts_everywhere = objective.kl.in_loss or objective.entropy_coef
    if acts_everywhere or objective.value is not None or objective.loss.custom is not None:
        return torch.arange(len(batch.lengths))
    return (batch.advantages != 0).any(-1).nonzero().squeeze(1)


def process_advantages(groups: Sequence[ScoredGroup], batch: Batch, objective: ObjectiveConfig) -> Tensor:
    """Normalised step rewards of a group, summed over the steps that end at or after a token, [B, T].

    If outputs have a reward of their own, the answer is the last step, at the output's last token. An output
    cut right after a statement has both there: two steps, each normalised, then added up.
    """
    steps: list[tuple[int, int, float]] = []  # row, token, reward
    rows = [(group, i) for group in groups for i in range(len(group.rollouts))]
    for row, (group, i) in enumerate(rows):
        start, length = len(group.prompt.token_ids), len(group.rollouts[i].completion_ids)
        assert group.step_rewards is not None
        steps += [(row, start + place, reward) for place, reward in group.step_rewards[i]]
        if objective.reward.weights:
            steps.append((row, start + length - 1, group.rewards[i]))
    return process_supervision(
        step_rewards=torch.tensor([reward for *_, reward in steps], dtype=batch.advantages.dtype),
        step_rows=torch.tensor([row for row, *_ in steps], dtype=torch.long),
        step_ends=torch.tensor([token for _, token, _ in steps], dtype=torch.long),
        completion_mask=batch.completion_mask,
        group_ids=batch.group_ids,
        std=objective.advantage.std,
        eps=objective.advantage.eps,
    )


def _kl_in_reward(batch: Batch, objective: ObjectiveConfig, kl_exact: Tensor | None) -> Tensor:
    """KL(sampling policy || reference) of each token, nats [B, T]; zeros without a KL in the reward."""
    if not objective.kl.in_reward:
        return torch.zeros_like(batch.old_logprobs)
    if objective.kl.estimator == "exact":
        assert kl_exact is not None
        return kl_exact
    assert batch.ref_logprobs is not None
    estimate = kl.ESTIMATORS[objective.kl.estimator]
    return estimate(logprobs=batch.old_logprobs, ref_logprobs=batch.ref_logprobs)


def _gae(token_rewards: Tensor, batch: Batch, objective: ObjectiveConfig) -> tuple[Tensor, Tensor]:
    """(advantages, returns), [B, T] each; advantages are whitened if the value slot asks for it."""
    slot, mask = objective.value, batch.completion_mask
    assert slot is not None and batch.values is not None
    advantages, returns = gae(
        rewards=token_rewards, values=batch.values, completion_mask=mask, gamma=slot.gamma, lam=slot.lam
    )
    return whiten(advantages, completion_mask=mask, eps=1e-8) if slot.whiten else advantages, returns


def _accepted_rows(groups: Sequence[ScoredGroup], objective: ObjectiveConfig) -> Tensor:
    """True for the rollouts that rejection sampling accepts, bool [B], in the order of the batch."""
    chosen = accepted(
        groups,
        threshold=objective.advantage.threshold,
        cap_per_problem=objective.selection.cap_per_problem,
        dedupe=objective.selection.dedupe,
    )
    ids = {id(rollout) for group in chosen for rollout in group.rollouts}
    return torch.tensor([id(rollout) in ids for group in groups for rollout in group.rollouts])
