"""Weights from the trainer to the engine, and the check that the engine samples from them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from harness.model.policy import token_logprobs
from harness.model.rows import pack_rows
from harness.schema.run_config import RunConfig
from harness.seeds import derive
from harness.training.experience import problems_at
from harness.training.parallel import hub_weights
from harness.training.run_state import Run
from harness.types import SamplingParams

# Enough tokens to tell stale weights from rounding, few enough not to be felt.
CHECK_SAMPLES, CHECK_TOKENS = 4, 16
ROUNDINGS = 3

Check = tuple[Tensor, Tensor, Tensor]  # tokens, the engine's logprobs, the trainer's


def sync(run: Run) -> tuple[float, bool]:
    """Give the engine the policy's weights: (`sampler_trainer_kl`, nats per token; whether it is stale).

    The KL's limit leaves room for rounding, so a small update that never arrives may stay below it. Therefore
    every check asks for the same samples, and the engine is also stale if its tokens and logprobs have not
    changed by a bit since an earlier check, while the trainer's logprobs of them have drifted by more than
    ROUNDINGS times their distance from the engine's at that check. An engine whose sums differ from call to
    call escapes this.
    """
    with run.timed("sync"):
        run.engine.load_weights(hub_weights(run.models.policy))
    with run.timed("sync_check"):
        then, now = run.current.last_check, checked(run)
    if then is not None and torch.equal(then[0], now[0]) and torch.equal(then[1], now[1]):
        return sampler_trainer_kl(now), _drifted(then, now)
    run.current.last_check = now
    return sampler_trainer_kl(now), False


def _drifted(then: Check, now: Check) -> bool:
    """True if the trainer's logprobs have moved since `then` by more than rounding.

    They may differ without an update, when a kernel is chosen anew, and an update may be too small for the
    engine's dtype.
    """
    rounding = max(float((then[2] - then[1]).abs().mean()), 1e-7)
    return float((now[2] - then[2]).abs().mean()) > ROUNDINGS * rounding


def max_kl(config: RunConfig) -> float:
    """Largest `sampler_trainer_kl` that rounding explains; stale weights exceed it."""
    rollout = config.rollout
    if rollout.max_sampler_kl is not None:
        return rollout.max_sampler_kl
    dtype = config.dtype if rollout.vllm.dtype == "auto" else rollout.vllm.dtype
    return 1e-5 if dtype == "float32" else 1e-2


def sampler_trainer_kl(check: Check) -> float:
    """KL(engine‖trainer) at the rollout temperature, by k3, nats per token.

    The mean over a check's tokens of exp(d) − 1 − d, d = log p_trainer − log p_engine. Both see the same
    tokens, so it is 0 up to rounding, whatever was sampled; nan if either is not finite.
    """
    _, engine, trainer = check
    gap = trainer - engine  # [N]
    kl = float((gap.expm1() - gap).mean())
    return kl if math.isfinite(kl) else math.nan


@torch.no_grad()
def checked(run: Run) -> Check:
    """Sample the run's first prompt: (tokens, the engine's logprobs, the trainer's logprobs), [N] each.

    A few short samples, whose random numbers are the same at every check.
    """
    rollout = run.config.rollout
    prompt = run.prompts[problems_at(run, 0)[0].id]
    params = SamplingParams(
        max_new_tokens=min(CHECK_TOKENS, rollout.max_new_tokens),
        temperature=rollout.temperature,
        logprobs=True,
    )
    seeds = [derive(run.seeds["rollout"], "check", i) for i in range(CHECK_SAMPLES)]
    samples = run.engine.generate([prompt] * CHECK_SAMPLES, params=params, seeds=seeds)
    rows = [(*prompt.token_ids, *sample.completion_ids) for sample in samples]
    lengths = torch.tensor([len(row) for row in rows])  # [B]
    width = max(map(len, rows))
    input_ids = torch.tensor([row + (0,) * (width - len(row)) for row in rows])  # [B, T]
    column = torch.arange(width)
    mask = (column >= len(prompt.token_ids)) & (column < lengths[:, None])  # [B, T]
    packed = pack_rows(input_ids, lengths, mask, device=run.device)
    trainer, _ = token_logprobs(run.models.policy, packed, temperature=rollout.temperature)
    engine = torch.tensor([x for sample in samples for x in sample.sampler_logprobs or ()])
    return input_ids[mask], engine.double(), trainer.cpu()[mask].double()
