"""The one grader, for rewards and evaluation alike: completion and reference -> Grade.

No text is evaluated and no process started, but for a program (the rule `program`), which runs confined
(`code/`). The room's README.md lists the steps and the conventions.
"""

from __future__ import annotations

from fractions import Fraction

from harness.grading.code.program import report
from harness.grading.compare import relations
from harness.grading.compare.equivalence import compare
from harness.grading.compare.forms import MAX_ANSWER_CHARS, canonical_text, literal_text, normalise
from harness.grading.compare.quantities import parse_number
from harness.grading.find.extraction import DEFAULT_RULES, PROGRAM, Rule, UnfinishedBox, extract
from harness.types import Grade


def grade(
    completion: str,
    reference: str,
    *,
    rules: tuple[Rule, ...] = DEFAULT_RULES,
    unfinished_box: UnfinishedBox = "reject",
    use_symbolic: bool = True,
    exact: bool = False,
) -> Grade:
    """Whether the answer that `rules` find in `completion` equals `reference`.

    `unfinished_box`: see `extract`. `use_symbolic=False` compares no formulas. `exact` compares the
    answer as a text, capitals and signs included. With the rule `program` the answer is right if it passes
    every test of the reference. Raises ValueError if the reference is empty or, there, holds no tests, and
    Refused where no program can be confined.
    """
    if not reference.strip():
        raise ValueError(f"reference={reference!r} is empty: drop the problem or give it an answer")
    found = extract(completion, rules, unfinished_box=unfinished_box)
    if found.answer is None:
        return Grade(False, None, found.reason, tests=0.0 if rules == PROGRAM else None)
    if rules == PROGRAM:
        tests = report(found.answer, reference)
        return Grade(tests.share == 1, found.answer, f"program: {tests.reason}", tests.share)
    if exact:
        correct = literal_text(found.answer) == literal_text(reference)
        return Grade(correct, found.answer, f"{found.rule}: {'same' if correct else 'not the same'} text")
    correct, reason = compare(reference, found.answer + found.unit, use_symbolic=use_symbolic)
    return Grade(correct=correct, extracted=found.answer, reason=f"{found.rule}: {reason}")


def equivalent(reference: str, answer: str) -> bool:
    """Whether two answers (not completions) are equal; the reference comes first."""
    return compare(reference, answer, use_symbolic=True)[0]


def answer_class(extracted: str) -> str:
    """A canonical key for votes: `n`, `n/d` for numbers, else the normalised text (`x+1` is not `1+x`)."""
    if len(extracted) > MAX_ANSWER_CHARS:
        return extracted[:MAX_ANSWER_CHARS]
    said = relations.as_tuple(relations.spoken(normalise(extracted)))
    number = parse_number(said)
    return canonical_text(said) if number is None else str(number)


def number_in(extracted: str) -> Fraction | None:
    """The number that an extracted answer is, `x = 5` and `3 + 2 = 5` included; None for anything else."""
    return parse_number(relations.spoken(normalise(extracted[:MAX_ANSWER_CHARS])))
