"""The step check in marked-up text: Markdown's emphasis, LaTeX's fonts, code signs, roots."""

from __future__ import annotations

import time

import pytest

from harness.grading.steps.check import check_steps


@pytest.mark.parametrize(
    "text",
    [
        "**5 + 6 = {}**",
        "5 + 6 = **{}**",
        "**5 + 6** = {}",
        "**5** + **6** = **{}**\n2. So",
        "*5 + 6 = {}*",
        "5 + 6 = *{}*.",
        "***5 + 6 = {}***",
        "* *5 + 6 = {}*",
        "so it is **5 + 6 = {}**, or",
        "**Step 1** 5 + 6 = {}",
        "5 + 6 = `{}`",
        "`5 + 6` = `{}`",
        "```\n5 + 6 = {}\n```",
        r"5 + 6 = \mathbf{{{}}}",
        r"5 + 6 = \text{{{}}}",
        r"$5 + 6 = \textbf{{{}}}$",
        "$5 + $6 = **${}**",
        "5 + 6 == {}",
        r"\sqrt{{121}} = {}",
        "sqrt(121) = {}",
        "√121 = {}",
        r"\sqrt[3]{{1331}} = {}",
        r"9 + \sqrt[10]{{1024}} = {}",
        r"$2\sqrt{{25}} + 1 = {}$",
        r"5 + \sqrt{{\frac{{72}}{{2}}}} = {}",
        "_5 + 6 = {}_",
        "so __5 + 6 = {}__.",
        "5 + 6 = _{}_",
        "_5_ + _6_ = _{}_",
        r"\mathbf{{5 + 6 = {}}}",
        r"\text{{5 + 6 = {}}}",
        r"\text{{Together 5 + 6 = {}}}",
        "5 + 6 = ${}$",
        "$5 + 6$ = ${}$",
        "$5$ + $6$ = ${}$",
        r"\(5 + 6\) = \({}\)",
    ],
)
def test_marked_up_statements_are_read(text: str) -> None:
    for result, ok in ((11, True), (12, False)):
        assert [step.ok for step in check_steps(text.format(result)).steps] == [ok]


@pytest.mark.parametrize(
    "text",
    ["2 * 3 = 6", "2 *3 + 4* 2 = 14", "2* 3 = 6", "2**3 = 8", "2 ** 3 = 8", "2 **3 = 8", "2**3 + 3**2 = 17"],
)
def test_products_and_powers_stay(text: str) -> None:
    assert [step.ok for step in check_steps(text).steps] == [True]


@pytest.mark.parametrize(
    "text",
    [
        r"\sqrt{x} = 5",
        r"4\sqrt{3} = 5",  # irrational
        r"\sqrt{-4} = 2",
        r"x\sqrt{16} = 4",
        r"$AB \sqrt{16} = 3$",
        r"8 = 4\sqrt{x}",
        r"\sqrt16 = 5",  # in LaTeX the root of 1, then 6
        r"25_{\text{12}} = 29",  # in base 12
        "x **2 + 3 = 8",
        "x_1 + 6 = 12",
        "5_2 + 6 = 12",
        r"\mathbf{x + 6 = 12}",
        "$2x$ + $6$ = $12$",
    ],
)
def test_no_step(text: str) -> None:
    assert check_steps(text).num_steps == 0


def test_a_step_shows_no_marks() -> None:
    for text in ("**5 + 6** = **11**", "_5 + 6_ = _11_"):
        (step,) = check_steps(text).steps
        assert (step.lhs, step.rhs) == ("5 + 6", "11")


@pytest.mark.parametrize(
    ("text", "ok"),
    [
        ("2 hours + 90 minutes = 210 minutes", True),  # 120 + 90
        ("2 hours + 90 minutes = 3.5 hours", True),
        ("2 hours + 90 minutes = 210", True),
        ("2 hours + 90 minutes = 92", True),  # units are not checked
        ("2 hours + 90 minutes = 211 minutes", False),
        ("2 dollars + 50 cents = 250 cents", True),  # 200 + 50
        ("2 dollars + 50 cents = $2.60", False),
        ("3 m + 20 cm = 320 cm", True),
        ("1 hour + 30 minutes = 1.5 hours = 90 minutes", True),
        ("2 hours + 90 apples = 210 apples", False),
        ("2 hours + 3 hours = 6 hours", False),
    ],
)
def test_different_units_get_the_benefit_of_the_doubt(text: str, ok: bool) -> None:
    assert check_steps(text).steps and all(step.ok for step in check_steps(text).steps) is ok


def test_hostile_stars_cost_seconds_at_most() -> None:
    start = time.process_time()
    for piece in ("*", "**a ", "*a* ", "`", "√", r"\sqrt{", "_", "_a ", "$", "$1$ + "):
        check_steps(piece * (131_072 // len(piece)))
    assert time.process_time() - start < 20.0
