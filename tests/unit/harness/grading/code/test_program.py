"""Programs in completions: their place, what they go on from, their grade."""

from __future__ import annotations

import pytest

from harness.grading.code.pool import Suite
from harness.grading.code.program import Reference, program_in, reference_text, whole_program
from harness.grading.find.extraction import DEFAULT_RULES, PROGRAM, extract
from harness.grading.grade import grade
from harness.grading.score import score, vote_of
from harness.types import Grade

DOUBLE = reference_text(
    {
        "entry_point": "f",
        "tests": ["assert f(1) == 2", "assert f(2) == 4", "assert f('a') == 'aa'"],
        "prefix": "f=lambda x:",
    }
)


@pytest.mark.parametrize(
    ("completion", "program"),
    [
        ("x*2", "x*2"),
        ("  return x\n", "  return x"),  # a continuation keeps its indentation
        ("Here:\n```python\ndef f(x):\n    return x\n```\nDone.", "def f(x):\n    return x"),
        ("```\na\n```\ntext\n```py\nb\n```", "b"),  # the last block
        ("```python\na\n```\n```\n\n```", "a"),  # that is not empty
        ("```python\na\nb", "a\nb"),  # cut at the limit
        ("<think>\n```python\nwrong\n```\n</think>\n```python\nright\n```", "right"),
        ("<think>x*3</think>x*2", "x*2"),
        ("```python\n\n```", ""),
        ("", ""),
        ("no ``` fence", "no ``` fence"),
        ("```python\r\na\r\n```", "a\r"),
    ],
)
def test_where_the_program_stands(completion: str, program: str) -> None:
    assert program_in(completion) == program
    found = extract(completion, PROGRAM)
    assert (found.answer, found.rule) == ((program, "program") if program else (None, None))


@pytest.mark.parametrize(
    ("program", "whole"),
    [
        ("    return x\n\nprint(f(1))", "def f(x):\n    return x\n"),
        ("    return x\ndef g():\n    pass", "def f(x):\n    return x"),
        ("    if x:\n        return 1\n    return 2", "def f(x):\n    if x:\n        return 1\n    return 2"),
        ("import math\ndef f(x):\n    return 2\nprint(1)", "import math\ndef f(x):\n    return 2\nprint(1)"),
        ("f = lambda x: x", "f = lambda x: x"),
        ("class f:\n    pass", "class f:\n    pass"),
        ("    ff = 1\n    return ff", "def f(x):\n    ff = 1\n    return ff"),
    ],
)
def test_what_a_completion_goes_on_from(program: str, whole: str) -> None:
    assert whole_program(program, Reference(Suite("f", ("f(1)",)), "def f(x):\n")) == whole
    assert whole_program(program, Reference(Suite("f", ("f(1)",)))) == program


def test_the_grade_is_all_tests_and_their_share() -> None:
    assert grade("x*2", DOUBLE, rules=PROGRAM) == Grade(True, "x*2", "program: 3/3 tests", 1.0)
    found = grade("x+x%5*1", DOUBLE, rules=PROGRAM)
    assert (found.correct, found.reason) == (False, "program: 2/3 tests (TypeError)")
    assert found.tests == pytest.approx(2 / 3)
    assert grade("", DOUBLE, rules=PROGRAM) == Grade(False, None, "no answer found", 0.0)
    assert grade("x*2", DOUBLE, rules=DEFAULT_RULES).tests is None
    with pytest.raises(ValueError, match="answer='4' holds no tests"):
        grade("x*2", "4", rules=PROGRAM)


def test_programs_vote_by_their_text() -> None:
    verdict = score("```python\nf = lambda x: 2*x\n```", DOUBLE, PROGRAM, False, True)
    assert (verdict.correct, verdict.vote) == (True, vote_of("```\nf = lambda x: 2*x\n```", PROGRAM, True))
