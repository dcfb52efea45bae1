"""From scored groups to optimiser steps: advantages, old and reference logprobs, minibatches."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from harness.batching import make_batch, microbatches, minibatches, move, take
from harness.config import RunConfig
from harness.credit import credit, waits
from harness.critic import Models, ValueModel, critic_loss, kl_over_vocabulary, values_of
from harness.model import Policy, token_logprobs
from harness.objective_config import ObjectiveConfig
from harness.objectives.advantages import ADVANTAGES
from harness.objectives.compose import policy_loss
from harness.objectives.kl import adaptive_coef, k3, proportional_coef
from harness.objectives.reduce import counted_rows, denominator, reduce
from harness.objectives.value import explained_variance
from harness.optim import guarded_step, lr_at
from harness.process import process_advantages
from harness.select import accepted
from harness.types import Batch, LossOutput, ScoredGroup


def advantages_of(groups: Sequence[ScoredGroup], objective: ObjectiveConfig) -> Tensor:
    """One advantage a rollout, [B], in the order of `make_batch`; what selection leaves out gets 0."""
    rewards = torch.tensor([r for g in groups for r in g.rewards], dtype=torch.float32)  # [B]
    group_ids = torch.tensor([i for i, g in enumerate(groups) for _ in g.rewards])  # [B]
    slot = objective.advantage
    advantages = ADVANTAGES[slot.fn](rewards=rewards, group_ids=group_ids, **slot.params)
    if objective.selection.fn != "accepted":
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
    """The rows of every group with their advantages, or with their rewards where `credit` gives these."""
    batch = make_batch(groups, pad_id=0, mask_truncated=objective.truncated == "mask")
    if waits(objective):
        batch.rewards = torch.tensor([r for g in groups for r in g.rewards], dtype=torch.float32)  # [B]
    elif objective.advantage.fn == "process":
        outcome = bool(objective.reward.weights)
        batch.advantages = process_advantages(groups, batch, objective.advantage, outcome=outcome)
    else:
        batch.advantages = advantages_of(groups, objective)[:, None] * batch.completion_mask  # [B, T]
    return batch


def active_rows(batch: Batch, objective: ObjectiveConfig) -> Tensor:
    """Rows that have a gradient, indices [b]: the others stay in the denominator but need no forward pass."""
    if objective.kl.in_loss or objective.value is not None:
        return torch.arange(len(batch.lengths))
    return (batch.advantages != 0).any(-1).nonzero().squeeze(1)


@torch.no_grad()
def fill_logprobs(policy: Policy, batch: Batch, rows: Tensor, config: RunConfig) -> Tensor:
    """Logprobs [B, T] of `rows` under `policy`, 0 elsewhere."""
    return _fill(batch, rows, config, lambda piece: _logprobs(policy, piece, config))


@torch.no_grad()
def _fill(batch: Batch, rows: Tensor, config: RunConfig, of: Callable[[Batch], Tensor]) -> Tensor:
    filled = torch.zeros_like(batch.old_logprobs)
    for part in microbatches(batch, token_budget=config.trainer.microbatch_tokens, rows=rows):
        found = of(take(batch, part))
        filled[part, : found.shape[1]] = found.cpu()
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
    value: ValueModel | None = None,
    kl_coef: float | None = None,
) -> dict[str, float]:
    """`epochs` × `minibatches` optimiser steps on one rollout batch; `old_logprobs` stay at the sampling
    weights.

    A step's denominator is taken over its whole minibatch, so microbatches do not change it. Metrics are
    means over the tokens of rows with a gradient, averaged over the optimiser steps. `kl_coef` None is the
    config's; another is what it has adapted to.
    """
    objective, trainer = config.objective, config.trainer
    models = Models(policy, reference, value, objective.kl.coef if kl_coef is None else kl_coef)
    metrics = _prepare(models, batch, config)
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
    if not waits(objective):
        # The first minibatch meets the sampling weights: its own logprobs are its old ones.
        later = active.clone()
        later[parts[0]] = False
        batch.old_logprobs = fill_logprobs(policy, batch, later.nonzero().squeeze(1), config)
        if reference is not None:
            batch.ref_logprobs = fill_logprobs(reference, batch, rows, config)
    totals: dict[str, float] = {}
    grad_norms, skipped, lr = [], 0, 0.0
    trained: list[nn.Module] = [policy] if value is None else [policy, value]
    parameters = [p for module in trained for p in module.parameters()]
    for index, part in enumerate(parts):
        step_metrics = _accumulate(models, batch, part, part[active[part]], config, on_policy=index == 0)
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
        for name, x in step_metrics.items():
            totals[name] = totals.get(name, 0.0) + x
    taken = max(1, len(grad_norms))
    return {
        **{name: x / taken for name, x in totals.items()},
        **metrics,
        "grad_norm": sum(grad_norms) / taken,
        "lr": lr,
        "updates": float(len(grad_norms) - skipped),
        "skipped_updates": float(skipped),
        "trained_tokens": float(batch.lengths[rows].sum()) * slots.epochs,
    }


def _prepare(models: Models, batch: Batch, config: RunConfig) -> dict[str, float]:
    """Old and reference logprobs, values and advantages at the sampling weights, where advantages wait."""
    objective = config.objective
    if not waits(objective):
        return {}
    rows, kl_exact, temperature = torch.arange(len(batch.lengths)), None, config.rollout.temperature
    batch.old_logprobs = fill_logprobs(models.policy, batch, rows, config)
    if models.reference is not None:
        batch.ref_logprobs = fill_logprobs(models.reference, batch, rows, config)
        if objective.kl.in_reward and objective.kl.estimator == "exact":
            kl_exact = _fill(
                batch, rows, config, lambda piece: kl_over_vocabulary(models, piece, temperature)
            )
    if models.value is not None:
        batch.values = _fill(batch, rows, config, lambda piece: values_of(models, piece))
    credit(batch, objective, kl_coef=models.kl_coef, kl_exact=kl_exact)
    if batch.values is None or batch.returns is None:
        return {}
    explained = explained_variance(
        values=batch.values, returns=batch.returns, completion_mask=batch.completion_mask
    )
    return {"explained_variance": float(explained)}


def adapted_coef(policy: Policy, batch: Batch, *, config: RunConfig, kl_coef: float) -> float:
    """The KL coefficient of the next rollout batch, for the KL that this one shows, nats a token.

    against old: KL(pi_old || pi) after its updates, as in PPO. against ref: KL(pi_old || reference), the
    policy's that sampled.
    """
    kl = config.objective.kl
    assert kl.target is not None
    rows = active_rows(batch, config.objective)
    if kl.against == "old":
        other = fill_logprobs(policy, batch, rows, config)
    else:
        assert batch.ref_logprobs is not None
        other = batch.ref_logprobs
    mask = batch.completion_mask[rows]  # [b, T]
    estimates = k3(logprobs=batch.old_logprobs[rows], ref_logprobs=other[rows])[mask]
    measured = float(estimates.mean()) if len(estimates) else kl.target
    if kl.horizon is None:
        return adaptive_coef(coef=kl_coef, kl=measured, target=kl.target)
    return proportional_coef(
        coef=kl_coef, kl=measured, target=kl.target, num_samples=len(batch.lengths), horizon=kl.horizon
    )


def _accumulate(
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
    sums: dict[str, float] = {}
    for micro in microbatches(batch, token_budget=config.trainer.microbatch_tokens, rows=rows):
        piece = move(take(batch, micro), models.policy.head_weight.device)
        mask = piece.completion_mask
        states: list[Tensor] | None = [] if models.shares_trunk else None
        logprobs = _logprobs(models.policy, piece, config, states)
        if on_policy:
            piece.old_logprobs = logprobs.detach()
            batch.old_logprobs[micro, : logprobs.shape[1]] = piece.old_logprobs.cpu()
        output = _policy_loss(models, piece, logprobs, config)
        loss = reduce(loss=output.loss, completion_mask=mask, kind=objective.reduce, denominator=divisor)
        token_metrics = dict(output.metrics)
        if "offline.sampler" not in objective.asks_teacher:
            token_metrics["sampler_gap"] = (piece.sampler_logprobs - piece.old_logprobs).abs()
        sums["loss"] = sums.get("loss", 0.0) + float(loss.detach())
        if objective.value is not None:
            loss = loss + critic_loss(models, piece, states, objective, token_metrics) / max(1.0, num_tokens)
        loss.backward()
        for name, x in token_metrics.items():
            share = float(torch.where(mask, x.detach(), 0.0).sum()) / max(1.0, num_tokens)
            sums[name] = sums.get(name, 0.0) + share
    return sums


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
