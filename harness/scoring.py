"""One completion scored for evaluation: its grade, its vote, its steps. Imports neither torch nor lm-eval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from harness.answers import Rule, literal_text
from harness.grading import answer_class, grade
from harness.steps import check_steps


@dataclass(frozen=True, slots=True)
class Score:
    """`vote` is the grader's equivalence class (None: nothing extracted); steps are the step check's."""

    correct: bool
    extracted: str | None
    reason: str
    vote: str | None
    num_steps: int
    num_wrong_steps: int

    @property
    def stepped(self) -> bool:
        return self.num_steps > 0


@lru_cache(maxsize=65536)
def score(
    completion: str, reference: str, rules: tuple[Rule, ...], symbolic: bool, exact: bool = False
) -> Score:
    """Grade, vote and check the steps. Cached, as lm-eval's scorer and the record both ask."""
    verdict = grade(completion, reference, rules=rules, use_symbolic=symbolic, exact=exact)
    report = check_steps(completion)
    found = verdict.extracted
    vote = None if found is None else literal_text(found) if exact else answer_class(found)
    return Score(verdict.correct, verdict.extracted, verdict.reason, vote, report.num_steps, report.num_wrong)


def votes(scores: Sequence[Score]) -> list[str | None]:
    """The votes of one problem's samples, with no class graded both ways.

    Symbolic comparison has a time limit, so two spellings of one class can get different grades; the wrong
    ones then vote apart.
    """
    right = {s.vote for s in scores if s.correct}
    return [f"{s.vote} (graded wrong)" if s.vote in right and not s.correct else s.vote for s in scores]
