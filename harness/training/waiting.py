"""Batches that are sampled before they are trained on, with `rollout.lag`; part of a run's saved state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from harness.types import Grade, Problem, Prompt, Rollout, ScoredGroup


@dataclass(frozen=True)
class Sampled:
    """One step's groups, the metrics of all that was sampled for it, and the steps done `at` that time."""

    groups: list[ScoredGroup]
    metrics: dict[str, Any]
    at: int


def fill(
    waiting: list[Sampled], *, step: int, lag: int, total: int, sample: Callable[[int], Sampled]
) -> None:
    """Append what `sample` gives for each step up to `step` + `lag`, the last of `total` at most.

    The batch of step s is so sampled by the weights of step max(0, s - lag).
    """
    for ahead in range(step + len(waiting), min(step + lag, total - 1) + 1):
        waiting.append(sample(ahead))


def stored(waiting: Sequence[Sampled]) -> list[dict[str, Any]]:
    """The batches as JSON keeps them: problems by their ids, numbers to the bit."""
    return [
        {"groups": [_stored_group(g) for g in one.groups], "metrics": one.metrics, "at": one.at}
        for one in waiting
    ]


def restored(
    rows: Sequence[Mapping[str, Any]], problems: Sequence[Problem], prompts: Mapping[str, Prompt]
) -> list[Sampled]:
    """What `stored` was given."""
    by_id = {problem.id: problem for problem in problems}
    return [
        Sampled(
            [_restored_group(g, by_id[g["problem"]], prompts[g["problem"]]) for g in row["groups"]],
            dict(row["metrics"]),
            row["at"],
        )
        for row in rows
    ]


def rollout_of(stored: Mapping[str, Any]) -> Rollout:
    """A rollout from its fields as JSON keeps them."""
    logprobs = stored["sampler_logprobs"]
    lists = {
        "completion_ids": tuple(stored["completion_ids"]),
        "sampler_logprobs": None if logprobs is None else tuple(logprobs),
    }
    return Rollout(**{**stored, **lists})


def _stored_group(group: ScoredGroup) -> dict[str, Any]:
    return {
        "problem": group.problem.id,
        "rollouts": [asdict(rollout) for rollout in group.rollouts],
        "grades": [asdict(grade) for grade in group.grades],
        "rewards": group.rewards,
        "step_rewards": group.step_rewards,
        "own_rewards": group.own_rewards,
    }


def _restored_group(row: Mapping[str, Any], problem: Problem, prompt: Prompt) -> ScoredGroup:
    steps, own = row["step_rewards"], row["own_rewards"]
    return ScoredGroup(
        problem,
        prompt,
        tuple(rollout_of(rollout) for rollout in row["rollouts"]),
        tuple(Grade(**grade) for grade in row["grades"]),
        tuple(row["rewards"]),
        None if steps is None else tuple(tuple((place, x) for place, x in output) for output in steps),
        None if own is None else tuple(own),
    )
