"""From scored groups to optimiser steps: advantages, old and reference logprobs, minibatches."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from harness.batching import make_batch, microbatches, minibatches, take
from harness.config import ObjectiveConfig, RunConfig
from harness.model import Policy, token_logprobs
from harness.objectives.advantages import ADVANTAGES
from harness.objectives.compose import policy_loss
from harness.objectives.reduce import counted_rows, denominator, reduce
from harness.optim import guarded_step, lr_at
from harness.select import accepted
from harness.types import Batch, ScoredGroup


def advantages_of(groups: Sequence[ScoredGroup], objective: ObjectiveConfig) -> Tensor:
    """One advantage a rollout, [B], in the order of `make_batch`; what selection leaves out gets 0."""
    rewards = torch.tensor([r for g in groups for r in g.rewards], dtype=torch.float32)  # [B]
    group_ids = torch.tensor([i for i, g in enumerate(groups) for _ in g.rewards])  # [B]
    slot = objective.advantage
    advantages = ADVANTAGES[slot.fn](rewards=rewards, group_ids=group_ids, **slot.params)
    if objective.selection.fn == "all":
        return advantages
    kept = accepted(
        groups,
        threshold=slot.threshold,
        cap_per_problem=objective.selection.cap_per_problem,
        dedupe=objective.selection.dedupe,
    )
    chosen = {id(rollout) for group in kept for rollout in group.rollouts}
    keep = torch.tensor([id(r) in chosen for g in groups for r in g.rollouts])  # [B]
    return torch.where(keep, advantages, 0.0)


def build_batch(groups: Sequence[ScoredGroup], objective: ObjectiveConfig) -> Batch:
    batch = make_batch(groups, pad_id=0)
    batch.advantages = advantages_of(groups, objective)[:, None] * batch.completion_mask  # [B, T]
    return batch


def active_rows(batch: Batch, objective: ObjectiveConfig) -> Tensor:
    """Rows that have a gradient, indices [b]: the others stay in the denominator but need no forward pass."""
    if objective.kl.coef > 0:
        return torch.arange(len(batch.lengths))
    return (batch.advantages != 0).any(-1).nonzero().squeeze(1)


@torch.no_grad()
def fill_logprobs(policy: Policy, batch: Batch, rows: Tensor, config: RunConfig) -> Tensor:
    """Logprobs [B, T] of `rows` under `policy`, 0 elsewhere."""
    filled = torch.zeros_like(batch.old_logprobs)
    for part in microbatches(batch, token_budget=config.trainer.microbatch_tokens, rows=rows):
        logprobs, _ = _logprobs(policy, take(batch, part), config)
        filled[part, : logprobs.shape[1]] = logprobs.cpu()
    return filled


def update(
    policy: Policy,
    reference: Policy | None,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    *,
    config: RunConfig,
    order: torch.Generator,
    num_updates_done: int,
    num_updates_total: int,
) -> dict[str, float]:
    """`epochs` × `minibatches` optimiser steps on one rollout batch; `old_logprobs` stay at the sampling
    weights.

    A step's denominator is taken over its whole minibatch, so microbatches do not change it. Metrics are
    means over the tokens of rows with a gradient, averaged over the optimiser steps.
    """
    objective, trainer = config.objective, config.trainer
    rows = active_rows(batch, objective)
    slots = objective.updates
    num = min(slots.minibatches, len(batch.group_ids.unique()))  # an epoch's last offline batch may be short
    parts = [
        part
        for _ in range(slots.epochs)
        for part in minibatches(batch, num=num, unit="group", generator=order)
    ]
    active = torch.zeros(len(batch.lengths), dtype=torch.bool)
    active[rows] = True
    # The first minibatch meets the sampling weights: its own logprobs are its old ones.
    later = active.clone()
    later[parts[0]] = False
    batch.old_logprobs = fill_logprobs(policy, batch, later.nonzero().squeeze(1), config)
    if reference is not None:
        batch.ref_logprobs = fill_logprobs(reference, batch, rows, config)
    totals: dict[str, float] = {}
    grad_norms, skipped, lr = [], 0, 0.0
    parameters = list(policy.parameters())
    for index, part in enumerate(parts):
        metrics = _accumulate(policy, batch, part, part[active[part]], config, on_policy=index == 0)
        if all(p.grad is None for p in parameters):
            continue  # no row of this minibatch has a gradient
        lr = lr_at(
            num_updates_done + index,
            peak=trainer.lr,
            total=num_updates_total,
            warmup=trainer.warmup_steps,
            schedule=trainer.schedule,
        )
        norm, stepped = guarded_step(optimizer, parameters, lr=lr, max_grad_norm=trainer.max_grad_norm)
        skipped += not stepped
        grad_norms.append(norm)
        for name, value in metrics.items():
            totals[name] = totals.get(name, 0.0) + value
    taken = max(1, len(grad_norms))
    means = {name: value / taken for name, value in totals.items()}
    return {
        **means,
        "grad_norm": sum(grad_norms) / taken,
        "lr": lr,
        "updates": float(len(grad_norms) - skipped),
        "skipped_updates": float(skipped),
        "trained_tokens": float(batch.lengths[rows].sum()) * slots.epochs,
    }


def _accumulate(
    policy: Policy, batch: Batch, part: Tensor, rows: Tensor, config: RunConfig, *, on_policy: bool
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
    sums: dict[str, float] = {}
    for micro in microbatches(batch, token_budget=config.trainer.microbatch_tokens, rows=rows):
        piece = take(batch, micro)
        logprobs, _ = _logprobs(policy, piece, config)
        mask = piece.completion_mask.to(logprobs.device)
        if on_policy:
            batch.old_logprobs[micro, : logprobs.shape[1]] = logprobs.detach().cpu()
        old = logprobs.detach() if on_policy else piece.old_logprobs.to(logprobs.device)
        output = policy_loss(
            loss=objective.loss.fn,
            loss_params=objective.loss.params,
            ratio=objective.ratio,
            logprobs=logprobs,
            old_logprobs=old,
            advantages=piece.advantages.to(logprobs.device),
            completion_mask=mask,
            ref_logprobs=None if piece.ref_logprobs is None else piece.ref_logprobs.to(logprobs.device),
            kl=objective.kl.estimator if objective.kl.coef > 0 else None,
            kl_coef=objective.kl.coef,
        )
        loss = reduce(loss=output.loss, completion_mask=mask, kind=objective.reduce, denominator=divisor)
        loss.backward()
        gap = (piece.sampler_logprobs.to(logprobs.device) - old).abs()
        sums["loss"] = sums.get("loss", 0.0) + float(loss.detach())
        for name, value in {**output.metrics, "sampler_gap": gap}.items():
            share = float(torch.where(mask, value.detach(), 0.0).sum()) / max(1.0, num_tokens)
            sums[name] = sums.get(name, 0.0) + share
    return sums


def _logprobs(policy: Policy, batch: Batch, config: RunConfig) -> tuple[Tensor, Tensor | None]:
    device = policy.head_weight.device
    return token_logprobs(
        policy,
        batch.input_ids.to(device),
        batch.lengths.to(device),
        batch.completion_mask.to(device),
        temperature=config.rollout.temperature,
    )
