"""GSM8K with other numbers. Each answer is evaluated anew by another evaluator; no problem text is kept."""

from __future__ import annotations

import ast
import operator
import os
import re
from fractions import Fraction

import pytest

from harness.data import gsm8k, gsm8k_perturbed
from harness.data.constants import implied, written
from harness.data.perturb import perturbed
from harness.types import Problem

needs_data = pytest.mark.skipif("MATH_DATA_DIR" not in os.environ, reason="MATH_DATA_DIR is not set")
OPERATIONS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


def value(expression: str) -> Fraction:
    """By Python's own parser, on Fractions."""

    def of(node: ast.AST) -> Fraction:
        if isinstance(node, ast.BinOp):
            return OPERATIONS[type(node.op)](of(node.left), of(node.right))
        assert isinstance(node, ast.Constant)
        return Fraction(str(node.value))

    assert re.fullmatch(r"[-+*/().\d]+", expression)
    return of(ast.parse(expression, mode="eval").body)


def numbers(text: str) -> set[Fraction]:
    return {Fraction(n.replace(",", "").rstrip(".")) for n in re.findall(r"\d[\d,]*\.?\d*|\.\d+", text)}


def gsm(text: str, *steps: str) -> Problem:
    lines = [f"so <<{s}={value(s)}>>{value(s)}" for s in steps]
    answer = str(value(steps[-1]))
    return Problem("p", "gsm8k", "train", text, answer, solution="\n".join([*lines, f"#### {answer}"]))


def check(twin: Problem) -> None:
    """Each step is true, of the text's numbers, earlier results and constants; the last is the answer."""
    known = numbers(twin.text) | implied(twin.text) | written(twin.text)
    steps = re.findall(r"<<(.+?)=(.+?)>>", twin.solution or "")
    for expression, result in steps:
        assert value(expression) == Fraction(result) > 0, twin.id
        assert {Fraction(n) for n in re.findall(r"\d*\.?\d+", expression)} <= known, twin.id
        known.add(Fraction(result))
    assert Fraction(twin.answer) == Fraction(steps[-1][1]) and twin.answer.isdigit()


def test_the_numbers_of_text_steps_and_answer_change_together() -> None:
    original = gsm("Ann has 14 pens and Bob has 8 more. How many have they?", "14+8", "14+22")
    twin = perturbed(original)
    assert twin is not None
    a, b = (int(n) for n in re.findall(r"\d+", twin.text))
    assert (a, b) != (14, 8) and a != 14 and b != 8
    assert twin.answer == str(a + (a + b)) and twin.pair_id == "p" and twin.split == "perturbed"
    assert re.sub(r"\d+", "#", twin.text) == re.sub(r"\d+", "#", original.text)
    assert perturbed(original) == twin  # always the same one
    check(twin)


def test_a_value_that_stands_twice_changes_twice_and_an_article_follows_it() -> None:
    twin = perturbed(
        gsm("A 9-hour shift pays 30 dollars. What do 9 hours and 30 dollars more give?", "9+30", "39+30")
    )
    assert twin is not None
    first, pay, again, more = re.findall(r"\d+", twin.text)
    assert first == again and pay == more
    assert twin.text.startswith("An " if first in ("8", "11", "18") else "A ")


@pytest.mark.parametrize(
    ("text", "steps", "why"),
    [
        ("Of 5 pens 3 are red and 2 are blue. With 9 more?", ["5+9"], "2 + 3 = 5 stands in no step"),
        ("She has 6 pens and 8 caps. How many?", ["6*40"], "40 has no explanation"),
        ("He ate 10, then gave 4 away, 6 left, times 6?", ["10-4", "6*6"], "6 is a number and a result"),
        (
            "He works 45 hours with overtime after 40. Pay at 10?",
            ["45*10"],
            "the rule depends on the numbers",
        ),
        ("It costs 20% of the rest. How much?", ["20*1"], "a share is no free number"),
        ("How many in two weeks?", ["2*7"], "no digits"),
    ],
)
def test_what_the_rule_cannot_be_sure_of_is_left_out(text: str, steps: list[str], why: str) -> None:
    assert perturbed(gsm(text, *steps)) is None, why


def test_a_wrong_or_missing_annotation_leaves_the_problem_out() -> None:
    text = "Ann has 14 pens and Bob has 8. How many?"
    for solution in (
        None,
        "22\n#### 22",
        "<<14+8=23>>23\n#### 23",
        "<<14+8=22>>22\n<<22/3=7.33>>7.33\n#### 7.33",
    ):
        assert (
            perturbed(Problem("p", "d", "train", text, (solution or "22").split()[-1], solution=solution))
            is None
        )


@needs_data
def test_every_perturbed_test_problem_is_true_and_over_two_fifths_have_one() -> None:
    originals = {p.id: p for p in gsm8k.load("test")}
    twins = gsm8k_perturbed.load("test")
    assert len(twins) >= 0.4 * len(originals)
    for twin in twins:
        check(twin)
        original = originals[twin.pair_id or ""]
        assert twin.answer != original.answer and twin.text != original.text
        blank = [
            re.sub(r"\ban?\b", "a", re.sub(r"\d[\d,]*", "#", p.text), flags=re.I) for p in (twin, original)
        ]
        assert blank[0] == blank[1], twin.id
