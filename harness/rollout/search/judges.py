"""Sources of a search's values: the reference answer, or a learned model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.grading.find.extraction import Rule
from harness.grading.grade import grade
from harness.rollout.search.drive import Judged
from harness.schema.prompts import own_answer
from harness.types import Problem, Prompt, Rollout


def oracle(problems: Sequence[Problem], *, rules: tuple[Rule, ...], symbolic: bool, template: str) -> Judged:
    """1 for a right output, else 0, by the problem's reference answer: the most that any value could know."""

    def judge(places: Sequence[int], rollouts: Sequence[Rollout]) -> list[float]:
        graded = (
            grade(
                own_answer(rollout.text, template),
                problems[place].answer,
                rules=rules,
                use_symbolic=symbolic,
                exact=problems[place].exact,
            )
            for place, rollout in zip(places, rollouts, strict=True)
        )
        return [float(found.correct) for found in graded]

    return judge


def learned(
    score: Callable[[Sequence[Prompt], Sequence[Rollout]], list[float]], prompts: Sequence[Prompt]
) -> Judged:
    """A reward model's P(right) of outputs; a process model's of the worst step so far."""

    def judge(places: Sequence[int], rollouts: Sequence[Rollout]) -> list[float]:
        return score([prompts[place] for place in places], rollouts)

    return judge
