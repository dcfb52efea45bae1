"""From scored groups to optimiser steps: advantages, old and reference logprobs, minibatches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from harness.model.dims import forward_flops
from harness.model.policy import Policy
from harness.objectives.advantages import ADVANTAGES, of_sign, reinforce_pp
from harness.objectives.kl import adaptive_coef, k3, proportional_coef, token_rewards
from harness.objectives.selection import accepted
from harness.objectives.value import explained_variance
from harness.schema.objective_config import ObjectiveConfig
from harness.schema.run_config import RunConfig
from harness.training.batching import make_batch, minibatches, work
from harness.training.credit import credit, waits
from harness.training.critic import (
    Models,
    ValueModel,
    kl_over_vocabulary,
    trained_flops,
    value_flops,
    values_of,
)
from harness.training.gradient import accumulate, fill, fill_logprobs
from harness.training.memory import halving
from harness.training.optim import guarded_step, lr_at
from harness.training.process import process_advantages
from harness.types import Batch, ScoredGroup

Phase = Callable[[str], AbstractContextManager[None]]


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
    rewards = torch.tensor([r for g in groups for r in g.rewards], dtype=torch.float32)  # [B]
    mask, slot = batch.completion_mask, objective.advantage
    if waits(objective):
        batch.rewards = rewards
    elif slot.fn == "reinforce_pp":
        no_kl = torch.zeros_like(batch.old_logprobs)  # [B, T]
        per_token = token_rewards(rewards=rewards, kl=no_kl, completion_mask=mask, coef=0.0)
        batch.advantages = reinforce_pp(token_rewards=per_token, completion_mask=mask, eps=slot.eps)
    elif slot.fn == "process":
        outcome = bool(objective.reward.weights)
        batch.advantages = process_advantages(groups, batch, slot, outcome=outcome)
    else:
        batch.advantages = advantages_of(groups, objective)[:, None] * mask  # [B, T]
    batch.advantages = of_sign(batch.advantages, sign=slot.sign)
    return batch


def active_rows(batch: Batch, objective: ObjectiveConfig) -> Tensor:
    """Rows that have a gradient, indices [b]: the others stay in the denominator but need no forward pass."""
    if objective.kl.in_loss or objective.value is not None:
        return torch.arange(len(batch.lengths))
    return (batch.advantages != 0).any(-1).nonzero().squeeze(1)


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
    phase: Phase = lambda name: nullcontext(),
) -> dict[str, float]:
    """`epochs` × `minibatches` optimiser steps on one rollout batch; `old_logprobs` stay at the sampling
    weights.

    A step's denominator is taken over its whole minibatch, so microbatches do not change it. Metrics are
    means over the tokens of rows with a gradient, averaged over the optimiser steps. `kl_coef` None is the
    config's; another is what it has adapted to. `phase` times the pass over the reference. The metric
    `microbatch_tokens` is what it ended with; `*_tokens` are those of rows, prompts included, and `*_flops`
    those of what is computed, a prompt once.
    """
    objective, longest = config.objective, int(batch.lengths.max())
    models = Models(policy, reference, value, objective.kl.coef if kl_coef is None else kl_coef)
    trained: list[nn.Module] = [policy] if value is None else [policy, value]
    metrics: dict[str, float] = {}
    if waits(objective):
        metrics, config = halving(
            lambda config: _prepare(models, batch, config, phase), config, trained, longest=longest
        )
    rows = active_rows(batch, objective)
    active = torch.zeros(len(batch.lengths), dtype=torch.bool)  # [B]
    active[rows] = True
    parts = _minibatches(batch, objective, order)
    if not waits(objective):
        # The first minibatch meets the sampling weights: its own logprobs are its old ones.
        later = active.clone()
        later[parts[0]] = False
        own = later.nonzero().squeeze(1)
        metrics, config = halving(
            lambda config: _score(models, batch, own, rows, config, phase), config, trained, longest=longest
        )
    tally = _Tally()
    for index, part in enumerate(parts):
        step = partial(accumulate, models, batch, part, part[active[part]], on_policy=index == 0)
        found, config = halving(step, config, trained, longest=longest)
        if any(p.grad is not None for p in models.parameters):  # else no row of this minibatch has one
            number = num_updates_done + index
            tally.add(found, *_step(optimizer, models, config, number=number, total=num_updates_total))
    epochs = objective.updates.epochs
    metrics["trained_tokens"] = float(batch.lengths[rows].sum()) * epochs
    metrics["trained_flops"] = trained_flops(models, work(batch, rows)) * epochs
    return {**tally.means(), **metrics, "microbatch_tokens": float(config.trainer.microbatch_tokens)}


def _minibatches(batch: Batch, objective: ObjectiveConfig, order: torch.Generator) -> list[Tensor]:
    """The rows of each optimiser step, epoch after epoch."""
    slots = objective.updates
    num = min(slots.minibatches, len(batch.group_ids.unique()))  # an epoch's last offline batch may be short
    epochs = [minibatches(batch, num=num, unit="group", generator=order) for _ in range(slots.epochs)]
    return [part for epoch in epochs for part in epoch]


def _step(
    optimizer: torch.optim.Optimizer, models: Models, config: RunConfig, *, number: int, total: int
) -> tuple[float, float, bool]:
    """One guarded step: (learning rate, gradient norm before clipping, whether it was taken)."""
    trainer = config.trainer
    lr = lr_at(number, peak=trainer.lr, total=total, warmup=trainer.warmup_steps, schedule=trainer.schedule)
    norm, stepped = guarded_step(optimizer, models.parameters, lr=lr, max_grad_norm=trainer.max_grad_norm)
    return lr, norm, stepped


@dataclass
class _Tally:
    """Metrics summed over the optimiser steps of one rollout batch."""

    sums: dict[str, float] = field(default_factory=dict)
    num_steps: int = 0
    num_skipped: int = 0
    lr: float = 0.0

    def add(self, found: dict[str, float], lr: float, grad_norm: float, stepped: bool) -> None:
        for name, x in {**found, "grad_norm": grad_norm}.items():
            self.sums[name] = self.sums.get(name, 0.0) + x
        self.num_steps, self.num_skipped, self.lr = self.num_steps + 1, self.num_skipped + (not stepped), lr

    def means(self) -> dict[str, float]:
        """Means over the steps; the last learning rate; how many steps were taken and skipped."""
        return {
            **{name: x / max(1, self.num_steps) for name, x in {"grad_norm": 0.0, **self.sums}.items()},
            "lr": self.lr,
            "updates": float(self.num_steps - self.num_skipped),
            "skipped_updates": float(self.num_skipped),
        }


def _score(
    models: Models, batch: Batch, own: Tensor, theirs: Tensor, config: RunConfig, phase: Phase
) -> dict[str, float]:
    """Fill old logprobs of the rows `own` and reference logprobs of the rows `theirs`; tokens and FLOPs."""
    batch.old_logprobs = fill_logprobs(models.policy, batch, own, config)
    passes = [(models.policy, own)]
    if models.reference is not None:
        with phase("reference"):
            batch.ref_logprobs = fill_logprobs(models.reference, batch, theirs, config)
        passes.append((models.reference, theirs))
    return {
        "scored_tokens": sum(float(batch.lengths[rows].sum()) for _, rows in passes),
        "scored_flops": sum(forward_flops(model.dims, **work(batch, rows)) for model, rows in passes),
    }


def _prepare(models: Models, batch: Batch, config: RunConfig, phase: Phase) -> dict[str, float]:
    """Old and reference logprobs, values and advantages at the sampling weights, where advantages wait."""
    objective = config.objective
    rows, kl_exact, temperature = torch.arange(len(batch.lengths)), None, config.rollout.temperature
    device = models.policy.head_weight.device
    metrics = _score(models, batch, rows, rows, config, phase)
    if models.reference is not None and objective.kl.in_reward and objective.kl.estimator == "exact":
        kl_exact = fill(
            batch, rows, config, lambda packed: kl_over_vocabulary(models, packed, temperature), device=device
        )
    if models.value is not None:
        batch.values = fill(batch, rows, config, lambda packed: values_of(models, packed), device=device)
        metrics["scored_flops"] += value_flops(models, work(batch, rows))
    credit(batch, objective, kl_coef=models.kl_coef, kl_exact=kl_exact)
    batch.advantages = of_sign(batch.advantages, sign=objective.advantage.sign)
    if batch.values is None or batch.returns is None:
        return metrics
    explained = explained_variance(
        values=batch.values, returns=batch.returns, completion_mask=batch.completion_mask
    )
    return {**metrics, "explained_variance": float(explained)}


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
