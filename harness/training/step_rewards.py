"""Process supervision: a reward at the last token of each arithmetic statement of a derivation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.rollout.statements import statements
from harness.types import Rollout, StepReward


def step_rewards(
    rollout: Rollout, *, decode: Callable[[Sequence[int]], str], weight: float
) -> tuple[StepReward, ...]:
    """(index among the completion's tokens, reward) of each arithmetic statement: `weight` if right, else 0.

    The reward stands at the token that completes the statement's last character. An output without a
    statement that can be checked has no step rewards.
    """
    found = statements(rollout.completion_ids, rollout.text, decode=decode)
    return tuple((place, weight * step.ok) for place, step in found)
