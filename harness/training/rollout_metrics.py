"""What the samples of a step look like, over all of them, whatever the objective trains on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from harness.types import Grade, Rollout, ScoredGroup

_OF_ROLLOUTS: dict[str, Callable[[Rollout], float]] = {
    "completion_length": lambda r: len(r.completion_ids),
    "truncated": lambda r: r.finish_reason == "length",
}
_OF_GRADES: dict[str, Callable[[Grade], float]] = {
    "accuracy": lambda g: g.correct,
    "extracted": lambda g: g.extracted is not None,
}


def rollout_metrics(groups: Sequence[ScoredGroup], *, learned_steps: bool = False) -> dict[str, float]:
    """Means over the samples of a step, or over its groups, tokens and steps.

    `right_steps` is the share of rewarded steps; with `learned_steps`, `step_reward` is their mean reward.
    `entropy`, nats per token, is the mean of -log p of the sampled tokens, where the engine gave logprobs.
    """
    rollouts = [r for g in groups for r in g.rollouts]
    grades = [x for g in groups for x in g.grades]
    of_grades = {name: _mean(map(of, grades)) for name, of in _OF_GRADES.items()}
    of_rollouts = {name: _mean(map(of, rollouts)) for name, of in _OF_ROLLOUTS.items()}
    return {
        **_step_metrics(groups, learned_steps),
        "reward": _mean(x for g in groups for x in g.rewards),
        **_own_reward(groups),
        **of_grades,
        **_tests(grades),
        "zero_variance_groups": _mean(max(g.rewards) == min(g.rewards) for g in groups),
        **of_rollouts,
        **_entropy(rollouts),
        "sampled_tokens": float(sum(len(r.completion_ids) for r in rollouts)),
    }


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return sum(numbers) / len(numbers)


def _tests(grades: Sequence[Grade]) -> dict[str, float]:
    shares = [x.tests for x in grades if x.tests is not None]
    return {"tests_passed": _mean(shares)} if shares else {}


def _own_reward(groups: Sequence[ScoredGroup]) -> dict[str, float]:
    own = [x for g in groups for x in g.own_rewards or ()]
    return {"reward_custom": _mean(own)} if own else {}


def _step_metrics(groups: Sequence[ScoredGroup], learned: bool) -> dict[str, float]:
    rewards = [x for g in groups for steps in g.step_rewards or () for _, x in steps]
    if not rewards:
        return {}
    return {"step_reward": _mean(rewards)} if learned else {"right_steps": _mean(x > 0 for x in rewards)}


def _entropy(rollouts: Sequence[Rollout]) -> dict[str, float]:
    logprobs = [x for r in rollouts for x in (r.sampler_logprobs or ())]
    return {"entropy": -sum(logprobs) / len(logprobs)} if logprobs else {}
