"""References in the forms that MATH has: words beside values, lists in words, ratios, letters."""

from __future__ import annotations

import pytest

from tests.unit.harness.grading.tables import boxed, cases

RIGHT = {
    r"80\text{ cents}": r"80 cents. ; \text{80 cents} ; 80 \text{ cents per apple}",
    "45 mph": r"45 miles/hour ; 45 mi/hr ; 45 \text{ miles per hour} ; 45\ \text{mph}",
    "6 inches": r"6 in. ; 6 in ; 6\text{ in} ; 6 inch ; 6 inches tall",
    "15 cm^2": r"15\text{cm}^2 ; 15\ cm^2 ; 15\,cm^{2} ; \text{Area} = 15 \text{ cm}^2 ; 15",
    "5 hours": (
        r"\text{5 hours} ; 5\text{ hours} ; t = 5 \text{ hours} ; 5.0 hours ; 5 hours later ; "
        r"5 hours of work ; five hours ; \textbf{5 hours} ; 5 hour"
    ),
    "2 years": "2 yrs",
    "10 dollars": r"$10 ; \$10.00 ; 10 USD ; 10 bucks",
    "10 miles": "10 miles away ; 10 mi. ; 10",
    r"\frac{3}{4}\pi\text{ inches}": r"\frac{3\pi}{4} ; \frac{3\pi}{4} \text{ in} ; 0.75\pi",
    r"480 + 480\sqrt{3}\text{ feet}": r"480(1+\sqrt3) ; 480 + 480\sqrt{3}",
    r"\frac{270}7\text{ degrees}": r"\frac{270}{7} ; \frac{270}{7}^\circ ; 38\frac47",
    r"20 \text{ sq units}": "20 ; 20 square units",
    r"320000 \mbox{ acres}": "320000 ; 320,000 acres",
    r"0.4\mbox{ miles}": r"0.4 ; \frac25 \text{ miles}",
    r"100\%": "100 ; 100% ; 100 percent",
    "0": "0% ; 0 cm ; 0 degrees",
    "1/4": r"25% ; 25 percent ; \frac{25}{100}",
    "1.5": "150% ; 1.5%",
    "0.1": "10 percent",
    "1:4": "1:4 ; 1 : 4",
    "5:6": "5:6",
    "3:10": "3:10",
    "12:30": "12:30",
    "0:45": "0:45",
    "7": (
        r"3+4=7 ; 7=3+4 ; x=7 ; x=y=7 ; 14/2=7=7 ; 2^3-1=7 ; 7 ; x=\frac{14}{2}=7 ; 7 = 21/3 ; "
        r"\{7\} ; a_3 = 7 ; f(2)=7 ; x=+7 ; \sqrt{49} = 7 ; 49^{1/2}=7"
    ),
    "-7": r"-7 ; x=-7 ; -\sqrt{49} ; -(7)",
    "3/7": (
        r"6/14 ; \frac{6}{14} ; \frac37 ; 3\div7 ; 3÷7 ; \dfrac{3}{7} ; 0.\overline{428571} ; "
        r"\frac{-3}{-7} ; 3 / 7 ; {3}/{7} ; \left(\frac{3}{7}\right) ; \frac{3}{7} \approx 0.43"
    ),
    "2x+3y": "3y+2x ; 2x + 3y",
    "(2,-1)": (
        r"x=2, y=-1 ; (2, -1) ; (x,y)=(2,-1) ; \left(2,-1\right) ; x=2 \text{ and } y=-1 ; "
        r"\langle 2,-1 \rangle ; (2.0,-1.0) ; (2,-1)"
    ),
    r"\begin{pmatrix}1\\2\end{pmatrix}": r"\begin{bmatrix}1\\2\end{bmatrix}",
    "A,B": r"B,A ; A, B ; A \text{ and } B ; \text{A, B} ; A and B",
    r"\text{(B)}": r"B ; (B) ; \textbf{(B)} ; B) ; (B) 12 ; B. 12 ; \mathrm{(B)} ; b",
    "2,3,5": (
        r"5,3,2 ; 2, 3, 5 ; 2, 3, \text{ and } 5 ; 2,3\text{, and }5 ; \{2,3,5\} ; 2, 3 and 5 ; "
        "2, 3, and 5"
    ),
    r"7, -2, \text{ and } -5": r"-5,-2,7 ; 7,-2,-5 ; \{7,-2,-5\}",
    r"19 \text{ and }43": "19,43 ; 43, 19 ; 19 and 43",
    r"-2 \text{ or } -12": r"-12,-2 ; -2, -12 ; x=-2 \text{ or } x=-12 ; \{-2,-12\}",
}
WRONG = {
    r"80\text{ cents}": r"\$8 ; 0.80 ; 0.80 cents",
    "5 hours": r"t = 5 \text{ minutes} ; \text{5 minutes} ; five minutes ; 5 weeks later",
    "1 day": "24 ; 1 hour",
    "10 dollars": "10 pounds of ; 10 euros ; 10 cents",
    "10 miles": "10 m ; 10 min ; 10 km ; 10 minutes ; 10 miles per hour ; 10 square miles ; 10 cm",
    r"\frac{3}{4}\pi\text{ inches}": r"\frac{3\pi}{4} \text{ cm} ; \frac{3\pi}{4}\text{ square inches}",
    r"480 + 480\sqrt{3}\text{ feet}": r"480 + 480\sqrt{3} \text{ inches} ; 480",
    r"\frac{270}7\text{ degrees}": r"\frac{270}{7} \text{ radians} ; \frac{270}{7}\%",
    r"320000 \mbox{ acres}": "320000 hectares ; 320000 miles",
    r"0.4\mbox{ miles}": r"0.4 km ; 40\%",
    r"100\%": "1 ; 10% ; 1%",
    "1/4": r"25 ; 0.25% ; \frac14\% ; 2.5\%",
    "1.5": "15% ; 0.015",
    "0.1": "0.1 percent ; 1%",
    "1:4": "4:1 ; 1:5 ; 4 ; 14 ; 1:4:1",
    "5:6": "6:5 ; 56",
    "3:10": "10:3 ; 3:11 ; 310",
    "12:30": "2:5 ; 24:60 ; 12:31 ; 12:3 ; 30:12",
    "0:45": "0:75 ; 45",
    "2:1:3": "2:3:1 ; 4:2:3",
    "7": (
        "3+5=7 ; 3+4=8=7 ; x=8,7 ; 7=8 ; 7 = 7 = 8 ; 14/2=8=7 ; x=7y ; 2^3=7 ; 7!=7 ; 7x=49 ; "
        r"x=7 or 8 ; x \in \{7,8\} ; 7>6>8 ; 7 \ne x"
    ),
    "-7": r"\sqrt{49}=-7 ; 7 ; \pm 7 ; - -7",
    "3/7": (
        r"7/3 ; 3\frac17 ; 0.43 ; 3:8 ; 3.7 ; 37 ; \frac{3}{-7} ; 3/7/1.1 ; \frac37 + 1 ; "
        r"\frac{3}{7}x ; 3 7 ; 6/15"
    ),
    "x^2": "2x ; x ; x2 ; x^3 ; x^{2}+0.1 ; -x^2",
    "2x+3y": "2x-3y ; 3x+2y ; 2x ; 5xy ; (2x,3y)",
    "(2,-1)": "(-1,2) ; (2,1) ; 2-1 ; 1 ; x=2 ; (2,-1,0) ; (2;-2)",
    r"\begin{pmatrix}1\\2\end{pmatrix}": r"\begin{pmatrix}2\\1\end{pmatrix} ; 1 ; 12",
    "A,B": "A ; B ; A,C ; AB ; C",
    r"\text{(B)}": r"A ; (A) ; \text{(A) } B ; (B) or (C) ; (A), (B) ; not (B) ; B, C ; \text{(A)}",
    "2,3,5": r"2,3 ; 2,3,5,7 ; (5,3,2) ; 2,3,6 ; 235 ; 2.3.5 ; 2,3;6 ; \{2,3\},5 ; 2 or 3",
    r"7, -2, \text{ and } -5": r"7,-2 ; 7,2,5 ; 7, -2, \text{ and } 5",
    r"19 \text{ and }43": "19 ; 62 ; 1943 ; 19.43 ; 19,44",
    r"-2 \text{ or } -12": "-2 ; 2,12 ; (-2,-12) ; -14",
}


@pytest.mark.parametrize(("reference", "answer", "right"), cases(RIGHT, WRONG))
def test_boxed_answers(reference: str, answer: str, right: bool) -> None:
    assert boxed(answer, reference).correct is right
