"""The experience of one step: which problems, their samples, grades and rewards, and which of them train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count, repeat

import torch

from harness.grading.find.extraction import PROGRAM
from harness.grading.grade import grade
from harness.objectives.selection import drop_zero_variance, needs_refill, truncated
from harness.schema.advantage_config import COMPARED
from harness.schema.objective_config import ObjectiveConfig
from harness.schema.prompts import own_answer
from harness.seeds import derive
from harness.training.ahead import GradingAhead
from harness.training.distributed import gather_strided, stride, world_size
from harness.training.own_functions import own_reward
from harness.training.problem_order import problem_numbers
from harness.training.reward_terms import reward_of
from harness.training.run_state import Run
from harness.training.searching import searched
from harness.training.step_rewards import step_rewards
from harness.types import Grade, OnEnd, Problem, Prompt, Rollout, SamplingParams, ScoredGroup, StepReward


def problems_at(run: Run, step: int) -> list[Problem]:
    """The problems of a step: a fresh permutation each epoch of the training set."""
    size, start = run.config.rollout.prompts_per_step, step * run.config.rollout.prompts_per_step
    numbers = problem_numbers(
        range(start, start + size), total=len(run.problems), seed=run.seeds["data_order"]
    )
    return [run.problems[number] for number in numbers]


def sample(run: Run, problems: Sequence[Problem], step: int, *, first_place: int = 0) -> list[Rollout]:
    """`group_size` completions of each problem from the current policy.

    A problem's place in the step names its random numbers; `first_place` counts the problems that the step
    has sampled before these. With `rollout.search` they are what a search found.
    """
    rollout = run.config.rollout
    if rollout.search is not None:
        return searched(run, problems, step, first_place=first_place)
    params = SamplingParams(
        max_new_tokens=rollout.max_new_tokens, temperature=rollout.temperature, logprobs=True
    )
    seeds = [
        derive(run.seeds["rollout"], step, place, index)
        for place in range(first_place, first_place + len(problems))
        for index in range(rollout.group_size)
    ]
    prompts = [run.prompts[p.id] for p in problems for _ in range(rollout.group_size)]
    rollouts = run.engine.generate(
        prompts,
        params=params,
        seeds=seeds,
        policy_step=run.counters.num_updates,
        on_end=_on_end(run, problems),
    )
    tokens = run.counters.tokens
    tokens["prompt"] = tokens.get("prompt", 0) + sum(len(p.token_ids) for p in prompts)
    run.count("sampled", prompts, rollouts)
    return rollouts


def _on_end(run: Run, problems: Sequence[Problem]) -> OnEnd:
    """Report how many samples have ended and, where comparing answers takes long, begin to grade them."""
    total, number = len(problems) * run.config.rollout.group_size // world_size(), count(1)
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
    for _ in run.learned_rewards.scorers:
        prompts = [run.prompts[r.problem_id] for r in rollouts]
        run.count("judged", prompts, rollouts, passes_with_head=0.0, passes_without_head=1.0)
    judged = gather_strided(_judged(run, problems, rollouts, size))
    groups = []
    for place, problem in enumerate(problems):
        at = slice(place * size, (place + 1) * size)
        grades, rewards, terms, steps = zip(*judged[at], strict=True)
        groups.append(
            ScoredGroup(
                problem,
                run.prompts[problem.id],
                tuple(rollouts[at]),
                grades,
                rewards,
                None if steps[0] is None else steps,
                None if terms[0] is None else terms,
            )
        )
    if objective.truncated == "fail":
        return truncated(groups, rule="fail", fail_reward=objective.fail_reward, min_group_size=1)
    return groups


_Judged = tuple[Grade, float, float | None, tuple[StepReward, ...] | None]


def _judged(run: Run, problems: Sequence[Problem], rollouts: Sequence[Rollout], size: int) -> list[_Judged]:
    """(grade, reward, the user's own term, rewards of steps) of this process's share of the rollouts."""
    places = stride(range(len(rollouts)))
    own = [rollouts[i] for i in places]
    of, prompts = [problems[i // size] for i in places], [run.prompts[r.problem_id] for r in own]
    learned, steps = _learned_rewards(run, prompts, own), _step_rewards(run, prompts, own)
    grades = _grades(run, of, own, places)
    seed, own_of = run.seeds["rollout"], run.config.objective.reward.custom
    reward = reward_of(run.config, opens_thought=run.codec.opens_thought, seed=seed)
    own_term = None if own_of is None or not own_of.weight else own_reward(own_of)
    terms: list[float | None] = [None] * len(own)
    if own_term is not None:
        terms = list(map(own_term, own, grades, of))
    rewards = map(reward, own, grades, of, learned, [term or 0.0 for term in terms])
    return list(zip(grades, rewards, terms, steps or repeat(None, len(own)), strict=True))


def _grades(
    run: Run, problems: Sequence[Problem], rollouts: Sequence[Rollout], places: Sequence[int]
) -> list[Grade]:
    """The grade of every rollout's own answer: those begun while the engine decoded, or all of them now.

    `problems` are one a rollout, `places` the rollouts' in the whole step.
    """
    ahead, run.current.ahead = run.current.ahead, None
    data = run.config.data
    texts = [own_answer(r.text, data.template) for r in rollouts]
    if ahead is not None:
        return ahead.grades(texts, places)
    rules = tuple(data.answer_rules)
    return [
        grade(text, problem.answer, rules=rules, use_symbolic=data.symbolic, exact=problem.exact)
        for text, problem in zip(texts, problems, strict=True)
    ]


def _learned_rewards(run: Run, prompts: Sequence[Prompt], rollouts: Sequence[Rollout]) -> list[float]:
    """P(right) of each output by the learned reward model; zeros without one."""
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
