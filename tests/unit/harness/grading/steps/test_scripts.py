"""The step check in other scripts: no blank before a statement, full-width signs, thousands with blanks."""

from __future__ import annotations

import time

import pytest

from harness.grading.steps.check import check_steps

# A text with a place for the result, the right result and a wrong one.
STATEMENTS = [
    ("所以3+4={}", "7", "8"),
    ("因此，3+4={}。", "7", "8"),
    ("总价：20-5={}", "15", "14"),
    ("步骤1：3+4={}", "7", "8"),
    ("20元-5元={}元", "15", "14"),
    ("每人3个，共(3+4)个={}个！", "7", "8"),
    ("答案是-5+8={}", "3", "4"),
    ("所以C(5，2)={}", "10", "20"),
    ("因此14={}", "2*7", "2*8"),
    ("3×4＝{}", "12", "13"),
    ("３＋４＝{}", "７", "８"),
    ("１２÷４＝{}", "３", "４"),
    ("（３＋４）×２＝{}", "１４", "１５"),
    ("よって3+4={}です", "7", "8"),
    ("合計は3+4={}個。", "7", "8"),
    ("따라서3+4={}이다", "7", "8"),
    ("20원 - 5원 = {}원", "15", "14"),
    ("Итак,3+4={}", "7", "8"),
    ("Всего 20рублей-5рублей={}рублей", "15", "14"),
    ("إذن3+4={}", "7", "8"),
    ("المجموع：3+4={}،", "7", "8"),
    ("٣+٤={}", "٧", "٨"),
    ("ดังนั้น3+4={}บาท", "7", "8"),
    ("“3+4={}”", "7", "8"),
    ("3\u00a0+\u00a04\u00a0=\u00a0{}", "7", "8"),
]


@pytest.mark.parametrize(("text", "right", "wrong"), STATEMENTS)
def test_one_statement_is_found_and_judged(text: str, right: str, wrong: str) -> None:
    assert [step.ok for step in check_steps(text.format(right)).steps] == [True]
    assert [step.ok for step in check_steps(text.format(wrong)).steps] == [False]


def test_a_step_is_the_text_as_it_was_written() -> None:
    text = "因此，３＋４＝８。"
    (step,) = check_steps(text).steps
    assert (text[step.start : step.end], step.lhs, step.rhs, step.value) == ("３＋４＝８", "３＋４", "８", 8)


@pytest.mark.parametrize(
    "text", ["３ｘ＋４＝８", "2х+3=8", "方程x+5=8", "所以f(5)+3=9", "3+4=8x", "设5个苹果=250/5"]
)
def test_letters_are_variables_still(text: str) -> None:
    assert check_steps(text).num_steps == 0


@pytest.mark.parametrize(
    ("text", "ok"),
    [
        ("1 000 + 1 = 1 001", True),
        ("12 345 + 1 = 12 346", True),
        ("12 345 + 1 = 12 347", False),
        ("2 * 2 500 = 5 000", True),
        ("2 * 2 500 = 5 001", False),
        ("1\u00a0000 + 1 = 1\u202f001", True),
        (r"1\,000 + 1 = 1\,002", False),
        ("1,000 + 1 = 1,001", True),
        ("Step 1 100+50=150", True),  # no thousands: nothing in the line shows it
        ("100+200=300，400-100=300", True),  # a full-width comma parts clauses, not digits
    ],
)
def test_thousands_are_read_as_they_are_written(text: str, ok: bool) -> None:
    found = check_steps(text).steps
    assert found and all(step.ok for step in found) is ok


@pytest.mark.parametrize(
    ("text", "ok"),
    [
        ("50 - 20% = 40", True),  # as a calculator says: 50 - 0.2 * 50
        ("50 - 20% = 49.8", True),
        ("50 - 20% = 30", True),  # the sign as a unit
        ("50 - 20% = 41", False),
        ("80 + 10% = 88", True),
        ("50% + 20% = 60%", False),
    ],
)
def test_a_percentage_taken_off_is_one_of_what_stands_before(text: str, ok: bool) -> None:
    assert [step.ok for step in check_steps(text).steps] == [ok]


def test_a_step_without_a_value_is_no_crash() -> None:
    assert [step.ok for step in check_steps("12/3 = 4/0").steps] == [False]
    assert [step.ok for step in check_steps(r"5/0 \equiv 3 \pmod{7}").steps] == [False]
    assert check_steps("2/5 is equal to 9^9^9 hectares").num_steps == 0


@pytest.mark.parametrize("piece", ["所以", "5元", "= 1 000 ", "times ", "1\\frac{"])
def test_hostile_text_costs_seconds_at_most(piece: str) -> None:
    start = time.process_time()
    check_steps(piece * (131_072 // len(piece)))
    assert time.process_time() - start < 20.0


def test_a_side_of_many_characters_is_not_read() -> None:
    start = time.process_time()
    assert check_steps("9" * 130_000 + "/1 = 2").num_steps == 0
    assert time.process_time() - start < 5.0


def test_nested_fractions_that_do_not_parse_are_tried_once() -> None:
    start = time.process_time()
    assert check_steps("1\\frac{" * 42 + "1" + "}{2}" * 42 + " + 1 = 2").num_steps == 0
    assert time.process_time() - start < 5.0
