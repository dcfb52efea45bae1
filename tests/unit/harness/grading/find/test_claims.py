"""The last number of a text: not from a false equation, not a page or theorem, and with its unit."""

from __future__ import annotations

import time

import pytest

from harness.grading.grade import grade

SAYS_25 = [
    "So it costs 100*.25=$25",
    "because 10/.4=25",
    r"so $90,\!000-89,\!975=25$",
    "20 + 2.5+2.5 = $25",
    "so 2, 500 / 100 = 25",
    r"thus $1/4 = 25\%$",
    r"so $\$0.25 = 25\text{ cents}$",
    "so 0.25 = 25 cents",
    "so 0100 - 0035 = 25",
    "He pays in $500 : $20 = 25",
    "so the total is 20 + 5 = 25",
    "30 - 5 = 25 apples",
    "x = 25",
    "5 * 5 = 25",
    "she has 2 + 3 = 5 and 5 * 5 = 25 eggs",
    "half of 50 = 25",
    "$20 + $5 = $25",
    "50% of 50 = 25",
    "2(10)+5 = 25",
    "10 + 10 + 5 = 20 + 5 = 25",
    "Total = $20 x 1.25 = $25",
    "1,000 / 40 = 25",
    "number 25",
    "25 pages",
    "She read 25 pages",
    "He is on day 25",
    "3^2+4^2=25",
    "5²=25",
    "The result of step 3 is 25",
    "so he needs 25",
    "10 minutes * 2 + 5 minutes = 25 minutes",
    "30 apples - 5 apples = 25 apples",
    "12 is more than 5, 20+5=25",
    "3 1/2 + 21 1/2 = 25",
    "so f(5) = 25",
    "x_1 = 25",
    "<<20+5=25>>25",
    "20+5=<<20+5=25>>25",
    "100 / 4 = 25",
    "5 x 5 = 25",
    "75/3=25",
    "0.25 * 100 = 25",
    "50 / 2 = 25.",
    "50 : 2 = 25",
    "25% of 100 = 25",
    "in 2 hours he makes 25",
    "7 - 2 = 5, 5^2 = 25",
    "2 dozen + 1 = 25",
    "$24 + 1 = 25$",
    "24 + 1 \\approx 25",
    "24.9 ≈ 25",
    "24.99 + .01 = 25",
    "1. 20 + 5 = 25",
    "2 1/2 * 10 = 25",
    "Total cost 20\n+5\n=25",
    "cost 30\n-5\n=25",
    "(1/2)50 = 25",
    "- 5 * 5 = 25",
    "1 + " * 40 + "1 = 25",  # too long to look at its start
    "75 * 1/3 = 25",
    "She is on page 25",
    "76.5 / 3 = 25",
]
SAYS_NOTHING = [
    "5*.4 = 25",
    "So 5 * 4=$25",
    "24 = 25",
    "so 24 = 25",
    "x = 24 = 25",
    "see page 25",
    "See page 25.",
    "see Figure 25",
    "by Theorem 25",
    "by Equation (25)",
    "see p. 25",
    "see pp. 20 and 25",
    "chapter 25",
    "section 25",
    "Problem 25",
    "in question 25",
    "Exercise 25",
    "Step 25:",
    "footnote 25",
    "Table 25",
    "example 25",
    "see [25]",
    "line 25",
    "lemma 25",
    "20 + 4 = 25",
    "5 * 4 = 25",
    "$24 = 25$",
    "$24=25$",
    "26 - 2 = 25",
    "20 + 4 = 24 = 25",
    "24 == 25",
    "version 25",
    "pages 20-25",
    "2 x 12 = 25",
    "page 25",
    "eq. 25",
    "eq. (25)",
    "item 25",
    "appendix 25",
    "Fig. 25",
    "24 \\ne 25",
    "24 < 25",
    "100/3 = 25",
    "**24 = 25**",
    "24 equals 25",
]


@pytest.mark.parametrize("text", SAYS_25)
def test_the_last_number(text: str) -> None:
    assert grade(text, "25").correct


@pytest.mark.parametrize("text", SAYS_NOTHING)
def test_no_last_number(text: str) -> None:
    assert not grade(text, "25").correct


@pytest.mark.parametrize(
    ("completion", "reference", "right"),
    [
        ("The answer is 24 = 25", "25", False),
        ("Answer: 24 = 25", "25", False),
        ("#### 24 = 25", "25", False),
        ("#### 20+5 = 25", "25", True),
        ("The answer is 20 + 5 = 25.", "25", True),
        ("The answer is 5 kg", "5 m", False),
        ("The angle is 30°", r"\frac{\pi}{6}", True),
        (r"The angle is $30^\circ$", r"\frac{\pi}{6}", True),
        ("The angle is 30", r"\frac{\pi}{6}", False),
        ("The answer is on page 25.", "25", True),
        ("It takes 5 minutes.", "5 hours", False),
        ("So she runs 5 km in total.", "5 m", False),
        ("The probability is 25%.", "1/4", True),
        ("The probability is 0.25%.", "1/4", False),
        ("So it is 50%.", "50", True),
        ("She makes $18 every day.", r"\$18", True),
        ("Answer: 5 kg.", "5 kg", True),
        ("The answer is 0.5%.", "1/2", False),
        ("The answer is 50%.", "1/2", True),
        ("Answer: 0.5 %", "0.5", False),
        ("The answer is 10:60.", "5:30", False),
        ("The answer is 5:30.", "5:30", True),
        ("The answer is 50 percent", "1/2", True),
        ("The answer is 0.5 percent.", "1/2", False),
        (r"The answer is $\{1,\{2\}\}$.", r"\{1,2\}", False),
        ("so it is 0.5%", "0.5", False),
        ("so it is 0.5%", "1/2", False),
        ("so it is 50%", "1/2", True),
        ("so it is 25%", "25", True),
        ("The total is 5 kg", "5 m", False),
        ("so it is 5 kg", "5 m", False),
        ("so 5 hours", "5 minutes", False),
    ],
)
def test_signs_and_units_in_sentences(completion: str, reference: str, right: bool) -> None:
    assert grade(completion, reference).correct is right


@pytest.mark.parametrize(
    "text", ["1" * 79 + " = 25", "(" * 150 + "5 = 25", "1 . " * 40 + "= 25", "see " * 40_000 + "25"]
)
def test_hostile_text_is_cheap(text: str) -> None:
    start = time.process_time()
    grade(text, "26", use_symbolic=False)
    assert time.process_time() - start < 1.0
