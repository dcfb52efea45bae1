"""The models' passes over a batch, by microbatches: logprobs without a gradient, the gradient of one step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from harness.model.attention import pads
from harness.model.policy import Policy, joined, token_logprobs
from harness.model.rows import Prompts, Rows, onto, pack_rows
from harness.objectives.policy_loss import policy_loss
from harness.objectives.reduce import counted_rows, denominator, reduce
from harness.schema.run_config import RunConfig
from harness.training.batching import move, shared_microbatches, take
from harness.training.critic import Models, critic_loss, kl_over_vocabulary
from harness.training.distributed import over_processes, rank, summed, world_size
from harness.types import Batch, LossOutput


@torch.no_grad()
def fill_logprobs(policy: Policy, batch: Batch, rows: Tensor, config: RunConfig) -> Tensor:
    """Logprobs [B, T] of `rows` under `policy`, 0 elsewhere."""
    device = policy.head_weight.device
    return fill(batch, rows, config, lambda packed: _logprobs(policy, packed, config), device=device)


@torch.no_grad()
def fill(
    batch: Batch, rows: Tensor, config: RunConfig, of: Callable[[Rows], Tensor], *, device: torch.device
) -> Tensor:
    """`of` some rows [b, t], for all of `rows`: [B, T] on the CPU, 0 elsewhere; `of` computes on `device`."""
    filled = torch.zeros_like(batch.old_logprobs, device=device)
    padded = pads(device, getattr(torch, config.dtype))
    for part, counts in _shared(batch, rows, config, padded):
        found = of(_packed(batch, part, padded, device))
        if counts:
            _put(filled, part, found)
    return summed(filled, device).cpu()


def _put(filled: Tensor, rows: Tensor, found: Tensor) -> None:
    """Write `found` [b, t] into `rows` [b] of filled [B, T]."""
    filled[:, : found.shape[1]].index_copy_(0, onto(rows, filled.device), found.to(filled.dtype))


def _packed(batch: Batch, rows: Tensor, padded: bool, device: torch.device) -> Rows:
    some = take(batch, rows)
    prompts = Prompts(some.prompt_ids, some.prompt_lengths, padded)
    return pack_rows(some.input_ids, some.lengths, some.completion_mask, prompts=prompts, device=device)


def _shared(batch: Batch, rows: Tensor, config: RunConfig, padded: bool) -> list[tuple[Tensor, bool]]:
    return shared_microbatches(
        batch,
        token_budget=config.trainer.microbatch_tokens,
        rows=rows,
        rank=rank(),
        world_size=world_size(),
        padded=padded,
    )


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
    device = models.policy.head_weight.device
    old = torch.zeros_like(batch.old_logprobs, device=device) if on_policy else None
    held, padded = move(batch, device), pads(device, getattr(torch, config.dtype))
    with joined(models.policy):
        for micro, counts in _shared(batch, rows, config, padded):
            # Sharded gradients are means over the processes: times their number they add up to the whole.
            scale = float(world_size()) if counts else 0.0
            piece, packed = take(held, micro), _packed(batch, micro, padded, device)
            found, logprobs = _microbatch(
                models, piece, packed, config, divisor, num_tokens, on_policy=on_policy, scale=scale
            )
            if old is not None and counts:
                _put(old, micro, logprobs)
            for name, x in found.items() if counts else ():
                sums[name] = sums.get(name, 0.0) + x
    if old is not None:
        batch.old_logprobs[rows] = summed(old, device).cpu()[rows]
    return over_processes(sums, device)


def _microbatch(
    models: Models,
    piece: Batch,
    rows: Rows,
    config: RunConfig,
    divisor: float,
    num_tokens: float,
    *,
    on_policy: bool,
    scale: float,
) -> tuple[dict[str, Tensor], Tensor]:
    """Add `scale` × the gradient of some rows, `piece` and `rows`; their shares of the step's metrics and
    their logprobs [b, t], without gradient, all on the device.

    `on_policy`: the weights are those that sampled, so the old logprobs are these. Nothing here is read by
    the CPU, which runs ahead of a GPU.
    """
    objective = config.objective
    mask = piece.completion_mask
    states: list[Tensor] | None = [] if models.shares_trunk else None
    logprobs = _logprobs(models.policy, rows, config, states)
    if on_policy:
        piece.old_logprobs = logprobs.detach()
    output = _policy_loss(models, piece, rows, logprobs, config)
    loss = reduce(loss=output.loss, completion_mask=mask, kind=objective.reduce, denominator=divisor)
    token_metrics = dict(output.metrics)
    if "offline.sampler" not in objective.asks_teacher:
        token_metrics["sampler_gap"] = (piece.sampler_logprobs - piece.old_logprobs).abs()
    shares = {"loss": loss.detach()}
    if objective.value is not None:
        critic = critic_loss(models, piece, rows, states, objective, token_metrics)
        loss = loss + critic / max(1.0, num_tokens)
    (loss if scale == 1.0 else loss * scale).backward()
    for name, x in token_metrics.items():
        shares[name] = torch.where(mask, x.detach(), 0.0).sum() / max(1.0, num_tokens)
    return shares, logprobs.detach()


def _policy_loss(models: Models, piece: Batch, rows: Rows, logprobs: Tensor, config: RunConfig) -> LossOutput:
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
        kl_exact=kl_over_vocabulary(models, rows, temperature) if exact else None,
    )


def _logprobs(
    policy: Policy, rows: Rows, config: RunConfig, states_out: list[Tensor] | None = None
) -> Tensor:
    temperature = config.rollout.temperature
    return token_logprobs(policy, rows, temperature=temperature, states_out=states_out)[0]
