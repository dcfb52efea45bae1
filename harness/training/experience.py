"""Experience of one step: which problems, their samples, their grades and rewards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count

import torch

from harness.grading.grade import grade
from harness.objectives import rewards
from harness.objectives.selection import drop_zero_variance, needs_refill, truncated
from harness.schema.objective_config import ObjectiveConfig
from harness.schema.run_config import RunConfig
from harness.schema.slots import COMPARED
from harness.seeds import derive
from harness.training.ahead import GradingAhead
from harness.training.distributed import gathered, share
from harness.training.process import step_rewards
from harness.training.run_state import Run
from harness.types import Grade, OnEnd, Problem, Rollout, SamplingParams, ScoredGroup, StepReward


def problems_at(run: Run, step: int) -> list[Problem]:
    """The problems of a step: a fresh permutation each epoch of the training set."""
    size, start = run.config.rollout.prompts_per_step, step * run.config.rollout.prompts_per_step
    total = len(run.problems)
    chosen = []
    for position in range(start, start + size):
        generator = torch.Generator().manual_seed(derive(run.seeds["data_order"], "epoch", position // total))
        order = torch.randperm(total, generator=generator)
        chosen.append(run.problems[int(order[position % total])])
    return chosen


def sample(run: Run, problems: Sequence[Problem], step: int, *, first_place: int = 0) -> list[Rollout]:
    """`group_size` completions of each problem from the current policy.

    A place in the step names its random numbers; `first_place` counts the problems sampled before these. Of
    several processes each samples its share.
    """
    rollout = run.config.rollout
    params = SamplingParams(
        max_new_tokens=rollout.max_new_tokens, temperature=rollout.temperature, logprobs=True
    )
    before, mine = share(problems)
    seeds = [
        derive(run.seeds["rollout"], step, place, index)
        for place in range(first_place + before, first_place + before + len(mine))
        for index in range(rollout.group_size)
    ]
    asked = [run.prompts[p.id] for p in mine for _ in range(rollout.group_size)]
    sampled = run.engine.generate(
        asked, params=params, seeds=seeds, policy_step=run.num_updates, on_end=_on_end(run, mine)
    )
    rollouts = gathered(sampled)
    prompts = [run.prompts[r.problem_id] for r in rollouts]
    run.tokens["prompt"] = run.tokens.get("prompt", 0) + sum(len(p.token_ids) for p in prompts)
    run.count("sampled", prompts, rollouts)
    return rollouts


def _on_end(run: Run, problems: Sequence[Problem]) -> OnEnd:
    """Say how many samples there are, and compare answers meanwhile where that takes long."""
    ahead, total, number = (
        _grade_ahead(run, problems),
        len(problems) * run.config.rollout.group_size,
        count(1),
    )

    def on_end(place: int, tokens: list[int]) -> None:
        run.progress(f"sampled {next(number)}/{total}")
        if ahead is not None:
            ahead(place, tokens)

    return on_end


def _grade_ahead(run: Run, problems: Sequence[Problem]) -> OnEnd | None:
    """Compare answers while the engine goes on, where comparing takes long."""
    data = run.config.data
    if not data.symbolic:
        return None
    rules = tuple(data.answer_rules)
    run.ahead = GradingAhead(problems, run.config.rollout.group_size, run.decode, rules)
    return run.ahead.on_end


def score(run: Run, problems: Sequence[Problem], rollouts: Sequence[Rollout]) -> list[ScoredGroup]:
    """Grades and rewards, group by group; with `truncated: fail` an output that was cut has `fail_reward`."""
    objective = run.config.objective
    size = run.config.rollout.group_size
    weights = {"model": 0.0, **objective.reward.weights}
    terms = _reward_terms(run.config, run.seeds["rollout"])
    learned, prompts = [0.0] * len(rollouts), [run.prompts[r.problem_id] for r in rollouts]
    if run.reward_model is not None:
        learned = run.reward_model.score(prompts, rollouts)
    for model in (run.reward_model, run.step_model):
        if model is not None:
            run.count("judged", prompts, rollouts, passes=0.0, headless=1.0)
    steps = _step_rewards(run, rollouts)
    groups = []
    before, mine = share(problems)
    graded = _grades(run, mine, rollouts[before * size : (before + len(mine)) * size])
    for place, problem in enumerate(mine, start=before):
        group = tuple(rollouts[place * size : (place + 1) * size])
        grades = tuple(graded[(place - before) * size : (place - before + 1) * size])
        values = tuple(
            rewards.weighted_sum(
                rewards.score(rollout=r, grade=g, problem=problem, terms=terms) | {"model": x},
                weights=weights,
            )
            for r, g, x in zip(group, grades, learned[place * size : (place + 1) * size], strict=True)
        )
        scored = ScoredGroup(problem, run.prompts[problem.id], group, grades, values)
        if steps is not None:
            scored = replace(scored, step_rewards=tuple(steps[place * size : (place + 1) * size]))
        groups.append(scored)
    groups = gathered(groups)
    if objective.truncated == "fail":
        return truncated(groups, rule="fail", fail_reward=objective.fail_reward, min_group_size=1)
    return groups


def _grades(run: Run, problems: Sequence[Problem], rollouts: Sequence[Rollout]) -> list[Grade]:
    """Of every rollout, in order."""
    if run.ahead is not None:
        found = run.ahead.grades([r.text for r in rollouts])
        run.ahead = None
        return found
    data, size = run.config.data, run.config.rollout.group_size
    return [
        grade(
            r.text,
            problems[i // size].answer,
            rules=tuple(data.answer_rules),
            use_symbolic=data.symbolic,
            exact=problems[i // size].exact,
        )
        for i, r in enumerate(rollouts)
    ]


def _step_rewards(run: Run, rollouts: Sequence[Rollout]) -> list[tuple[StepReward, ...]] | None:
    """Of each output's statements: `reward.steps` where right, and `reward.step_model` × P(right)."""
    weights = run.config.objective.reward
    if not weights.steps and not weights.step_model:
        return None
    found = [step_rewards(r, decode=run.decode, weight=weights.steps) for r in rollouts]
    if run.step_model is None:
        return found
    learned = run.step_model.steps([run.prompts[r.problem_id] for r in rollouts], rollouts)
    return [
        tuple((place, reward + weights.step_model * dict(of)[place]) for place, reward in steps)
        for steps, of in zip(found, learned, strict=True)
    ]


def _reward_terms(config: RunConfig, seed: int) -> dict[str, dict[str, float]]:
    slot, longest = config.objective.reward, config.rollout.max_new_tokens
    parameters: dict[str, dict[str, float]] = {
        "random": {"p": slot.random_p, "seed": seed},
        "length_penalty": {"max_tokens": longest},
        "soft_overlong": {
            "max_tokens": longest,
            "buffer_tokens": slot.overlong_buffer or max(1, longest // 5),
        },
    }
    return {name: parameters.get(name, {}) for name in slot.weights if name != "model"}


def trainable(groups: Sequence[ScoredGroup], objective: ObjectiveConfig) -> list[ScoredGroup]:
    """The groups that training sees: without outputs that were cut, or only those that differ, if asked."""
    if objective.truncated == "drop":
        smallest = 2 if objective.advantage.fn in COMPARED else 1
        groups = truncated(groups, rule="drop", fail_reward=0.0, min_group_size=smallest)
    if objective.selection.fn == "dynamic":
        groups = drop_zero_variance(groups, by=objective.selection.by)
    return list(groups)


def refill(run: Run, groups: Sequence[ScoredGroup]) -> list[Problem]:
    """The problems to sample next in this step, none when it has what it wants or may not sample more.

    They are drawn from those that the step has not met, in an order of the step's own, so that the next
    step's problems are those of an arm that samples nothing twice.
    """
    selection, wanted = run.config.objective.selection, run.config.rollout.prompts_per_step
    if selection.fn != "dynamic":
        return []
    assert selection.max_sampled is not None
    num = needs_refill(
        num_kept=len(trainable(groups, run.config.objective)),
        num_wanted=wanted,
        num_sampled=len(groups),
        max_sampled=int(selection.max_sampled * wanted),
    )
    met = {group.problem.id for group in groups}
    generator = torch.Generator().manual_seed(derive(run.seeds["data_order"], "refill", run.step))
    order = torch.randperm(len(run.problems), generator=generator).tolist()
    return [run.problems[i] for i in order if run.problems[i].id not in met][:num]


def rollout_metrics(groups: Sequence[ScoredGroup], *, learned_steps: bool = False) -> dict[str, float]:
    """What the samples of a step look like, over all of them, whatever the objective trains on.

    `right_steps` is the share of rewarded steps; with `learned_steps`, `step_reward` is their mean reward.
    """
    rollouts = [r for g in groups for r in g.rollouts]
    grades = [x for g in groups for x in g.grades]
    values = [x for g in groups for x in g.rewards]
    logprobs = [x for r in rollouts for x in (r.sampler_logprobs or ())]
    entropy = {"entropy": -sum(logprobs) / len(logprobs)} if logprobs else {}  # a teacher's has no place here
    steps = [x for g in groups for of in g.step_rewards or () for _, x in of]
    checked = {}
    if steps and learned_steps:
        checked = {"step_reward": sum(steps) / len(steps)}
    elif steps:
        checked = {"right_steps": sum(x > 0 for x in steps) / len(steps)}
    return {
        **checked,
        "reward": sum(values) / len(values),
        "accuracy": sum(x.correct for x in grades) / len(grades),
        "extracted": sum(x.extracted is not None for x in grades) / len(grades),
        "zero_variance_groups": sum(max(g.rewards) == min(g.rewards) for g in groups) / len(groups),
        "completion_length": sum(len(r.completion_ids) for r in rollouts) / len(rollouts),
        "truncated": sum(r.finish_reason == "length" for r in rollouts) / len(rollouts),
        **entropy,
        "sampled_tokens": float(sum(len(r.completion_ids) for r in rollouts)),
    }
