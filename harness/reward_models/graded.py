"""The base's own graded samples: what reward models are trained on, in a run or for evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from harness.grading.find.extraction import Rule
from harness.grading.grade import grade
from harness.schema.prompts import own_answer
from harness.seeds import derive
from harness.types import Problem, Prompt, Rollout, RolloutEngine, SamplingParams


@dataclass(frozen=True)
class Source:
    """The base's sampler, training problems and prompts of one template, the grader's settings, two seeds.

    `size` samples a problem are drawn with `params`.
    """

    engine: RolloutEngine
    decode: Callable[[Sequence[int]], str]
    problems: Sequence[Problem]
    prompts: Mapping[str, Prompt]
    template: str
    size: int
    params: SamplingParams
    rules: tuple[Rule, ...]
    symbolic: bool
    order_seed: int
    rollout_seed: int
    token_budget: int

    def right(self, text: str, problem: Problem) -> bool:
        own = own_answer(text, self.template)
        found = grade(own, problem.answer, rules=self.rules, use_symbolic=self.symbolic, exact=problem.exact)
        return found.correct


def graded(
    source: Source, *, num_problems: int, name: str
) -> tuple[list[Problem], list[Prompt], list[Rollout], list[bool]]:
    """Samples of so many problems, problem by problem, and whether they are right; `name` salts the seeds."""
    generator = torch.Generator().manual_seed(derive(source.order_seed, name, "problems"))
    order = torch.randperm(len(source.problems), generator=generator)[:num_problems].tolist()
    problems = [source.problems[i] for i in order for _ in range(source.size)]
    prompts = [source.prompts[p.id] for p in problems]
    seeds = [derive(source.rollout_seed, name, i, j) for i in range(len(order)) for j in range(source.size)]
    rollouts = source.engine.generate(prompts, params=source.params, seeds=seeds)
    labels = [source.right(r.text, p) for r, p in zip(rollouts, problems, strict=True)]
    return problems, prompts, rollouts, labels


def continued(
    source: Source,
    problems: Sequence[Problem],
    prompts: Sequence[Prompt],
    prefixes: Sequence[tuple[int, ...]],
    *,
    num: int,
    name: str,
) -> tuple[list[float], int]:
    """Share of `num` completions of each prefix (of an output's tokens) that end right, and tokens sampled.

    Prefix and completion together have at most `params.max_new_tokens`, as outputs have; a prefix must leave
    room for one token. Math-Shepherd's soft estimate, arXiv:2312.08935 eq. 4.
    """
    by_room: dict[int, list[int]] = {}
    for i, prefix in enumerate(prefixes):
        by_room.setdefault(source.params.max_new_tokens - len(prefix), []).append(i)
    shares, sampled = [0.0] * len(prefixes), 0
    for room, rows in sorted(by_room.items()):  # one limit a call
        asked = [
            replace(prompts[i], token_ids=(*prompts[i].token_ids, *prefixes[i]))
            for i in rows
            for _ in range(num)
        ]
        seeds = [derive(source.rollout_seed, name, "continued", i, j) for i in rows for j in range(num)]
        found = source.engine.generate(asked, params=replace(source.params, max_new_tokens=room), seeds=seeds)
        for place, i in enumerate(rows):
            mine = found[place * num : (place + 1) * num]
            texts = [source.decode((*prefixes[i], *r.completion_ids)) for r in mine]
            shares[i] = sum(source.right(t, problems[i]) for t in texts) / num
        sampled += sum(len(r.completion_ids) for r in found)
    return shares, sampled
