"""From a batch to optimiser steps: old and reference logprobs, values, minibatches, guarded steps."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor

from harness.model.dims import forward_flops
from harness.model.policy import Policy
from harness.objectives.advantages import top_entropy
from harness.objectives.kl import adaptive_coef, k3, proportional_coef
from harness.objectives.reduce import counted_rows
from harness.objectives.value import explained_variance
from harness.schema.objective_config import ObjectiveConfig
from harness.schema.run_config import RunConfig
from harness.training.advantages import active_rows, needs_model_scores, with_advantages
from harness.training.batching import minibatches, work
from harness.training.critic import token_values
from harness.training.depth import gap_by_depth
from harness.training.exact_kl import exact_kl
from harness.training.flops import trained_flops, value_flops
from harness.training.gradient import accumulate, batch_entropy, batch_logprobs, by_microbatch
from harness.training.memory import halving
from harness.training.models import Models
from harness.training.optim import guarded_step, lr_at
from harness.types import Batch

Phase = Callable[[str], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class UpdateResult:
    """What the optimiser steps on one rollout batch gave, and what they cost.

    `batch` has the old and reference logprobs, values and advantages that the steps used. `*_tokens` are
    those of rows, prompts included; `*_flops` those of what is computed, a prompt that rows share once.
    `scored` counts the passes without a gradient. `microbatch_tokens` is what is left of the config's after
    running out of memory.
    """

    metrics: dict[str, float]
    batch: Batch
    trained_tokens: int
    trained_flops: float
    scored_tokens: int
    scored_flops: float
    microbatch_tokens: int


def update(
    models: Models,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    *,
    config: RunConfig,
    order: torch.Generator,
    num_updates_done: int,
    num_updates_total: int,
    kl_coef: float | None = None,
    phase: Phase = lambda name: nullcontext(),
) -> UpdateResult:
    """Take `epochs` × `minibatches` optimiser steps on one rollout batch, which is left as it was.

    Old logprobs stay at the sampling weights. A step's denominator is taken over its whole minibatch, so
    microbatches do not change it. Metrics are means over the tokens of rows with a gradient, averaged over
    the optimiser steps. `kl_coef` None is the config's; another is what it has adapted to. `phase` times the
    pass over the reference.
    """
    objective, longest = config.objective, int(batch.lengths.max())
    kl_coef = objective.kl.coef if kl_coef is None else kl_coef
    parts = _minibatches(batch, objective, order)
    score = partial(_score, models, batch, parts[0], kl_coef=kl_coef, phase=phase)
    scored, config = halving(score, config, models.trained, longest=longest)
    batch = scored.batch
    rows = active_rows(batch, objective)
    active = torch.zeros(len(batch.lengths), dtype=torch.bool)  # [B]
    active[rows] = True
    tally = _Tally()
    for index, part in enumerate(parts):
        step_rows = part[active[part]]
        on_policy = index == 0 and not config.old_is_sampler
        step = partial(accumulate, models, batch, part, step_rows, kl_coef=kl_coef, on_policy=on_policy)
        (metrics, logprobs), config = halving(step, config, models.trained, longest=longest)
        if logprobs is not None:
            batch = _with_old_logprobs(batch, step_rows, logprobs)
        if any(p.grad is not None for p in models.parameters):  # else nothing of this minibatch counts
            number = num_updates_done + index
            tally.add(metrics, *_step(optimizer, models, config, number=number, total=num_updates_total))
    epochs = objective.updates.epochs
    return UpdateResult(
        metrics=tally.means() | _explained_variance(batch) | _gaps(batch, rows, objective),
        batch=batch,
        trained_tokens=int(batch.lengths[rows].sum()) * epochs,
        trained_flops=trained_flops(models, work(batch, rows)) * epochs,
        scored_tokens=scored.tokens,
        scored_flops=scored.flops,
        microbatch_tokens=config.trainer.microbatch_tokens,
    )


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


def _with_old_logprobs(batch: Batch, rows: Tensor, logprobs: Tensor) -> Batch:
    """The batch with `logprobs` [B, T] as the old logprobs of `rows`."""
    old = batch.old_logprobs.clone()
    old[rows] = logprobs[rows]
    return replace(batch, old_logprobs=old)


def _explained_variance(batch: Batch) -> dict[str, float]:
    if batch.values is None or batch.returns is None:
        return {}
    mask = batch.completion_mask
    explained = explained_variance(values=batch.values, returns=batch.returns, completion_mask=mask)
    return {"explained_variance": float(explained)}


def _gaps(batch: Batch, rows: Tensor, objective: ObjectiveConfig) -> dict[str, float]:
    """The sampler's gap by depth, where the policy that trains is the one that sampled."""
    if "offline.sampler" in objective.asks_teacher or objective.uses_references:
        return {}
    return gap_by_depth(batch, rows)


@dataclass
class _Tally:
    """Metrics summed over the optimiser steps of one rollout batch."""

    sums: dict[str, float] = field(default_factory=dict)
    num_steps: int = 0
    num_skipped: int = 0
    lr: float = 0.0

    def add(self, metrics: dict[str, float], lr: float, grad_norm: float, stepped: bool) -> None:
        for name, x in {**metrics, "grad_norm": grad_norm}.items():
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


@dataclass(frozen=True, slots=True)
class _Scored:
    """A batch with what models say at the sampling weights, and the tokens and FLOPs of asking them."""

    batch: Batch
    tokens: int
    flops: float


def _score(
    models: Models, batch: Batch, first: Tensor, config: RunConfig, *, kl_coef: float, phase: Phase
) -> _Scored:
    """Score the batch at the sampling weights, for the rows that need it.

    Where advantages depend on scores, all rows are scored and then get their advantages. Else the rows with a
    gradient are; those of the `first` minibatch meet the sampling weights, so that their own logprobs will be
    their old ones.
    """
    objective = config.objective
    if needs_model_scores(objective):
        rows = torch.arange(len(batch.lengths))
        scored = _with_logprobs(models, batch, rows, rows, config, phase)
        scored = _with_model_advantages(models, scored, config, kl_coef)
    else:
        rows = active_rows(batch, objective)
        later = rows[~torch.isin(rows, first)]
        scored = _with_logprobs(models, batch, later, rows, config, phase)
    return scored if objective.advantage.entropy_share is None else _at_high_entropy(models, scored, config)


def _at_high_entropy(models: Models, scored: _Scored, config: RunConfig) -> _Scored:
    """The scored batch with the advantages of its tokens of the highest entropy alone.

    The indicator of arXiv:2506.01939 stands in the numerator alone, over sum_i |o_i|. So the denominator
    counts the rows that it would count without it, also those none of whose tokens is chosen.
    """
    share, batch = config.objective.advantage.entropy_share, scored.batch
    assert share is not None
    entropy = batch_entropy(models.policy, batch, config)
    counted = counted_rows(
        advantages=batch.advantages,
        completion_mask=batch.completion_mask,
        over=config.objective.reduce_over,
    )
    advantages = top_entropy(
        batch.advantages, entropy=entropy, completion_mask=batch.completion_mask, share=share
    )
    return _Scored(
        replace(batch, advantages=advantages, counted=counted),
        tokens=scored.tokens + int(batch.lengths.sum()),
        flops=scored.flops
        + forward_flops(models.policy.dims, **work(batch, torch.arange(len(batch.lengths)))),
    )


def _with_logprobs(
    models: Models, batch: Batch, rows: Tensor, ref_rows: Tensor, config: RunConfig, phase: Phase
) -> _Scored:
    """The batch with the old logprobs of `rows` and the reference logprobs of `ref_rows`."""
    ref_logprobs, passes = batch.ref_logprobs, []
    if config.old_is_sampler:
        old_logprobs = batch.sampler_logprobs
    else:
        old_logprobs = batch_logprobs(models.policy, batch, rows, config)
        passes.append((models.policy, rows))
    if models.reference is not None:
        with phase("reference"):
            ref_logprobs = batch_logprobs(models.reference, batch, ref_rows, config)
        passes.append((models.reference, ref_rows))
    return _Scored(
        replace(batch, old_logprobs=old_logprobs, ref_logprobs=ref_logprobs),
        tokens=sum(int(batch.lengths[some].sum()) for _, some in passes),
        flops=sum(forward_flops(model.dims, **work(batch, some)) for model, some in passes),
    )


def _with_model_advantages(models: Models, scored: _Scored, config: RunConfig, kl_coef: float) -> _Scored:
    """The scored batch with values, if a critic gives them, and the advantages that follow."""
    batch, objective, policy, flops = scored.batch, config.objective, models.policy, scored.flops
    estimator = objective.kl.estimator
    rows, device, kl_exact = torch.arange(len(batch.lengths)), policy.head_weight.device, None
    if (reference := models.reference) is not None and objective.kl.in_reward and estimator == "exact":
        kl = partial(exact_kl, policy, reference, temperature=config.rollout.temperature)
        kl_exact = by_microbatch(batch, rows, config, kl, device=device, in_step=models.in_step)  # [B, T]
    if models.value is not None:
        values = partial(token_values, models.value, policy)
        found = by_microbatch(batch, rows, config, values, device=device, in_step=models.in_step)
        batch = replace(batch, values=found)
        flops += value_flops(models.value, work(batch, rows))
    batch = with_advantages(batch, objective, kl_coef=kl_coef, kl_exact=kl_exact)
    return replace(scored, batch=batch, flops=flops)


def adapted_coef(policy: Policy, batch: Batch, *, config: RunConfig, kl_coef: float) -> float:
    """The KL coefficient of the next rollout batch, for the KL that this one shows, nats per token.

    against old: KL(pi_old || pi) after its updates, as in PPO. against ref: KL(pi_old || reference), the
    policy's that sampled. Every sample counts, also one whose advantage is 0: a KL has no sign to select by.
    """
    kl = config.objective.kl
    assert kl.target is not None
    if kl.against == "old":
        other = batch_logprobs(policy, batch, torch.arange(len(batch.lengths)), config)
    else:
        assert batch.ref_logprobs is not None
        other = batch.ref_logprobs
    estimates = k3(logprobs=batch.old_logprobs, ref_logprobs=other)[batch.completion_mask]  # [num_tokens]
    measured = float(estimates.mean()) if len(estimates) else kl.target
    if kl.horizon is None:
        return adaptive_coef(coef=kl_coef, kl=measured, target=kl.target)
    return proportional_coef(
        coef=kl_coef, kl=measured, target=kl.target, num_samples=len(batch.lengths), horizon=kl.horizon
    )
