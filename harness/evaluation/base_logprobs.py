"""How likely the base finds a completion: is what a trained model writes new, or only rare before?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from harness.model.policy import Policy, token_logprobs
from harness.model.rows import pack_rows
from harness.rollout.engines import load_policy
from harness.rollout.process_cache import cached
from harness.schema.run_config import RunConfig
from harness.training.corpus import pad
from harness.types import Prompt, Rollout

ROWS = 32  # completions in a forward pass
BaseLogprobs = Callable[[Sequence[Prompt], Sequence[Rollout], float], list[float]]


def base_scorer(config: RunConfig, base: Path, device: str) -> BaseLogprobs:
    """Load the base as a scorer of completions, or take the one in this process's cache."""
    made = (base / "model" / "config.json").stat().st_mtime_ns
    key = (str(base), made, config.dtype, device)
    policy, _ = cached("base", key, lambda: load_policy(config, base / "model", device))
    return lambda prompts, rollouts, temperature: sequence_logprobs(policy, prompts, rollouts, temperature)


@torch.no_grad()
def sequence_logprobs(
    policy: Policy, prompts: Sequence[Prompt], rollouts: Sequence[Rollout], temperature: float
) -> list[float]:
    """log p(completion | prompt) of logits / temperature, nats, end token included; one prompt a rollout."""
    found: list[float] = []
    for start in range(0, len(rollouts), ROWS):
        pairs = zip(prompts[start : start + ROWS], rollouts[start : start + ROWS], strict=True)
        documents = [([*p.token_ids, *r.completion_ids], len(p.token_ids)) for p, r in pairs]
        input_ids, lengths, mask = pad(documents)  # [B, T], [B], [B, T]
        rows = pack_rows(input_ids, lengths, mask, device=policy.head_weight.device)
        logprobs, _ = token_logprobs(policy, rows, temperature=temperature)  # [B, T]
        found += logprobs.double().sum(dim=1).tolist()
    return found
