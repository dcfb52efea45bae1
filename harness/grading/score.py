"""One completion scored for evaluation: its grade, its vote, its steps. Imports neither torch nor lm-eval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from harness.grading.compare.forms import literal_text
from harness.grading.find.extraction import Rule, extract
from harness.grading.grade import answer_class, grade
from harness.grading.steps.check import MAX_TEXT_CHARS, check_steps


@dataclass(frozen=True, slots=True)
class Score:
    """A completion's grade, vote and steps."""

    correct: bool
    extracted: str | None
    reason: str
    vote: str | None  # the grader's equivalence class; None: nothing extracted
    num_steps: int
    num_wrong_steps: int
    num_unsourced_steps: int | None = None  # with an operand neither in the problem nor an earlier result
    last_step_answers: bool | None = None  # None: no step, no answer or no number
    statements: tuple[tuple[int, int, bool], ...] = ()  # (start, end, right) of each step, in characters

    @property
    def stepped(self) -> bool:
        return self.num_steps > 0


@lru_cache(maxsize=2**20)  # 256 samples of each problem at a few temperatures
def score(
    completion: str,
    reference: str,
    rules: tuple[Rule, ...],
    symbolic: bool,
    exact: bool = False,
    problem: str | None = None,
) -> Score:
    """Grade, vote and check the steps. Cached, as lm-eval's scorer and the record both ask."""
    verdict = grade(completion, reference, rules=rules, use_symbolic=symbolic, exact=exact)
    found = verdict.extracted
    report = check_steps(completion, problem=problem, answer=found)
    skipped = max(0, len(completion) - MAX_TEXT_CHARS)  # the check reads the end of a longer text
    return Score(
        correct=verdict.correct,
        extracted=found,
        reason=verdict.reason,
        vote=None if found is None else literal_text(found) if exact else answer_class(found),
        num_steps=report.num_steps,
        num_wrong_steps=report.num_wrong,
        num_unsourced_steps=None if problem is None else sum(not s.operands_known for s in report.steps),
        last_step_answers=report.last_yields_answer,
        statements=tuple((skipped + s.start, skipped + s.end, s.ok) for s in report.steps),
    )


def vote_of(completion: str, rules: tuple[Rule, ...], exact: bool) -> str | None:
    """The vote of a completion, as `Score.vote`, without a look at any reference."""
    found = extract(completion, rules).answer
    return None if found is None else literal_text(found) if exact else answer_class(found)


def votes(scores: Sequence[Score]) -> list[str | None]:
    """The votes of one problem's samples; of a class that is graded both ways the wrong ones vote apart."""
    right = {s.vote for s in scores if s.correct}
    return [f"{s.vote} (graded wrong)" if s.vote in right and not s.correct else s.vote for s in scores]
