"""Tables of references and of answers to them, for the tests of the grader."""

from __future__ import annotations

from harness.grading.grade import grade
from harness.types import Grade


def cases(right: dict[str, str], wrong: dict[str, str]) -> list[tuple[str, str, bool]]:
    """(reference, answer, is it right) of each answer; a reference's answers stand between ` ; `."""
    return [
        (reference, answer, is_right)
        for table, is_right in ((right, True), (wrong, False))
        for reference, answers in table.items()
        for answer in answers.split(" ; ")
    ]


def boxed(answer: str, reference: str) -> Grade:
    return grade(rf"\boxed{{{answer}}}", reference)
