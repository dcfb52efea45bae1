"""The reward of one output as an objective weighs it, without the models and engines of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.objectives import rewards
from harness.schema.run_config import RunConfig
from harness.types import Grade, Problem, Rollout

Reward = Callable[[Rollout, Grade, Problem, float, float], float]


def reward_of(config: RunConfig, *, opens_thought: Callable[[str], bool], seed: int) -> Reward:
    """The weighted sum of the objective's reward terms, given what a learned model and the user's own say.

    `opens_thought` is the codec's; `seed` that of the stream `rollout`.
    """
    weights = {"model": 0.0, "custom": 0.0, **config.objective.reward.weights}
    terms = reward_terms(config, opens_thought=opens_thought, seed=seed)

    def reward(rollout: Rollout, grade: Grade, problem: Problem, learned: float, own: float) -> float:
        parts = rewards.score(rollout=rollout, grade=grade, problem=problem, terms=terms)
        return rewards.weighted_sum(parts | {"model": learned, "custom": own}, weights=weights)

    return reward


def reward_terms(
    config: RunConfig, *, opens_thought: Callable[[str], bool], seed: int
) -> dict[str, dict[str, Any]]:
    """The rule-based terms whose weight is not 0, with their parameters."""
    slot, longest = config.objective.reward, config.rollout.max_new_tokens
    thinks = slot.format_r1 or slot.language_consistency
    opened = bool(thinks) and opens_thought(config.data.template)
    parameters: dict[str, dict[str, Any]] = {
        "format_r1": {"opened": opened},
        "language_consistency": {"script": slot.target_script, "opened": opened},
        "random": {"p": slot.random_p, "seed": seed},
        "length_penalty": {"max_tokens": longest},
        "soft_overlong": {
            "max_tokens": longest,
            "buffer_tokens": slot.overlong_buffer or max(1, longest // 5),
        },
    }
    return {name: parameters.get(name, {}) for name in slot.weights if name in rewards.REWARDS}
