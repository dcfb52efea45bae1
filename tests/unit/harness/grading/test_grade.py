"""The grader: extraction rules, exact comparison, agreement with graded model outputs, speed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from harness.grading.find.extraction import extract
from harness.grading.grade import answer_class, equivalent, grade

MATH_DATA_DIR = os.environ.get("MATH_DATA_DIR")
needs_data = pytest.mark.skipif(MATH_DATA_DIR is None, reason="MATH_DATA_DIR is not set")


@pytest.mark.parametrize(
    "completion",
    [
        r"\boxed{25}",
        "The final answer is 25.",
        "Answer: 25.",
        r"\boxed{025}",
        r"\boxed{25.0}",
        r"\boxed {25}",
        r"\fbox{25}",
        r"\boxed{24} is wrong, so \boxed{25}",
        r"\boxed{\boxed{25}}",
        r"\boxed{$25$}",
        r"\boxed{25 \text{ cm}}",
        r"\boxed{25\,\mathrm{cm}^2}",
        r"\boxed{25 miles per hour}",
        r"\boxed{25^\circ}",
        r"\boxed{25\%}",
        r"\boxed{\$25}",
        r"\boxed{x = 25}",
        r"\boxed{\frac{50}{2}}",
        r"\boxed{} then \boxed{25}",
        "**Answer:** 25",
        "the answer is **25**.",
        "The answer is:\n\\[ 25 \\]",
        "The answer to the question is $n = 25$.",
        "The answer is that she has 25 apples.",
        "A: $25",
        "work\n#### 25",
        "30 - 5 = 25",
        "so 20 + 5 gives 25 apples",
    ],
)
def test_writes_25_in_many_ways(completion: str) -> None:
    assert grade(completion, "25").correct


@pytest.mark.parametrize(
    "completion",
    [
        r"\boxed{25} no wait, \boxed{26}",
        r"\boxed{2",  # cut at the length limit, perhaps of 25
        r"so 25, thus \boxed{25",  # never closed: not an answer
        r"\boxed{25x}",
        r"\boxed{25 \text{ million}}",
        r"\boxed{25 \text{ thousand}}",
        r"\boxed{25 \text{ or more}}",
        r"\boxed{25 \text{ is wrong}}",
        r"\boxed{25 \text{ dozen}}",
        r"\boxed{25 or 26}",
        r"\boxed{5^3}",
        r"\boxed{-25}",
        r"\boxed{0.25}",
        "The answer is 2.5",
        "",
        "no number here",
    ],
)
def test_is_not_25(completion: str) -> None:
    assert not grade(completion, "25", use_symbolic=False).correct
    assert not grade(completion, "25").correct


@pytest.mark.parametrize(
    ("reference", "answer"),
    [
        ("1000", "1{,}000"),
        (r"900,\!000,\!000", "900000000"),
        ("10,000", "10 000"),
        ("1/2", r"\frac{1}{2}"),
        ("0.5", r"\frac12"),
        (r"\frac{1}{2}", r"\dfrac{-2}{-4}"),
        (r"1\frac{9}{10}", "1.9"),
        (r"-\frac{40}{153}", r"\frac{-40}{153}"),
        ("6.29 \\times 10^6", "6290000"),
        ("6.29 \\times 10^6", "6.29e6"),
        ("5000", "5 x 10^3"),
        (r"\frac{1}{6}", r"0.1\overline{6}"),  # 15/90
        ("25", "25\\\\"),  # a line break of LaTeX
        (r"25\%", "25"),
        (r"\$6", "6.00"),
        ("(1,2)", "(1, 2)"),
        (r"\text{Wednesday}", "wednesday"),
        ("A", r"\textbf{(A)}"),
        ("2516_8", "2516_{8}"),
        ("2516_8", "2516"),
        ("y=2x+3", "2x+3"),
        (r"\frac{\sqrt3}{2}", r"\dfrac{\sqrt{3}}{2}"),
    ],
)
def test_equal_without_a_worker(reference: str, answer: str) -> None:
    assert equivalent(reference, answer)


@pytest.mark.parametrize(
    ("reference", "answer"),
    [
        (r"\frac{1}{3}", "0.333333"),  # exact: 1/3 - 333333/10^6 = 1/(3 * 10^6)
        (r"25\%", "0.25"),  # a percent sign is a unit
        ("2516_8", "2516_9"),
        (r"\frac{1}{6}", r"0.\overline{16}"),
        ("1e3", "1e4"),
        ("A", "B"),
        ("25", "I do not know"),
    ],
)
def test_unequal_without_a_worker(reference: str, answer: str) -> None:
    assert not equivalent(reference, answer)


def test_an_unfinished_box_rejects_or_falls_back_as_asked() -> None:
    text = r"The answer is 25. Hence \boxed{2"
    assert extract(text).answer is None
    assert extract(text).reason == "unfinished box"
    assert extract(text, unfinished_box="ignore").answer == "25"
    assert extract(r"\boxed{25}. Hence \boxed{2").answer == "25"  # the last complete one


def test_rules_apply_in_the_order_given_and_only_those_given() -> None:
    text = "A: 1\nAnswer: 2\n#### 3\nThe answer is 4\nand then 5"
    assert [extract(text, (rule,)).answer for rule in ("a_colon", "answer_colon", "hashes", "answer_is")] == [
        "1",
        "2",
        "3",
        "4",
    ]
    assert extract(text, ("final_number",)).answer == "5"
    assert extract(text, ("hashes", "answer_is")).answer == "3"
    assert extract(text, ("boxed",)).answer is None
    assert not grade("25", "25", rules=("boxed",)).correct


def test_classes_for_votes() -> None:
    assert len({answer_class(a) for a in ("025", "25", "25.0", "$25$", r"25 \text{ cm}", "50/2")}) == 1
    assert answer_class("0.50") == answer_class(r"\frac{1}{2}") == "1/2"
    assert answer_class(r"\text{East}") == answer_class("east") != answer_class("west")
    assert answer_class("(1, 2)") == answer_class("(1,2)")


def test_an_empty_reference_is_the_users_error() -> None:
    with pytest.raises(ValueError, match="reference="):
        grade("25", " ")


def _cases() -> list[dict]:
    assert MATH_DATA_DIR is not None
    lines = (Path(MATH_DATA_DIR) / "grader_cases_dev.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@needs_data
def test_agrees_with_graded_model_outputs() -> None:
    """At least 99.5 % on the development cases; measured 1,000 of 1,000: none to explain."""
    cases = _cases()
    wrong = [c["id"] for c in cases if grade(c["completion"], c["reference"]).correct != c["correct"]]
    assert len(wrong) <= 0.005 * len(cases), wrong


@needs_data
def test_every_math_answer_equals_itself_and_only_itself_among_numbers() -> None:
    assert MATH_DATA_DIR is not None
    lines = (Path(MATH_DATA_DIR) / "math500.jsonl").read_text(encoding="utf-8").splitlines()
    answers = [json.loads(line)["answer"] for line in lines]
    assert all(grade(rf"\boxed{{{a}}}", a, use_symbolic=False).correct for a in answers)
    distinct = [(a, b) for a, b in pairwise(answers) if answer_class(a) != answer_class(b)]
    assert len(distinct) > 450
    assert not any(grade(rf"\boxed{{{b}}}", a, use_symbolic=False).correct for a, b in distinct)


def test_plain_integers_are_fast() -> None:
    """2,000 a second and core is the target; 52,000 measured by `tests.benchmarks.grading`."""
    completions = [f"{'Some reasoning about 17 apples. ' * 60}So \\boxed{{{i}}}." for i in range(2000)]
    start = time.process_time()
    assert sum(grade(c, "25").correct for c in completions) == 1
    assert time.process_time() - start < 1.0


def test_grading_imports_neither_sympy_nor_math_verify() -> None:
    code = (
        "import sys; from harness.grading.grade import grade, equivalent; "
        r"assert grade(r'\\boxed{5}', '5').correct; assert equivalent('2x+2', '2(x+1)'); "
        "sys.exit(any(m in sys.modules for m in ('sympy', 'math_verify', 'torch')))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0


@pytest.mark.parametrize(
    "completion",
    [
        "{" * 1_000_000,
        r"\boxed{" * 150_000,
        r"\boxed{" + "{}" * 500_000 + "}",
        r"\boxed{" + r"\frac{1}{" * 1000 + "1" + "}" * 1001,
        "\\boxed{25\x00\x1b[31m\u202e}",
        r"\boxed{__import__('os').system('id')}",
        r"\boxed{x.__class__}",
        "answer " * 150_000,
        "answer is " * 100_000,
        "1," * 500_000,
        "9" * 1_000_000,
        r"\boxed{" + "9" * 5000 + "}",
        r"\boxed{10^{99999999999}}",
        r"\boxed{1e999999999}",
        "$" * 1_000_000,
        "the answer is " + "$" * 1_000_000,
        "A:" + "(" * 1_000_000,
    ],
    ids=range(17),
)
def test_hostile_completions_are_wrong_at_once(completion: str) -> None:
    start = time.process_time()
    assert not grade(completion, "26", use_symbolic=False).correct
    assert time.process_time() - start < 1.0
