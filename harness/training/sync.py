"""Weights from the trainer to the engine, and the check that the engine samples from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain, cycle, islice

import torch
from torch import Tensor

from harness.model.policy import token_logprobs
from harness.model.rows import pack_rows
from harness.schema.run_config import RunConfig
from harness.seeds import derive
from harness.training.experience import problems_at
from harness.training.parallel import hub_weights
from harness.training.run_state import Check, Run
from harness.types import Prompt, SamplingParams

# Enough tokens to tell stale weights from rounding, few enough not to be felt.
CHECK_SAMPLES, CHECK_TOKENS = 4, 16
CHECK_DEPTHS = (128, 512, 2048, 8192)  # tokens of longer contexts, one sample each, as deep as the run gets
ROUNDINGS = 3


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
    if then is not None and torch.equal(then.tokens, now.tokens) and torch.equal(then.engine, now.engine):
        return sampler_trainer_kl(now), _drifted(then, now)
    run.current.last_check = now
    return sampler_trainer_kl(now), False


def _drifted(then: Check, now: Check) -> bool:
    """True if the trainer's logprobs have moved since `then` by more than rounding.

    They may differ without an update, when a kernel is chosen anew, and an update may be too small for the
    engine's dtype.
    """
    rounding = max(float((then.trainer - then.engine).abs().mean()), 1e-7)
    return float((now.trainer - then.trainer).abs().mean()) > ROUNDINGS * rounding


def max_kl(config: RunConfig) -> float:
    """Largest `sampler_trainer_kl` that rounding explains; stale weights exceed it."""
    rollout = config.rollout
    if rollout.max_sampler_kl is not None:
        return rollout.max_sampler_kl
    dtype = config.dtype if rollout.vllm.dtype == "auto" else rollout.vllm.dtype
    return 1e-5 if dtype == "float32" else 1e-2


def sampler_trainer_kl(check: Check) -> float:
    """KL(engine‖trainer) at the rollout temperature, by k3, nats per token.

    The mean over tokens of exp(d) − 1 − d, d = log p_trainer − log p_engine, and of the depths' means the
    largest: an engine may be wrong in long contexts alone. Both see the same tokens, so it is 0 up to
    rounding, whatever was sampled; nan if either is not finite.
    """
    gap = check.trainer - check.engine  # [N]
    k3 = gap.expm1() - gap  # [N]
    kls = [float(k3[check.depth == depth].mean()) for depth in check.depth.unique()]
    return max(kls) if all(map(math.isfinite, kls)) else math.nan


def check_contexts(run: Run) -> list[tuple[int, tuple[int, ...]]]:
    """(depth, token ids) of each sample of a check: the first problems' prompts, and longer contexts.

    Those are prompts one after another, as deep as the run's outputs may get.
    """
    problems = [run.prompts[problem.id].token_ids for problem in problems_at(run, 0)]
    contexts = [(0, problems[i % len(problems)]) for i in range(CHECK_SAMPLES)]
    tokens = list(chain.from_iterable(problems))
    longest = run.config.rollout.max_new_tokens  # without the prompt: a step's buffers hold these too
    longest = min(longest, run.models.policy.dims.max_position_embeddings)
    for depth in CHECK_DEPTHS:
        if depth + CHECK_TOKENS <= longest:
            contexts.append((depth, tuple(islice(cycle(tokens), depth))))
    return contexts


@torch.no_grad()
def checked(run: Run) -> Check:
    """Sample a few tokens after each of the check's contexts, with the same random numbers at every check."""
    rollout, contexts = run.config.rollout, check_contexts(run)
    params = SamplingParams(
        max_new_tokens=min(CHECK_TOKENS, rollout.max_new_tokens),
        temperature=rollout.temperature,
        logprobs=True,
    )
    seeds = [derive(run.seeds["rollout"], "check", i) for i in range(len(contexts))]
    prompts = [Prompt(f"check/{i}", "none", "", ids) for i, (_, ids) in enumerate(contexts)]
    samples = run.engine.generate(prompts, params=params, seeds=seeds)
    parts = []
    for depth in dict(contexts):  # each alone: a short context is not padded to a long one
        chosen = [i for i, (other, _) in enumerate(contexts) if other == depth]
        rows = [(contexts[i][1], samples[i].completion_ids) for i in chosen]
        engine = torch.tensor([x for i in chosen for x in samples[i].sampler_logprobs or ()]).double()
        tokens, trainer = _trainer_logprobs(run, rows)
        parts.append((tokens, engine, trainer, torch.full_like(tokens, depth)))
    return Check(*map(torch.cat, zip(*parts, strict=True)))


def _trainer_logprobs(
    run: Run, rows: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]
) -> tuple[Tensor, Tensor]:
    """Completion tokens of rows (context, completion), one after another, and the trainer's logprobs [N]."""
    whole = [(*context, *completion) for context, completion in rows]
    lengths = torch.tensor([len(row) for row in whole])  # [B]
    begins = torch.tensor([len(context) for context, _ in rows])  # [B]
    width = int(lengths.max())
    input_ids = torch.tensor([row + (0,) * (width - len(row)) for row in whole])  # [B, T]
    column = torch.arange(width)
    mask = (column >= begins[:, None]) & (column < lengths[:, None])  # [B, T]
    packed = pack_rows(input_ids, lengths, mask, device=run.device)
    logprobs, _ = token_logprobs(run.models.policy, packed, temperature=run.config.rollout.temperature)
    return input_ids[mask], logprobs.cpu()[mask].double()
