"""The experience of one step: which problems, their samples, grades and rewards, and which of them train."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import torch

from harness.grading.find.extraction import PROGRAM
from harness.grading.grade import grade
from harness.objectives import rewards
from harness.objectives.selection import drop_zero_variance, needs_refill, truncated
from harness.schema.advantage_config import COMPARED
from harness.schema.objective_config import ObjectiveConfig
from harness.schema.prompts import own_answer
from harness.seeds import derive
from harness.training.ahead import GradingAhead
from harness.training.distributed import all_gather_list, rank_slice
from harness.training.own_functions import own_reward
from harness.training.run_state import Run
from harness.training.searching import searched
from harness.training.step_rewards import step_rewards
from harness.types import Grade, OnEnd, Problem, Prompt, Rollout, SamplingParams, ScoredGroup, StepReward


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

    A problem's place in the step names its random numbers; `first_place` counts the problems that the step
    has sampled before these. Each process samples its slice of the problems and gathers the others'. With
    `rollout.search` they are what a search found.
    """
    rollout = run.config.rollout
    if rollout.search is not None:
        return searched(run, problems, step, first_place=first_place)
    params = SamplingParams(
        max_new_tokens=rollout.max_new_tokens, temperature=rollout.temperature, logprobs=True
    )
    before, own = rank_slice(problems)
    seeds = [
        derive(run.seeds["rollout"], step, place, index)
        for place in range(first_place + before, first_place + before + len(own))
        for index in range(rollout.group_size)
    ]
    own_prompts = [run.prompts[p.id] for p in own for _ in range(rollout.group_size)]
    policy_step, on_end = run.counters.num_updates, _on_end(run, own)
    rollouts = all_gather_list(
        run.engine.generate(own_prompts, params=params, seeds=seeds, policy_step=policy_step, on_end=on_end)
    )
    prompts = [run.prompts[r.problem_id] for r in rollouts]
    tokens = run.counters.tokens
    tokens["prompt"] = tokens.get("prompt", 0) + sum(len(p.token_ids) for p in prompts)
    run.count("sampled", prompts, rollouts)
    return rollouts


def _on_end(run: Run, problems: Sequence[Problem]) -> OnEnd:
    """Report how many samples have ended and, where comparing answers takes long, begin to grade them."""
    total, number = len(problems) * run.config.rollout.group_size, count(1)
    ahead = run.current.ahead = _grading_ahead(run, problems)

    def on_end(place: int, tokens: list[int]) -> None:
        run.current.progress(f"sampled {next(number)}/{total}")
        if ahead is not None:
            ahead.on_end(place, tokens)

    return on_end


def _grading_ahead(run: Run, problems: Sequence[Problem]) -> GradingAhead | None:
    """Threads that grade while the engine decodes, where formulas are compared or programs are run."""
    data = run.config.data
    if not data.symbolic and tuple(data.answer_rules) != PROGRAM:
        return None

    def decode(tokens: list[int]) -> str:
        return own_answer(run.decode(tokens), data.template)

    return GradingAhead(problems, run.config.rollout.group_size, decode, tuple(data.answer_rules))


def score(
    run: Run, problems: Sequence[Problem], rollouts: Sequence[Rollout], *, group_size: int | None = None
) -> list[ScoredGroup]:
    """Grade and reward the rollouts, `group_size` of each problem in order: one group a problem.

    `group_size` None is that of the config. With `truncated: fail` an output that was cut has `fail_reward`.
    """
    objective, size = run.config.objective, group_size or run.config.rollout.group_size
    prompts = [run.prompts[r.problem_id] for r in rollouts]
    learned, steps = _learned_rewards(run, prompts, rollouts), _step_rewards(run, prompts, rollouts)
    start, own = rank_slice(problems)
    grades = _grades(run, own, rollouts[start * size : (start + len(own)) * size], size)
    reward, own_of = _reward_of(run), run.config.objective.reward.custom
    own_term = None if own_of is None or not own_of.weight else own_reward(own_of)
    groups = []
    for place, problem in enumerate(own):
        first = (start + place) * size
        at, graded = slice(first, first + size), tuple(grades[place * size : (place + 1) * size])
        terms = None
        if own_term is not None:
            terms = tuple(map(own_term, rollouts[at], graded, [problem] * size))
        rewards = tuple(
            map(reward, rollouts[at], graded, [problem] * size, learned[at], terms or [0.0] * size)
        )
        step_rewards = None if steps is None else tuple(steps[at])
        prompt = run.prompts[problem.id]
        group = ScoredGroup(problem, prompt, tuple(rollouts[at]), graded, rewards, step_rewards, terms)
        groups.append(group)
    groups = all_gather_list(groups)
    if objective.truncated == "fail":
        return truncated(groups, rule="fail", fail_reward=objective.fail_reward, min_group_size=1)
    return groups


def _grades(run: Run, problems: Sequence[Problem], rollouts: Sequence[Rollout], size: int) -> list[Grade]:
    """The grade of every rollout's own answer: those begun while the engine decoded, or all of them now."""
    ahead, run.current.ahead = run.current.ahead, None
    data = run.config.data
    texts = [own_answer(r.text, data.template) for r in rollouts]
    if ahead is not None:
        return ahead.grades(texts)
    return [
        grade(
            text,
            problems[i // size].answer,
            rules=tuple(data.answer_rules),
            use_symbolic=data.symbolic,
            exact=problems[i // size].exact,
        )
        for i, text in enumerate(texts)
    ]


def _learned_rewards(run: Run, prompts: Sequence[Prompt], rollouts: Sequence[Rollout]) -> list[float]:
    """P(right) of each output by the learned reward model; zeros without one."""
    for _ in run.learned_rewards.scorers:
        run.count("judged", prompts, rollouts, passes_with_head=0.0, passes_without_head=1.0)
    model = run.learned_rewards.output
    return [0.0] * len(rollouts) if model is None else model.score(prompts, rollouts)


def _step_rewards(
    run: Run, prompts: Sequence[Prompt], rollouts: Sequence[Rollout]
) -> list[tuple[StepReward, ...]] | None:
    """Rewards of each output's statements: `reward.steps` if right, plus `reward.step_model` × P(right)."""
    weights = run.config.objective.reward
    if not weights.steps and not weights.step_model:
        return None
    own = [replace(r, text=own_answer(r.text, run.config.data.template)) for r in rollouts]
    checked = [step_rewards(r, decode=run.decode, weight=weights.steps) for r in own]
    model = run.learned_rewards.steps
    if model is None:
        return checked
    return [
        tuple((place, reward + weights.step_model * dict(learned)[place]) for place, reward in steps)
        for steps, learned in zip(checked, model.steps(prompts, own), strict=True)
    ]


def _reward_of(run: Run) -> Callable[[Rollout, Grade, Problem, float, float], float]:
    """The weighted sum of the objective's reward terms, given what a learned model and the user's own say."""
    weights = {"model": 0.0, "custom": 0.0, **run.config.objective.reward.weights}
    terms = _reward_terms(run)

    def reward(rollout: Rollout, grade: Grade, problem: Problem, learned: float, own: float) -> float:
        parts = rewards.score(rollout=rollout, grade=grade, problem=problem, terms=terms)
        return rewards.weighted_sum(parts | {"model": learned, "custom": own}, weights=weights)

    return reward


def _reward_terms(run: Run) -> dict[str, dict[str, Any]]:
    slot, longest = run.config.objective.reward, run.config.rollout.max_new_tokens
    thinks = slot.format_r1 or slot.language_consistency
    opened = bool(thinks) and run.codec.opens_thought(run.config.data.template)
    parameters: dict[str, dict[str, Any]] = {
        "format_r1": {"opened": opened},
        "language_consistency": {"script": slot.target_script, "opened": opened},
        "random": {"p": slot.random_p, "seed": run.seeds["rollout"]},
        "length_penalty": {"max_tokens": longest},
        "soft_overlong": {
            "max_tokens": longest,
            "buffer_tokens": slot.overlong_buffer or max(1, longest // 5),
        },
    }
    return {name: parameters.get(name, {}) for name in slot.weights if name in rewards.REWARDS}


def select(groups: Sequence[ScoredGroup], objective: ObjectiveConfig) -> list[ScoredGroup]:
    """The groups to train on: without truncated outputs, or only those that differ, as configured."""
    if objective.truncated == "drop":
        smallest = 2 if objective.advantage.fn in COMPARED else 1
        groups = truncated(groups, rule="drop", fail_reward=0.0, min_group_size=smallest)
    if objective.selection.fn == "dynamic":
        groups = drop_zero_variance(groups, by=objective.selection.by)
    return list(groups)


def refill(run: Run, groups: Sequence[ScoredGroup], step: int) -> list[Problem]:
    """The problems to sample next for a step, none when it has what it wants or may not sample more.

    They are drawn from the problems that the step has not sampled, in an order of the step's own, so that the
    next step's problems are those of an arm that never refills.
    """
    selection, wanted = run.config.objective.selection, run.config.rollout.prompts_per_step
    if selection.fn != "dynamic":
        return []
    assert selection.max_sampled is not None
    num = needs_refill(
        num_kept=len(select(groups, run.config.objective)),
        num_wanted=wanted,
        num_sampled=len(groups),
        max_sampled=int(selection.max_sampled * wanted),
    )
    sampled = {group.problem.id for group in groups}
    generator = torch.Generator().manual_seed(derive(run.seeds["data_order"], "refill", step))
    order = torch.randperm(len(run.problems), generator=generator).tolist()
    return [run.problems[i] for i in order if run.problems[i].id not in sampled][:num]
