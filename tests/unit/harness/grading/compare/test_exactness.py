"""Numbers are compared exactly: huge fractions, powers, bases, decimals inside tuples, sets and intervals."""

from __future__ import annotations

import pytest

from tests.unit.harness.grading.tables import boxed, cases

RIGHT = {
    r"\frac{2^{100}-1}{2^{100}}": r"1-\frac{1}{2^{100}} ; 1-2^{-100}",
    r"1-\frac{1}{2^{100}}": r"\frac{2^{100}-1}{2^{100}}",
    "7^{-80}": r"\frac{1}{7^{80}} ; \frac{1}{49^{40}}",
    r"\frac{\binom{60}{30}}{4^{30}}": r"\frac{60!}{30!\,30!\cdot 2^{60}}",
    "2^{2010}": "4^{1005}",
    "0.1^{30}": "10^{-30}",
    "e^{-200}": r"\frac{1}{e^{200}}",
    r"\left(\frac{2}{3}\right)^{60}": r"\frac{2^{60}}{3^{60}}",
    r"1-\left(\frac{5}{6}\right)^{100}": r"1-\frac{5^{100}}{6^{100}}",
    "100!": r"100\cdot 99!",
    r"\frac{2018!}{2019^{2018}}": r"\frac{2018 \cdot 2017!}{2019^{2018}}",
    r"\frac{x}{9^{35}}": r"\frac{x}{3^{70}}",
    "-37_8": r"-37_{8} ; -37_{\text{eight}} ; -37",
    "0.12_3": r".12_{\text{three}} ; 0.12_{(3)}",
    "12.34_5": "12.34_5",
    "1101_2": r"1101_{\mathrm{two}}",
    r"(\frac12,1)": "(0.5,1)",
    r"\begin{pmatrix}\frac12\\1\end{pmatrix}": r"\begin{pmatrix}0.5\\1\end{pmatrix}",
    r"[\frac14,1)": "[0.25,1)",
    r"\frac{x}{8}": "0.125x",
    "y=\\frac12x": "y=0.5x",
    r"(\frac13,\frac12)": r"(0.\overline{3},0.5)",
    "[2,5]": r"x \ge 2 \text{ and } x \le 5 ; 2\le x \text{ and } x\le 5 ; x \le 5, x \ge 2",
    "(-3,4]": (
        r"x > -3 \text{ and } x \le 4 ; x\le4 \text{ and } x>-3 ; "
        r"4 \ge x \text{ and } -3 < x ; x \le 4, x > -3"
    ),
    "[0,1)": r"x\ge0 \text{ and } x<1",
    "(1,7)": r"y>1 \land y<7 ; t > 1 and t < 7",
    r"[\sqrt2,3)": r"x\ge\sqrt2 \text{ and } x<3",
}
WRONG = {
    r"\frac{2^{100}-1}{2^{100}}": r"\frac{2^{99}-1}{2^{100}} ; 1",
    r"\frac{5^{30}-1}{5^{30}}": r"\frac{5^{29}-1}{5^{30}}",
    r"\frac{1}{2^{98}}": r"\frac{1}{3^{98}} ; 0",
    r"\frac{20!}{20^{20}}": r"\frac{19!}{20^{20}}",
    "10^{-20}": "10^{-19}",
    r"\frac{1}{2004!}": r"\frac{1}{2006!}",
    r"\frac{2018!}{2019^{2018}}": r"\frac{2017!}{2019^{2018}}",
    "2^{2010}": "4^{1004}",
    "10^{100}+1": "10^{100}",
    r"\sqrt{10^{40}+1}": "10^{20}",
    r"\sqrt2+2^{-900}": r"\sqrt2",
    "e^{-200}": "0",
    r"\pi\cdot10^{-40}": r"2\pi\cdot10^{-40}",
    r"\frac{x}{3^{70}}": r"\frac{x}{3^{71}} ; 0",
    r"(\frac{1}{3^{70}},2)": r"(\frac{1}{3^{71}},2)",
    "-37_8": "-37_9 ; -31 ; 37_8",
    "0.0011_2": "0.0011_3 ; 0.11_2",
    "12.34_5": "12.34_6",
    r"(\sqrt2,1)": "(1.4142135623730951,1)",
    r"\{\frac13,2\}": r"\{0.3333333333333333,2\}",
    r"\frac13+i": "0.3333333333333333+i",
    r"x^2+\frac13": "x^2+0.3333333333333333",
    r"\begin{pmatrix}\frac13\\1\end{pmatrix}": r"\begin{pmatrix}0.333333333333333333\\1\end{pmatrix}",
    r"[\frac23,1)": "[0.6666666666666667,1)",
    r"\frac{x}{7}": "0.142857142857142857x",
    r"\pi,e": "3.141592653589793,2.718281828459045",
    r"\frac{1}{3}\le x<2": r"0.3333333333333333\le x<2",
    "[2,5]": r"x\ge2 \text{ or } x\le5 ; x>2 \text{ and } x\le5",
    "(1,7)": "t > 1 and t > 7",
    r"(-\infty,1)\cup(7,\infty)": r"x<1 \text{ and } x>7",
    "a+b>2": r"a+b<2 ; a+b\ge2 ; -a-b>-3",
}


@pytest.mark.parametrize(("reference", "answer", "right"), cases(RIGHT, WRONG))
def test_boxed_answers(reference: str, answer: str, right: bool) -> None:
    assert boxed(answer, reference).correct is right
