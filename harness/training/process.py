"""Process supervision: a reward at the last token of each checked step of a derivation, and at the answer."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from harness.grading.steps.check import MAX_TEXT_CHARS, check_steps
from harness.objectives.advantages import process
from harness.schema.slots import AdvantageConfig
from harness.types import Batch, Rollout, ScoredGroup, StepReward


def step_rewards(
    rollout: Rollout, *, decode: Callable[[Sequence[int]], str], weight: float
) -> tuple[StepReward, ...]:
    """(index among the completion's tokens, reward) of each arithmetic statement: `weight` if right, else 0.

    It stands at the token with which the statement's last character is there. An output without a statement
    that can be checked has none.
    """
    ids = rollout.completion_ids
    offset = max(0, len(rollout.text) - MAX_TEXT_CHARS)
    found = []
    for step in check_steps(rollout.text).steps:
        # The number of tokens whose text reaches the step's end; text grows with its tokens.
        num = bisect_left(range(len(ids)), offset + step.end, key=lambda n: len(decode(ids[: n + 1])))
        found.append((min(num, len(ids) - 1), weight * step.ok))
    return tuple(found)


def process_advantages(
    groups: Sequence[ScoredGroup], batch: Batch, slot: AdvantageConfig, *, outcome: bool
) -> Tensor:
    """Normalised step rewards of a group, summed over the steps that end at or after a token, [B, T].

    DeepSeekMath, arXiv:2402.03300 §4.1.3. With `outcome`, the answer is the last step: the output's reward
    stands at its last token. Where two steps end at one token, their rewards add up.
    """
    rewards = torch.zeros_like(batch.advantages)  # [B, T]
    steps = torch.zeros_like(batch.completion_mask)
    rows = [(g, i) for g in groups for i in range(len(g.rollouts))]
    for row, (group, i) in enumerate(rows):
        start, length = len(group.prompt.token_ids), len(group.rollouts[i].completion_ids)
        assert group.step_rewards is not None
        found = list(group.step_rewards[i])
        if outcome:
            found.append((length - 1, group.rewards[i]))
        for place, reward in found:
            rewards[row, start + place] += reward
            steps[row, start + place] = True
    return process(
        step_rewards=rewards,
        step_mask=steps,
        completion_mask=batch.completion_mask,
        group_ids=batch.group_ids,
        std=slot.std,
        eps=slot.eps,
    )
