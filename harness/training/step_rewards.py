"""Process supervision: a reward at the last token of each arithmetic statement of a derivation."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence

from harness.grading.steps.check import MAX_TEXT_CHARS, check_steps
from harness.types import Rollout, StepReward


def step_rewards(
    rollout: Rollout, *, decode: Callable[[Sequence[int]], str], weight: float
) -> tuple[StepReward, ...]:
    """(index among the completion's tokens, reward) of each arithmetic statement: `weight` if right, else 0.

    The reward stands at the token that completes the statement's last character. An output without a
    statement that can be checked has no step rewards.
    """
    ids = rollout.completion_ids
    offset = max(0, len(rollout.text) - MAX_TEXT_CHARS)
    rewards = []
    for step in check_steps(rollout.text).steps:
        # The number of tokens whose text reaches the step's end; text grows with its tokens.
        num = bisect_left(range(len(ids)), offset + step.end, key=lambda n: len(decode(ids[: n + 1])))
        rewards.append((min(num, len(ids) - 1), weight * step.ok))
    return tuple(rewards)
