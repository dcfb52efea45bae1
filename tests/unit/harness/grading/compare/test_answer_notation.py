"""What brackets, unit fractions, number words, entities and alternatives say: answers and completions."""

from __future__ import annotations

import time

import pytest

from harness.grading.find.boxes import last_box
from harness.grading.grade import grade
from tests.unit.harness.grading.tables import boxed, cases

RIGHT = {
    r"[0,\infty)": (
        r"[0, +\infty) ; x \ge 0 ; 0 \le x < \infty ; 0 \le x \le \infty ; \{x \in \mathbb{R} : x \ge 0\}"
    ),
    r"[\frac12,\infty)": r"x\ge\frac12 ; \frac12\le x<\infty ; [0.5,\infty)",
    r"(-\infty,2]": r"2 \ge x",
    r"(-\infty,\infty)": r"\text{all real numbers} ; All real numbers ; \mathbb{R} ; -\infty<x<\infty",
    r"(-\infty,-1)\cup(1,\infty)": r"(-\infty,-1) \text{ or } (1,\infty) ; (1,\infty) or (-\infty,-1)",
    r"(-\infty,0)\cup(0,\infty)": r"x\ne0 ; x \neq 0 ; \mathbb{R}\setminus\{0\}",
    r"[1,4]": r"[1,2]\cup[2,4] ; [1,3)\cup(2,4]",
    "(2,-1)": "(2,-1) ; (2;-1) ; A = (2,-1)",
    "(1,-2,3)": "[1,-2,3]",
    "75,75": "75, 75 ; 75 and 75",
    "2,2,3": "3,2,2 ; 2, 2, and 3 ; 2,3,2.0",
    r"\{1,2\}": r"1,2 ; \{1,2,2\}",
    r"\frac12,\frac12": r"\frac12, 0.5",
    r"111, \! 111, \! 111": r"111111111 ; 111,111,111 ; 111,\!111,\!111",
    "1234567": r"1, \! 234, \! 567 ; 1'234'567",
    r"3,\frac12": r"3 and 1/2 ; \frac12, 3",
    "2000": "two thousand ; 2'000",
    "25 m/s": r"25 \frac{m}{s} ; v = 25\frac{m}{s} ; 25\mathrm{\frac{m}{s}}",
    "25": (
        r"x := 25 ; x \coloneqq 25 ; x≔25 ; \underline{\underline{25}} ; \mathbf{\text{25}} ; "
        r"25 or 25.0 ; \frac{50}{2} or 25"
    ),
    r"\text{Monday}": r"\mathbf{\text{Monday}}",
    r"\frac34": "3⁄4",
    "3": r"∛27 ; {3 \choose 1} ; 3 \choose 2",
    r"\pm 3": "+/-3",
    "1011_2": r"(1011)_2 ; 1011 base 2 ; 1011 \text{ base } 2 ; 1011 in base 2 ; 1011_{\text{base 2}}",
    "2A_{16}": "2a_{16} ; (2A)_{16}",
    "C": r"option C ; \text{Choice (C)} ; C: 12",
    "12": "C: 12",
    r"\textbf{(B)}\ 7": r"(B) ; 7 ; (B) 7.0 ; B. 7",
    "x^2+X": "X+x^2",
    r"25^\circ\text{C}": r"25 ; 25°C ; 25^\circ C",
}
WRONG = {
    r"[0,\infty)": r"[0,\infty] ; [0, +\infty] ; (0,\infty] ; [-\infty,0] ; [0,-\infty) ; ]0,\infty[",
    r"[\frac12,\infty)": r"[\frac12,\infty] ; x > \frac12",
    r"(-\infty,2]": r"[-\infty,2] ; [-\infty,2) ; ]-\infty,2[",
    r"(-\infty,\infty)": r"[-\infty,\infty] ; (-\infty,\infty] ; all integers ; all real numbers except 0",
    r"(-\infty,-1)\cup(1,\infty)": r"[-\infty,-1)\cup(1,\infty] ; (-\infty,-1) \text{ and } (1,\infty)",
    r"(-\infty,0)\cup(0,\infty)": r"x \ne 1 ; x = 0 ; 0",
    "0": r"x \ne 0",
    "(2,-1)": "[2,-1] ; (2,-1] ; [2,-1) ; 2<x<-1 ; P(-1,2)",
    "(1,2)": "[1;2] ; [1,2]",
    r"(\sqrt{2},1)": r"[\sqrt{2},1]",
    "(5,4),(3,2)": "[5,4],[3,2]",
    "5": r"[5,5] ; \{5,6\} ; 5, 5",
    "1,000": "(1,000) ; [1,000]",
    "75,75": "75 ; 75,75,75",
    "2,2,3": "2,3 ; 2,3,3 ; 2,2,3,3",
    r"\frac12,\frac12": r"\frac12 ; 0.5",
    r"\frac12": r"\frac12,\frac12",
    r"111, \! 111, \! 111": "111 ; 111,111",
    r"3\frac{1}{2}": "3 and 3/2 ; 3, 1/2 ; 3 or 1/2 ; 1/2 and 3 ; a half",
    "-7/2": "-3 and 1/2",
    "1/2": "3 and 1/2 ; half of 20 ; half a percent ; half dozen ; two halves ; half or more",
    "3/5": "three ; five thirds ; three fifth",
    "3": r"three fifths ; ∛3 ; {n+1 \choose 2}",
    "1/3": "third ; the third",
    "2": "two hundred ; two thousand ; two thirds",
    "-7": "7 ; minus -7 ; negative 7 or 7",
    "25 m/s": (
        r"25 \frac{s}{m} ; 25 \frac{km}{h} ; 25 \frac{m}{s^2} ; 25 \frac{\text{m}}{\text{h}} ; 25 ms ; "
        r"90 \frac{m}{s} ; \frac{25}{s}"
    ),
    "25": (
        r"2x := 25 ; 24 := 25 ; 25 \frac{x}{y} ; 25\frac{a}{b} ; 25\frac{m}{n} ; 24 or 25 ; 25 or 24 ; "
        r"25 or more ; 25 \frac{m}{2}"
    ),
    r"2\sqrt{3}": r"2\sqrt{3}\infty ; 2\sqrt{3}+\infty ; \infty",
    r"\ln 2": r"\ln\infty 2",
    r"\infty": r"2\pi ; \sqrt{2} ; -\infty",
    "12.5": "12. 5 ; 12 .5",
    "1011_2": "1011 base 3 ; (1011)_3 ; 11",
    "C": "option D ; A: 12 ; not option C ; options C and D",
    "12": "C: 13 ; 12: C",
    r"\textbf{(B)}\ 7": "(B) 8 ; (C) 7",
    "2x": "x+X",
    "x^2+X": "x^2+x",
    "x^2+2x+1": "X^2+2x+1",
    r"25^\circ\text{C}": r"25°F ; 25^\circ\text{F}",
}
COMPLETIONS = [
    (r"\boxed{24} or \boxed{25}", "25", False),
    (r"Either $\boxed{25}$ or $\boxed{24}$.", "25", False),
    (r"\boxed{\frac12} or \boxed{0.5}", "1/2", True),
    (r"$\boxed{3}\text{ or }\boxed{-3}$", "3,-3", True),
    (r"first \boxed{24}, then \boxed{25}", "25", True),
    (r"\boxed{24}. Or rather \boxed{25}", "25", True),
    ("so we need 3 and 1/2 cups", "1/2", False),
    ("so we need 3 1/2 cups", "7/2", True),
    ("so it is 18 - 1/18", "1/18", False),
    ("Final answer: x := 25", "25", True),
    (r"so the speed is $25 \frac{m}{s}$", "25 m/s", True),
    ("so 1 million", "1000000", True),
    ("so 1 million", "1", False),
    ("Neither 24 nor 25", "25", False),
    ("so it is √2", "2", False),
    ("so it is 3√2", "2", False),
    ("so 7 mod 3", "3", False),
    ("so 5 choose 2", "2", False),
    ("so 1011 base 2", "2", False),
    ("he has to choose 6", "6", True),
    ("so 25 divided by 2", "2", False),
    ("so 25 plus 2", "2", False),
    ("so log base 3", "3", False),
    ("The solutions are 2 and 3.", "3", False),
    ("x=2 or x=3", "3", False),
    ("He got 20 out of 25", "25", False),
    (r"so it is $3\frac{1}{2}$", "7/2", True),
    (r"so it is $3\frac{1}{2}$", "2", False),
    (r"so it is $\frac{\pi}{2}$", "2", False),
    (r"so it is \frac{\sqrt{3}}{2}", "2", False),
    (r"so $x \equiv 4 \pmod{7}$", "7", False),
    ("so it's 25 dollars and 50 cents", "50", False),
    ("so 1 hour and 3 hours", "4 hours", False),
    ("The answer is A, not C.", "A", True),
    ("The answer is A, not C.", "C", False),
    (r"<think>\boxed{24}</think>25", "25", True),
    (r"<think>\boxed{24}</think> $25$.", "24", False),
    (r"<think>\boxed{24}</think>I checked it in 3 ways.", "24", True),
    ("So the answer is option C.", "C", True),
    ("The answer is [2,-1].", "(2,-1)", False),
    (r"The answer is $[0,\infty]$.", r"[0,\infty)", False),
]


@pytest.mark.parametrize(("reference", "answer", "right"), cases(RIGHT, WRONG))
def test_boxed_answers(reference: str, answer: str, right: bool) -> None:
    assert boxed(answer, reference).correct is right


@pytest.mark.parametrize(("completion", "reference", "right"), COMPLETIONS)
def test_completions(completion: str, reference: str, right: bool) -> None:
    assert grade(completion, reference).correct is right


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"\boxed{1} or \boxed{2} or \boxed 3", "1 or 2 or 3"),
        (r"$\boxed{1}$, or $\boxed{2}$", "1 or 2"),
        (r"\boxed{\text{1 or } \boxed{2}}", r"\text{1 or } \boxed{2}"),
        (r"\boxed{1}, \boxed{2} and \boxed{3}", "1, 2, 3"),
        (r"\boxed{1} or \boxed{", "1"),
    ],
)
def test_boxes_of_which_one_may_be_it_are_read_together(text: str, content: str) -> None:
    box = last_box(text)[0]
    assert box is not None
    assert box.content == content


@pytest.mark.parametrize(
    "answer", [r"\boxed{1} or " * 9000, "[" * 240 + "]" * 240, "(1," * 160, "1 and " * 80]
)
def test_hostile_notation_is_cheap(answer: str) -> None:
    start = time.process_time()
    assert not grade(rf"{answer} \boxed{{26}} {answer}", "25", use_symbolic=False).correct
    assert not grade(rf"\boxed{{{answer}}}", "25", use_symbolic=False).correct
    assert time.process_time() - start < 1.0
