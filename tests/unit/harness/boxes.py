"""Tables of references and of answers to them, for the tests of the grader."""

from __future__ import annotations

from harness.grading import grade
from harness.types import Grade


def pairs(table: dict[str, str]) -> list[tuple[str, str]]:
    """(reference, answer) of each answer; a reference's answers stand between ` ; `."""
    return [(reference, answer) for reference, answers in table.items() for answer in answers.split(" ; ")]


def boxed(answer: str, reference: str) -> Grade:
    return grade(rf"\boxed{{{answer}}}", reference)
