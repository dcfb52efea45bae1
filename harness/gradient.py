"""The models' passes over a batch, by microbatches: logprobs without a gradient, the gradient of one step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from harness.batching import microbatches, move, take
from harness.config import RunConfig
from harness.critic import Models, critic_loss, kl_over_vocabulary
from harness.model import Policy, joined, token_logprobs
from harness.objectives.compose import policy_loss
from harness.objectives.reduce import counted_rows, denominator, reduce
from harness.types import Batch, LossOutput


@torch.no_grad()
def fill_logprobs(policy: Policy, batch: Batch, rows: Tensor, config: RunConfig) -> Tensor:
    """Logprobs [B, T] of `rows` under `policy`, 0 elsewhere."""
    return fill(batch, rows, config, lambda piece: _logprobs(policy, piece, config))


@torch.no_grad()
def fill(batch: Batch, rows: Tensor, config: RunConfig, of: Callable[[Batch], Tensor]) -> Tensor:
    """`of` some rows [b, t], for all of `rows`: [B, T], 0 elsewhere."""
    filled = torch.zeros_like(batch.old_logprobs)
    for part in microbatches(batch, token_budget=config.trainer.microbatch_tokens, rows=rows):
        found = of(take(batch, part))
        filled[part, : found.shape[1]] = found.cpu()
    return filled


def accumulate(
    models: Models, batch: Batch, part: Tensor, rows: Tensor, config: RunConfig, *, on_policy: bool
) -> dict[str, float]:
    """Gradients of one optimiser step, microbatch by microbatch; returns its metrics (token means)."""
    objective = config.objective
    step_rows = take(batch, part)
    counted = counted_rows(
        advantages=step_rows.advantages,
        completion_mask=step_rows.completion_mask,
        over=objective.reduce_over,
    )
    constant = config.rollout.max_new_tokens if objective.reduce == "constant" else None
    divisor = denominator(
        kind=objective.reduce, completion_mask=step_rows.completion_mask, counted=counted, constant=constant
    )
    num_tokens = float(batch.completion_mask[rows].sum())
    sums: dict[str, Tensor] = {}
    with joined(models.policy):
        for micro in microbatches(batch, token_budget=config.trainer.microbatch_tokens, rows=rows):
            found = _microbatch(models, batch, micro, config, divisor, num_tokens, on_policy=on_policy)
            for name, x in found.items():
                sums[name] = sums.get(name, 0.0) + x
    return {name: float(x) for name, x in sums.items()}  # read once: reading a number waits for a GPU


def _microbatch(
    models: Models,
    batch: Batch,
    rows: Tensor,
    config: RunConfig,
    divisor: float,
    num_tokens: float,
    *,
    on_policy: bool,
) -> dict[str, Tensor]:
    """Add the gradient of some rows; their shares of the step's metrics, which stay on the device."""
    objective = config.objective
    piece = move(take(batch, rows), models.policy.head_weight.device)
    mask = piece.completion_mask
    states: list[Tensor] | None = [] if models.shares_trunk else None
    logprobs = _logprobs(models.policy, piece, config, states)
    if on_policy:
        piece.old_logprobs = logprobs.detach()
        batch.old_logprobs[rows, : logprobs.shape[1]] = piece.old_logprobs.cpu()
    output = _policy_loss(models, piece, logprobs, config)
    loss = reduce(loss=output.loss, completion_mask=mask, kind=objective.reduce, denominator=divisor)
    token_metrics = dict(output.metrics)
    if "offline.sampler" not in objective.asks_teacher:
        token_metrics["sampler_gap"] = (piece.sampler_logprobs - piece.old_logprobs).abs()
    shares = {"loss": loss.detach()}
    if objective.value is not None:
        critic = critic_loss(models, piece, states, objective, token_metrics)
        loss = loss + critic / max(1.0, num_tokens)
    loss.backward()
    for name, x in token_metrics.items():
        shares[name] = torch.where(mask, x.detach(), 0.0).sum() / max(1.0, num_tokens)
    return shares


def _policy_loss(models: Models, piece: Batch, logprobs: Tensor, config: RunConfig) -> LossOutput:
    objective = config.objective
    kl, tis = objective.kl, objective.tis
    exact, temperature = kl.in_loss and kl.estimator == "exact", config.rollout.temperature
    return policy_loss(
        loss=objective.loss.fn,
        loss_params=objective.loss.params,
        ratio=objective.ratio,
        logprobs=logprobs,
        old_logprobs=piece.old_logprobs,
        advantages=piece.advantages,
        completion_mask=piece.completion_mask,
        sampler_logprobs=piece.sampler_logprobs,
        tis_cap=None if tis is None else tis.cap,
        tis_level="token" if tis is None else tis.level,
        ref_logprobs=piece.ref_logprobs,
        kl=kl.estimator if kl.in_loss else None,
        kl_coef=models.kl_coef,
        kl_against=kl.against,
        kl_exact=kl_over_vocabulary(models, piece, temperature) if exact else None,
    )


def _logprobs(
    policy: Policy, batch: Batch, config: RunConfig, states_out: list[Tensor] | None = None
) -> Tensor:
    moved = move(batch, policy.head_weight.device)
    logprobs, _ = token_logprobs(
        policy,
        moved.input_ids,
        moved.lengths,
        moved.completion_mask,
        temperature=config.rollout.temperature,
        states_out=states_out,
    )
    return logprobs
