"""Weights from the trainer to the engine, and the check that the engine samples from them."""

from __future__ import annotations

import math

import torch

from harness.config import RunConfig
from harness.distributed import hub_weights
from harness.experience import problems_at
from harness.model import token_logprobs
from harness.rows import pack_rows
from harness.seeds import derive
from harness.state import Run
from harness.types import SamplingParams

# Enough tokens to tell stale weights from rounding, few enough not to be felt.
CHECK_SAMPLES, CHECK_TOKENS = 4, 16


def sync(run: Run) -> float:
    """Give the engine the policy's weights. Returns `sampler_trainer_kl`, nats a token."""
    with run.timed("sync"):
        run.engine.load_weights(hub_weights(run.policy))
    with run.timed("sync_check"):
        return sampler_trainer_kl(run)


def max_kl(config: RunConfig) -> float:
    """What `sampler_trainer_kl` may be: rounding stays far below, a skipped update does not."""
    rollout = config.rollout
    if rollout.max_sampler_kl is not None:
        return rollout.max_sampler_kl
    dtype = config.dtype if rollout.vllm.dtype == "auto" else rollout.vllm.dtype
    return 1e-5 if dtype == "float32" else 1e-2


@torch.no_grad()
def sampler_trainer_kl(run: Run) -> float:
    """KL(engine‖trainer) at the rollout temperature, by k3 on a few short samples of the next step's first
    prompt: the mean over their tokens of exp(d) − 1 − d, d = log p_trainer − log p_engine.

    Both see the same tokens, so it is 0 up to rounding, whatever was sampled; nan where either is not finite.
    """
    rollout = run.config.rollout
    prompt = run.prompts[problems_at(run, run.step)[0].id]
    params = SamplingParams(
        max_new_tokens=min(CHECK_TOKENS, rollout.max_new_tokens),
        temperature=rollout.temperature,
        logprobs=True,
    )
    seeds = [derive(run.seeds["rollout"], "check", run.step, i) for i in range(CHECK_SAMPLES)]
    samples = run.engine.generate([prompt] * CHECK_SAMPLES, params=params, seeds=seeds)
    rows = [(*prompt.token_ids, *sample.completion_ids) for sample in samples]
    lengths = torch.tensor([len(row) for row in rows])  # [B]
    width = max(map(len, rows))
    input_ids = torch.tensor([row + (0,) * (width - len(row)) for row in rows])  # [B, T]
    column = torch.arange(width)
    mask = (column >= len(prompt.token_ids)) & (column < lengths[:, None])  # [B, T]
    packed = pack_rows(input_ids, lengths, mask, device=run.policy.head_weight.device)
    trainer, _ = token_logprobs(run.policy, packed, temperature=rollout.temperature)
    engine = torch.tensor([x for sample in samples for x in sample.sampler_logprobs or ()])  # [N]
    gap = trainer.cpu()[mask].double() - engine.double()  # [N]
    kl = float((gap.expm1() - gap).mean())
    return kl if math.isfinite(kl) else math.nan
