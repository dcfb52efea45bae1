"""The models' passes over a batch, by microbatches: scores without a gradient, the gradient of one step.

`batch` is a whole rollout batch and `rows` are indices into it; `micro` is the Batch of a microbatch's rows,
and `packed` the same rows as a model takes them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from harness.model.attention import pads
from harness.model.entropy import chunked_entropy
from harness.model.fused import unpack
from harness.model.policy import Policy, joined, token_logprobs
from harness.model.rows import Prompts, Rows, pack_rows, to_device
from harness.objectives.policy_loss import EntropyBonus, KLPenalty, SamplerCorrection, policy_loss
from harness.objectives.reduce import counted_rows, denominator, reduce
from harness.schema.loss_config import TISConfig
from harness.schema.run_config import RunConfig
from harness.training.batching import move, shared_microbatches, take
from harness.training.critic import critic_loss
from harness.training.distributed import all_reduce_dict, all_reduce_sum, meet, rank, world_size
from harness.training.exact_kl import exact_kl
from harness.training.memory import out_of_memory_together
from harness.training.models import Models
from harness.training.own_functions import own_loss
from harness.training.parallel import is_sharded
from harness.types import Batch


@torch.no_grad()
def batch_logprobs(policy: Policy, batch: Batch, rows: Tensor, config: RunConfig) -> Tensor:
    """Logprobs [B, T] of `rows` under `policy`, 0 elsewhere, on the CPU."""
    device = policy.head_weight.device
    compute = partial(_logprobs, policy, config=config)
    return by_microbatch(batch, rows, config, compute, device=device, in_step=is_sharded(policy))


@torch.no_grad()
def batch_entropy(policy: Policy, batch: Batch, config: RunConfig) -> Tensor:
    """Entropy [B, T] of the policy's distribution at each completion token, nats, 0 elsewhere, on the CPU."""
    rows, temperature = torch.arange(len(batch.lengths)), config.rollout.temperature

    def entropy(packed: Rows) -> Tensor:
        found = token_logprobs(policy, packed, temperature=temperature, with_entropy=True)[1]
        assert found is not None
        return found

    device = policy.head_weight.device
    return by_microbatch(batch, rows, config, entropy, device=device, in_step=is_sharded(policy))


@torch.no_grad()
def by_microbatch(
    batch: Batch,
    rows: Tensor,
    config: RunConfig,
    compute: Callable[[Rows], Tensor],
    *,
    device: torch.device,
    in_step: bool,
) -> Tensor:
    """`compute` [b, t] of each microbatch of `rows`, put together: [B, T] on the CPU, 0 elsewhere.

    `in_step`: a model that it asks has its weights in shards, so that every process must make as many passes.
    """
    if not len(rows):
        return torch.zeros_like(batch.old_logprobs)
    meet()
    whole = torch.zeros_like(batch.old_logprobs, device=device)
    padded = pads(device, getattr(torch, config.dtype))
    with out_of_memory_together(config):
        for part, counts in _microbatches(batch, rows, config, padded, in_step=in_step):
            values = compute(_pack(batch, part, padded, device))
            if counts:
                _put(whole, part, values)
    return all_reduce_sum(whole, device).cpu()


def _put(whole: Tensor, rows: Tensor, values: Tensor) -> None:
    """Write `values` [b, t] into `rows` [b] of whole [B, T]."""
    whole[:, : values.shape[1]].index_copy_(0, to_device(rows, whole.device), values.to(whole.dtype))


def _pack(batch: Batch, rows: Tensor, padded: bool, device: torch.device) -> Rows:
    micro = take(batch, rows)
    prompts = Prompts(micro.prompt_ids, micro.prompt_lengths, padded)
    return pack_rows(micro.input_ids, micro.lengths, micro.completion_mask, prompts=prompts, device=device)


def _microbatches(
    batch: Batch, rows: Tensor, config: RunConfig, padded: bool, *, in_step: bool
) -> list[tuple[Tensor, bool]]:
    """This process's microbatches of `rows`, and whether each counts or only keeps the processes in step."""
    return shared_microbatches(
        batch,
        token_budget=config.trainer.microbatch_tokens,
        rows=rows,
        rank=rank(),
        world_size=world_size(),
        padded=padded,
        in_step=in_step,
    )


@dataclass(frozen=True, slots=True)
class _Step:
    """What the microbatches of one optimiser step share."""

    denominator: float  # of the loss: rows or tokens of the whole step
    num_tokens: float  # completion tokens of the rows with a gradient, which metrics are means over
    kl_coef: float
    on_policy: bool  # the weights are those that sampled


def accumulate(
    models: Models,
    batch: Batch,
    step_rows: Tensor,
    rows: Tensor,
    config: RunConfig,
    *,
    kl_coef: float,
    on_policy: bool,
) -> tuple[dict[str, float], Tensor | None]:
    """Add up the gradient of one optimiser step, microbatch by microbatch.

    `step_rows` are all rows of the step, which its denominator counts; `rows` those of them with a gradient.
    Returns the step's metrics (token means) and, if `on_policy`, the logprobs [B, T] of `rows` on the CPU, 0
    elsewhere: they are the old logprobs of later steps.
    """
    step = _Step(
        denominator=_denominator(batch, step_rows, config),
        num_tokens=float(batch.completion_mask[rows].sum()),
        kl_coef=kl_coef,
        on_policy=on_policy,
    )
    sums: dict[str, Tensor] = {}
    device = models.policy.head_weight.device
    old = torch.zeros_like(batch.old_logprobs, device=device) if on_policy else None
    on_device, padded = move(batch, device), pads(device, getattr(torch, config.dtype))
    # Gradients in shards are means over the processes: times their number they add up to the whole.
    whole = float(world_size()) if is_sharded(models.policy) else 1.0
    meet()
    with out_of_memory_together(config), joined(models.policy):
        for part, counts in _microbatches(batch, rows, config, padded, in_step=models.in_step):
            scale = whole if counts else 0.0
            micro, packed = take(on_device, part), _pack(batch, part, padded, device)
            metrics, logprobs = _backward(models, micro, packed, config, step, scale=scale)
            if old is not None and counts:
                _put(old, part, logprobs)
            for name, x in metrics.items() if counts else ():
                sums[name] = sums.get(name, 0.0) + x
    old_logprobs = None if old is None else all_reduce_sum(old, device).cpu()
    return all_reduce_dict(sums, device), old_logprobs


def _denominator(batch: Batch, step_rows: Tensor, config: RunConfig) -> float:
    """The loss's denominator over all rows of an optimiser step, whatever their microbatches."""
    objective, step = config.objective, take(batch, step_rows)
    counted = step.counted
    if counted is None:
        counted = counted_rows(
            advantages=step.advantages, completion_mask=step.completion_mask, over=objective.reduce_over
        )
    constant = config.rollout.max_new_tokens if objective.reduce == "constant" else None
    return denominator(
        kind=objective.reduce, completion_mask=step.completion_mask, counted=counted, constant=constant
    )


def _backward(
    models: Models, micro: Batch, packed: Rows, config: RunConfig, step: _Step, *, scale: float
) -> tuple[dict[str, Tensor], Tensor]:
    """Add `scale` × a microbatch's gradient; its shares of the step's metrics and its logprobs [b, t].

    Both are without gradient and on the device. Nothing here is read by the CPU, which runs ahead of a GPU.
    A loss in whose denominator nothing of the step counts leaves no gradient, not one of 0, on which momentum
    and weight decay would act. Every rank knows the denominators, so all decide alike.
    """
    objective, mask, value = config.objective, micro.completion_mask, models.value
    shares_states = (value is not None and value.trunk is None) or objective.entropy_coef
    states: list[Tensor] | None = [] if shares_states else None
    logprobs = _logprobs(models.policy, packed, config, states)
    if step.on_policy:
        micro = replace(micro, old_logprobs=logprobs.detach())
    own = objective.loss.custom
    output = policy_loss(
        loss=objective.loss.fn if own is None else own_loss(own),
        loss_params=objective.loss.params,
        ratio=objective.ratio,
        logprobs=logprobs,
        old_logprobs=micro.old_logprobs,
        advantages=micro.advantages,
        completion_mask=mask,
        sampler_logprobs=micro.sampler_logprobs,
        ref_logprobs=micro.ref_logprobs,
        tis=_sampler_correction(objective.tis),
        kl=_kl_penalty(models, packed, config, step.kl_coef),
        bonus=_entropy_bonus(models.policy, packed, config, states),
    )
    loss = logprobs.new_zeros(())
    if step.num_tokens and step.denominator:
        loss = reduce(
            loss=output.loss, completion_mask=mask, kind=objective.reduce, denominator=step.denominator
        )
    per_token, shares = dict(output.metrics), {"loss": loss.detach()}
    if "offline.sampler" not in objective.asks_teacher and not objective.uses_references:
        per_token["sampler_gap"] = (micro.sampler_logprobs - micro.old_logprobs).abs()
    if (slot := objective.value) is not None and value is not None and step.num_tokens:
        critic = critic_loss(
            value,
            models.policy,
            micro,
            packed,
            states=states[0] if states and value.trunk is None else None,
            clip=slot.clip,
        )
        per_token |= critic.metrics
        loss = loss + slot.coef * torch.where(mask, critic.loss, 0.0).sum() / step.num_tokens
    if loss.requires_grad:
        (loss if scale == 1.0 else loss * scale).backward()
    for name, x in per_token.items():
        shares[name] = torch.where(mask, x.detach(), 0.0).sum() / max(1.0, step.num_tokens)
    return shares, logprobs.detach()


def _kl_penalty(models: Models, packed: Rows, config: RunConfig, kl_coef: float) -> KLPenalty | None:
    """The KL term of the loss; None where there is none or it is in the reward."""
    kl = config.objective.kl
    if not kl.in_loss:
        return None
    exact = None
    if kl.estimator == "exact":
        assert models.reference is not None
        temperature = config.rollout.temperature
        exact = exact_kl(models.policy, models.reference, packed, temperature=temperature)  # [b, t]
    return KLPenalty(kl.estimator, kl_coef, kl.against, exact, kl.ratio_weighted)


def _sampler_correction(tis: TISConfig | None) -> SamplerCorrection | None:
    if tis is None:
        return None
    return SamplerCorrection(tis.cap, tis.level, tis.outside == "drop", tis.floor or 0.0)


def _entropy_bonus(
    policy: Policy, packed: Rows, config: RunConfig, states: list[Tensor] | None
) -> EntropyBonus | None:
    """The entropy term of the loss, from the states [M, D] that predict the wanted tokens; None without."""
    coef = config.objective.entropy_coef
    if not coef:
        return None
    assert states
    factors, temperature = policy.head_factors(states[0]), config.rollout.temperature
    entropy = chunked_entropy(*factors, temperature=temperature, fp32=policy.fp32_head)
    return EntropyBonus(coef, unpack(entropy, packed.at, *packed.shape))


def _logprobs(
    policy: Policy, packed: Rows, config: RunConfig, states_out: list[Tensor] | None = None
) -> Tensor:
    temperature = config.rollout.temperature
    return token_logprobs(policy, packed, temperature=temperature, states_out=states_out)[0]
