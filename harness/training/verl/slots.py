"""An objective's slots as verl calls them: its own advantage, and its own ratio and loss.

verl looks both up by name (`register.py`) and passes padded tensors of completions alone, [B, T]. The config
is that of the run whose path stands in the environment (`run_config`), since verl passes none of it.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.objectives.advantages import ADVANTAGES, reinforce_pp, weigh_signs
from harness.objectives.kl import ESTIMATORS
from harness.objectives.policy_loss import policy_loss
from harness.schema.objective_config import ObjectiveConfig
from harness.schema.run_config import RunConfig

NAME = "r1"  # of both functions in verl's registries
CONFIG = "R1_VERL_CONFIG"  # environment variable: the file with the run's config
REDUCERS = {
    "token_mean": "token-mean",
    "sequence_mean": "seq-mean-token-mean",
    "sequence_sum": "seq-mean-token-sum",
    "constant": "seq-mean-token-sum-norm",
}


def run_config() -> RunConfig:
    """The config of the run that this process of verl works for."""
    return _read(os.environ[CONFIG])


@lru_cache(maxsize=1)
def _read(path: str) -> RunConfig:
    return RunConfig.model_validate_json(Path(path).read_text(encoding="utf-8"))


def advantages(
    token_level_rewards: Tensor, response_mask: Tensor, index: Any, config: Any = None, **unused: Any
) -> tuple[Tensor, Tensor]:
    """(advantages, returns) [B, T] of a rollout batch, as training.advantages makes them.

    `token_level_rewards` [B, T] hold the reward at a completion's last token, less coef x KL at each token
    where the penalty is in the reward. `index` [B] names each row's prompt.
    """
    slot, mask = run_config().objective.advantage, response_mask.bool()
    given: dict[str, Any] = slot.params
    if slot.fn == "reinforce_pp":
        found = reinforce_pp(token_rewards=token_level_rewards, completion_mask=mask, eps=slot.eps)
    else:
        _, numbers = np.unique(np.asarray(index, dtype=str), return_inverse=True)
        group_ids = torch.as_tensor(numbers, device=token_level_rewards.device)
        per_row = ADVANTAGES[slot.fn](
            rewards=token_level_rewards.sum(-1), group_ids=group_ids, **given
        )  # [B]
        found = per_row[:, None] * mask  # [B, T]
    found = weigh_signs(found, **slot.sign_weights)
    return found, found


def loss(
    old_log_prob: Tensor,
    log_prob: Tensor,
    advantages: Tensor,
    response_mask: Tensor,
    loss_agg_mode: str = "token-mean",
    config: Any = None,
    rollout_is_weights: Tensor | None = None,
) -> tuple[Tensor, dict[str, float]]:
    """A microbatch's share of the policy's loss, and means of its metrics over the microbatch's tokens.

    All tensors [B, T], nats; `config` is verl's, with the denominators of the whole optimiser step.
    `rollout_is_weights` are those of `objective.tis`.
    """
    from verl.trainer.ppo.core_algos import agg_loss

    objective = run_config().objective
    total, per_token = token_loss(
        objective, old_log_prob, log_prob, advantages, response_mask, weights=rollout_is_weights
    )
    reduced = agg_loss(
        loss_mat=total, loss_mask=response_mask, loss_agg_mode=loss_agg_mode, **config.global_batch_info
    )
    inside = response_mask.bool()
    count = max(1, int(inside.sum()))
    means = {f"{NAME}/{name}": float(x.detach()[inside].sum()) / count for name, x in per_token.items()}
    return reduced, means


def token_loss(
    objective: ObjectiveConfig,
    old_logprobs: Tensor,
    logprobs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    weights: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss [B, T] without the KL to a reference and the entropy, which verl adds, and its metrics."""
    output = policy_loss(
        loss=objective.loss.fn,
        loss_params=objective.loss.params,
        ratio=objective.ratio,
        logprobs=logprobs,
        old_logprobs=old_logprobs,
        advantages=advantages,
        completion_mask=mask,
    )
    total = output.loss if weights is None else output.loss * weights
    kl = objective.kl
    if kl.in_loss and kl.against == "old":
        penalty = ESTIMATORS[kl.estimator](logprobs=old_logprobs, ref_logprobs=logprobs)  # [B, T]
        total = total + kl.coef * torch.where(mask.bool(), penalty, 0.0)
    return total, output.metrics
