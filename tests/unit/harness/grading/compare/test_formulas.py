"""Comparison of formulas: what is one, what is read, and that nothing explodes."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import pytest

from harness.grading.compare.expressions import Unreadable, parse
from harness.grading.compare.symbolic import compare, rational, real
from harness.grading.grade import equivalent, grade

EQUAL = [
    ("25", "5^2"),
    ("25", r"\binom{7}{2} + 4"),  # 21 + 4
    ("25", "a + b = 25"),
    (r"2\sqrt{3}", r"\sqrt{12}"),
    (r"7\pi", "7*pi"),
    ("x+1", "1+x"),
    ("x^2-1", "(x-1)(x+1)"),
    ("(1, 1/2)", "(1,0.5)"),
    (r"\{1,2\}", r"\{2,1\}"),
    (r"1 \text{ or } 2", "2, 1"),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{bmatrix}1\\2\end{bmatrix}"),
    ("x<3", r"(-\infty,3)"),
    (r"(-\infty,3)", "x<3"),
    (r"\log_2 3", r"\frac{\ln 3}{\ln 2}"),
    (r"\sqrt{2}+\sqrt{3}", r"\frac{1}{\sqrt3-\sqrt2}"),
    ("-2", r"\sqrt[3]{-8}"),
    (r"\sqrt[3]{-2}", r"-\sqrt[3]{2}"),
    ("x^2+y^2=25", r"\frac{x^2}{25}+\frac{y^2}{25}=1"),
    ("y=x^2", "x^2-y=0"),
    (r"\sin 2x", r"2\sin x\cos x"),
    ("2^{n+1}", r"2\cdot 2^n"),
    ("|x|", r"\sqrt{x^2}"),
]
UNEQUAL = [
    (r"(-\infty,3)", "x<4"),
    ("25", "2 5"),
    ("10", "2 5"),
    (r"2\sqrt{3}", r"\sqrt{13}"),
    ("(1,2)", "(2,1)"),
    ("12", "1,2"),  # a list, not a thousands separator
    ("1/0", "1"),
    ("25", r"\frac{25}{0}"),
    ("25", "x-x+25"),
    ("x", r"\sqrt{x^2}"),
    ("x^2=y^2", "x=-y"),
    ("y=2x+1", r"\sin^2 x+\cos^2 x=1"),  # holds everywhere
    ("y=2x+1", "x=x"),
    ("x^2+X", "x^2+x"),
    ("120", "5!!"),
]


@pytest.mark.parametrize(
    ("reference", "answer", "equal"), [(*p, True) for p in EQUAL] + [(*p, False) for p in UNEQUAL]
)
def test_formulas(reference: str, answer: str, equal: bool) -> None:
    assert equivalent(reference, answer) is equal


def test_exact_values() -> None:
    assert rational(r"\binom{7}{2}+4") == 25
    assert rational(r"\frac{3}{4}-0.5") == Fraction(1, 4)
    assert rational(r"\sqrt{2}") is None
    assert real(r"\frac{1}{3}") == Fraction(1, 3)
    assert real(r"\sqrt{8}") == real(r"2\sqrt{2}") != real("2.8284271247461903")


@pytest.mark.parametrize(
    "text",
    [
        *(
            "__import__('os')",
            "x.__class__",
            'open("f")',
            r"\input{/etc/passwd}",
            r"\def\x{\x\x}",
            "lambda: 0",
        ),
        *("25\x00", "é", "(" * 41 + "1" + ")" * 41, "", "2 5", "1+", "+" * 501),
    ],
)
def test_what_is_no_formula_is_not_read(text: str) -> None:
    with pytest.raises(Unreadable):
        parse(text)


@pytest.mark.parametrize(
    "answer",
    [
        "9^{9^{9^{9}}}",
        "(123456789!)!",
        r"\sin(10^{10^{10}})",
        r"\binom{99999999}{4999999}",
        r"e^{e^{e^{e^{e}}}}",
        r"\sum_{k=1}^{999999999} k!",
        r"\sum_{i=1}^{2000} \sum_{j=1}^{2000} \sum_{k=1}^{2000} 1",
        "9" * 400 + "^{" + "9" * 50 + "}",
        "!".join(["9"] * 3) + "!" * 40,
        "+".join(["5000!"] * 60),
        "-" * 450 + "1",
        "^2" * 200,
        r"\sqrt{" * 60 + "2" + "}" * 60,
        "|" * 400,
    ],
)
def test_an_explosion_ends_at_once(answer: str) -> None:
    start = time.process_time()
    for reference in ("25", r"\sqrt{3}", "x^2+1", r"\frac{1}{2^{99}}", "y=2x"):
        assert not grade(rf"\boxed{{{answer}}}", reference).correct
    assert time.process_time() - start < 5.0


def test_random_text_neither_passes_nor_raises() -> None:
    rng = random.Random(20250)
    parts = [
        *"0123456789xyei+-*/^_=<>()[]{}|,.!&'\\ ",
        r"\frac{",
        r"\sqrt",
        r"\sin",
        r"\log_",
        r"\sum_{i=1}^",
        r"\pm",
    ]
    parts += [
        r"\begin{pmatrix}",
        r"\end{pmatrix}",
        r"\{",
        r"\}",
        r"\infty",
        r"\cup",
        r"\text{",
        r"\\",
        "or",
        "and",
        "!",
    ]
    for _ in range(3000):
        answer = "".join(rng.choice(parts) for _ in range(rng.randint(1, 14)))
        for reference in ("31337", r"\sqrt{31337}", "(3,1337)", "x>31337"):
            assert not grade(rf"\boxed{{{answer}}}", reference).correct, answer


def test_threads_agree() -> None:
    pairs = [(rf"\sqrt{{{n}}}+1", rf"1+\sqrt{{{n}}}") for n in range(2, 60)]
    with ThreadPoolExecutor(4) as threads:
        assert all(equal for equal, _ in threads.map(lambda pair: compare(*pair), pairs))


def test_grading_starts_no_process_and_imports_no_algebra_system() -> None:
    code = (
        "import sys, os; from harness.grading.grade import equivalent; assert equivalent('2x+2', '2(x+1)'); "
        "sys.exit(any(m in sys.modules for m in ('sympy', 'math_verify', 'torch', 'subprocess')))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0
