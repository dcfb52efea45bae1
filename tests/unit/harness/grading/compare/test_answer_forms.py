"""Forms of answers, each decided on its merits: what says the reference's value, and what does not."""

from __future__ import annotations

import time

import pytest

from harness.grading.find.extraction import extract
from harness.grading.grade import answer_class, grade, number_in

RIGHT = {
    "25": [
        *(r"\text{The answer is } \boxed{25}",),
        *("x = 5^2 = 25", "50/2 = x = 25", "25 = x", "20 + 5 = 25", r"\sqrt{625} = 25", r"a + b = 25"),
        *(r"\text{Total} = 25", r"\text{Total: } 25", r"\text{The answer is } 25", r"\therefore x = 25"),
        *(
            r"\angle A = 25^\circ",
            r"25 \textdegree",
            r"25\text{ (apples)}",
        ),
        *(
            r"\textbf{(A)}\ 25",
            r"\text{(A) } 25",
            "(A) 25",
            "A. 25",
            r"\bf 25",
            r"\color{red}{25}",
            r"\large 25",
        ),
        *("5²", "２５", "\u202f25", "twenty-five", r"\approx 25", r"n \equiv 25 \pmod{30}", "25 (mod 30)"),
        *(
            "f(5) = 25",
            "25 = P(3)",
            "m + n = 25",
            "AB = 25",
            r"x_1 = 25",
            r"\theta = 25",
            r"\text{Area of } ABC = 25",
        ),
        *(
            r"\(25\)",
            r"\[25\]",
            "Total cost = 25",
            "25 miles per hour",
            "25 square feet",
            r"25 \text{ dollars per square foot}",
        ),
        *("25 meters per second", r"\text{The sum is } 25", "5 x 5 = 25"),
        *("[25]", r"\{25\}", "25_{10}", "+25", r"|{-25}|", r"25 \bmod 30", r"25\,\mathrm{km}/\mathrm{h}"),
    ],
    r"\frac{1}{2}": [
        r"\sin 30^\circ",
        r"\sin(30^{\circ})",
        r"\cos{60°}",
        r"2\sin^2 30°",
        r"-\sin(-30^\circ)",
    ],
    r"\sin 20^\circ": [r"\sin(20^\circ)", r"\cos 70^\circ"],
    "7/2": [r"3\frac{1}{2}", "3½", r"3\tfrac12", "3 1/2", r"\frac{7}{2} = 3.5", r"3+\frac12"],
    "1/3": [r"0.\bar{3}", r"0.\overline{3}", "0.(3)", "0.333...", r"0.333\ldots", r"\frac13 \approx 0.33"],
    "1/6": ["0.1666...", r"0.1\dot{6}"],
    "6000000": ["6 × 10⁶", "6 million", r"6\times10^{6}", "6E6", r"6{,}000{,}000", r"6\,000\,000"],
    r"\sqrt{2}": ["√2", r"\sqrt2", "2^{1/2}", r"\sqrt{2} \approx 1.414"],
    "x^2": ["x²"],
    "1,2": ["(1,2)", "2,1", r"\{2,1\}"],
    "3/2": [r"{3\over2}", r"{3 \over 2}"],
    r"\mathbb{R}": [r"\mathbb R"],
    "-1": ["i^2", "−1", "e^{i\\pi}"],
    "-i": [r"\frac{1}{i}"],
    "i": [r"\sqrt{-1}"],
    "6.28": [r"2\pi \approx 6.28"],
    "1/4": [r"25\% = 1/4", r"0.25 = 25\%"],
    r"5 \pmod 7": [
        "5",
    ],
    "2516_8": [r"2516_{\text{eight}}", "2516_{(8)}", r"2516 \text{ (base 8)}"],
    r"(-\infty,2)\cup(3,\infty)": [r"x<2 \text{ or } x>3", r"x > 3 \text{ or } 2 > x"],
    "[0,1]": [r"0 \leqslant x \leqslant 1", r"1 \geq x \geq 0", r"x \in [0, 1]"],
    "x<2": [r"(-\infty, 2)", "2 > x"],
    "(1,2)": [
        "(x,y) = (1,2)",
        "x=1, y=2",
        "y=2, x=1",
        "(y,x) = (2,1)",
        r"y=2 \text{ and } x=1",
        r"\langle 1, 2 \rangle",
    ],
    "(2,1)": [
        "x=2, y=1",
        "b=1; a=2",
        "x_2 = 1, x_1 = 2",
    ],
    "(3, 4, 5)": ["c=5, a=3, b=4"],
    r"(3, \frac{\pi}{2})": [r"r = 3, \theta = \pi/2"],
    "y=2, x=1": ["x=1, y=2", "(1,2)"],
    "(y,x)=(2,1)": [
        "x=1, y=2",
    ],
    r"\{1,2\}": [r"\lbrace 2, 1 \rbrace", r"x \in \{1,2\}"],
    "y=2x+1": ["2x - y + 1 = 0", "f(x) = 1 + 2x", "2x+1"],
    r"12 \text{ cm}": ["12", "12 cm", r"12\,\mathrm{cm}", r"12 \text{ centimeters}", "12.0 cm long"],
    "5 hours": ["5", "5 hrs", "5 h"],
    "1:2:3": ["1 : 2 : 3"],
    "3/4": [],
    "2025-01-03": [],
    r"\pm 2": ["2, -2", r"\{2, -2\}"],
    "A": [r"\textbf{(A)}\ 25", "A) 25", "(A)"],
    r"4:30 \text{ p.m.}": ["4:30 PM"],
    r"\emptyset": [r"\varnothing", r"\{\}"],
}
WRONG = {
    r"\frac{1}{2}": [r"\sin 30", r"\cos 30^\circ", r"\sin(30^\circ + 30^\circ)"],
    "25": [
        *("25, 25", "25 mod 7", r"25 \pmod 7", r"2\,5", r"2\quad 5", r"2\ \ 5"),
        *(r"\text{not } \boxed{25}", r"\text{twice } \boxed{25}", r"\boxed{24}, \boxed{25}"),
        *("24 = 25", "x = 24 = 25", "25 = 24", r"\sqrt{600} = 25", "24 + 2 = 25", r"\sqrt{2} \approx 25"),
        *(
            "2x = 50",
            "x > 25",
            r"x \ne 25",
            r"\pm 25",
            "25i",
            "25 + i",
            "25!",
            "25 squared",
            "25,000",
            "x=25, y=6",
        ),
        *(
            "2x=25",
            "x^2=25",
            "x/2=25",
            "-x=25",
            r"\sqrt{x}=25",
            "1/x=25",
            "|x|=25",
            "x-1=25",
            "7x+1=25",
            "25 = 2x",
        ),
        *(
            r"\log x=25",
            "n!=25",
            "n! = 25",
            "x(x+1)=25",
            "x+x=25",
            "xy=25",
            r"\text{half of } x = 25",
            "i = 25",
        ),
        *(r"\text{Twice the answer is } 25", r"\text{minus: } 25", r"\text{Not } x = 25"),
        *(
            rf"25 \text{{ {word}}}"
            for word in [
                "k",
                "K",
                "n",
                "x",
                "i",
                "e",
                "b",
                "doubled",
                "halved",
                "squared",
                "factorial",
                "inverse",
                "no",
            ]
        ),
        *(
            rf"25 \text{{ {word}}}"
            for word in ("fifths", "sevenths", "third", "googol", "quadrillion", "lakh", "gross", "false")
        ),
        *(rf"25 \text{{ {word} thirty}}" for word in ("through", "until", "versus", "maybe", "but", "and")),
        *(
            r"25\mathbf{m}",
            r"25\mathit{cm}",
            "25K",
            "25 thirty",
            r"25\text{th root}",
            "25 apples that we do need",
        ),
        *("25_7", "2₅", "①", r"25 \text{ tenths}"),
        *("25 or 26", r"\text{not } 25", r"26 \pmod{30}", "B. 26", "25 below zero"),
    ],
    r"12 \text{ cm}": ["12 m", r"12 \text{ mm}", "1.2 cm", r"12 \text{ meters}"],
    "5 hours": ["5 minutes", r"5 \text{ days}"],
    "204": ["2n = 204"],
    "0.5": ["2^{-2}", "- - 0.5 - 1"],
    "-3": ["- - 3", "-(-3)"],
    "4": ["25 mod 7 = 25"],
    "6": ["1:2:3"],
    "1:2:3": ["3:2:1", "1:6", "1/6", "2:3"],
    "5:30": ["5:30:01", "5:31"],
    "2025-01-03": ["2021", "2025-03-01"],
    "1/3/2025": [
        "3/1/2025",
    ],
    r"\pm 2": ["(2,-2)", "2"],
    "B": ["B'"],
    "3": ["three fifths", r"\text{three fifths}", "three hundred", "three four"],
    "1": ["one third", r"\text{one half}", r"\text{one fifth}"],
    "2": ["two three", "two and three"],
    "2x+1": ["3y = 2x+1"],
    r"\{1,2\}": ["(1,2)", "[1,2]"],
    r"\{1,2,3\}": ["(1,2,3)"],
    "1,2": ["(2,1)", "[2,1]"],
    "1,2,3": ["(3,2,1)"],
    "11:30 a.m.": ["11:30 pm"],
    "1/3": ["0.333", r"\approx 0.333", "0.3434..."],
    r"\sqrt{2}": ["1.414", "1.41421356", "1.41421356237", "1.4142135623730950488"],
    "24": [r"51 \equiv 24 \pmod{26}"],
    "72": [r"72^{1}1", r"\frac{72}{1}1"],
    "720": ["3!!"],
    "e": ["2.718281828459045"],
    r"\pi": ["3.14159265", "3.14159265358979", r"\frac{22}{7}"],
    "[1,2]": ["(1,2)", "[1,2)"],
    "(2,1)": ["y=2, x=1", "(y,x) = (2,1)", "b=2, a=1", "m=2, b=1", "x_2 = 2, x_1 = 1", "x=2, y=1, z=0"],
    "y=2, x=1": ["(2,1)", "x=2, y=1"],
    "(x,y)=(2,1)": ["y=2, x=1"],
    "(1,2)": ["[1,2]", "(2,1)", r"\{1,2\}", "(x,y) = (1,2,3)"],
    "x<2": [r"x \le 2", "2", "x > 2", "y < 2"],
    "[0,1)": [r"0 \le x \le 1"],
    r"5 \pmod 7": [r"5 \pmod 8", "6"],
    "2516_8": ["2516_{9}", r"2516_{\text{nine}}"],
    r"4:30 \text{ p.m.}": ["4:30 a.m."],
    "x^2+y^2=4": ["4", "x^2+y^2=9"],
    "y=2x+1": ["y = 2x+2"],
    r"\text{red}": ["der"],
    "A": ["B) 25", "(B)"],
    "i": ["-i"],
}


def _cases(table: dict[str, list[str]]) -> list[tuple[str, str]]:
    return [(reference, answer) for reference, answers in table.items() for answer in answers]


@pytest.mark.parametrize(("reference", "answer"), _cases(RIGHT))
def test_says_the_same(reference: str, answer: str) -> None:
    verdict = grade(rf"\boxed{{{answer}}}", reference)
    assert verdict.correct, verdict


@pytest.mark.parametrize(("reference", "answer"), _cases(WRONG))
def test_does_not_say_it(reference: str, answer: str) -> None:
    verdict = grade(rf"\boxed{{{answer}}}", reference)
    assert not verdict.correct, verdict


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        ("The answer is 10% of 250, which is 25.", "25"),
        ("The answer is 5 times 5, i.e. 25.", "25"),
        ("The answer is 1/3 of 75, or 25.", "25"),
        ("The answer is 5 * 5, which equals 25", "25"),
        ("The answer is 25 eggs, which is 5 more than 20.", "25"),
        ("The answer is $25 a day for 3 days.", "25"),
        ("The answer is 25 (25 = 5 * 5).", "25"),
        ("The answer is 25, because 30 - 5 = 25 and 3 < 4.", "25"),
        ("Therefore, 25 is the answer to problem 3.", "25"),
        ("The answer is 25. Check: 5 * 5 = 25, so the answer is correct.", "25"),
        ("The answer is 25. I trust this answer because it is sound.", "25"),
        ("The answer is not 24, it is 25.", "25"),
        ("The answer is not 24 but 25.", "25"),
        (r"The answer is \boxed{25}, not \boxed{24}.", "25"),
        ("24 is wrong, it should be 25.", "25"),
        ("The answer is 25 (not 24).", "25"),
        ("The answer is 25 thousand dollars.", "25 thousand"),
        ("The answer is that the sum of 20 and 5 is 25.", "25"),
        ("It would be a mistake to say the answer is 24; it is 25.", "25"),
        ("The answer is 24? No, 25.", "25"),
        (r"\boxed{24}. Hmm, that's wrong, the answer is 25.", "25"),
        ("Ans: 25", "25"),
        ("He ties a knot 25 times", "25"),
        ("30 - 5 = 25", "25"),
        ("so it is *25* a day", "25"),
        ("profit: -25", "-25"),
        ("so => 25", "25"),
        ("so -> $25$", "25"),
        ("<b>25</b>", "25"),
        ("She has 25!", "25"),
        ("about ~25", "25"),
        ("x = 5y = 25 in the 3rd place, that is 25", "25"),
        ("f(x) = -25", "-25"),
        ("25 km/h", "25"),
        ("It goes 25 - a lot", "25"),
        ("a + b = $25$", "25"),
        ("A : 25\nin 3 days", "25"),
        (r"so $\boxed 25$ in 3 days", "25"),
        (r"\framebox{25} in 3 days", "25"),
        (r"<think>perhaps \boxed{24}</think> The answer is 25.", "25"),
        (r"<think>perhaps \boxed{24}</think> <answer> 25 </answer>", "25"),
        (r"<think>\boxed{24}</think> <answer>$\boxed{25}$</answer>", "25"),
        (r"<think>\boxed{25}</think> Done after 3 checks.", "25"),
        ("<think>a</think> <answer>Monday</answer>", "Monday"),
        ("The answer is (A).", "(A)"),
        ("The correct option is B.", "B"),
        ("The answer is No, because 3 > 2.", "No"),
    ],
)
def test_where_the_answer_stands(completion: str, answer: str) -> None:
    assert extract(completion).answer == answer


@pytest.mark.parametrize(
    "completion",
    [
        "The answer is not 24",
        "The answer isn't 24.",
        "The answer cannot be 24.",
        "24 is not the answer.",
        "So 24 isn't the correct answer.",
        "24 is wrong.",
        r"The answer is definitely not \boxed{24}.",
    ],
)
def test_a_denied_number_is_no_answer(completion: str) -> None:
    assert (
        not grade(completion.replace("no, 25", "it is 25"), "24").correct
        or "is \\boxed{24}, not" in completion
    )


@pytest.mark.parametrize(
    "statement",
    [
        *(
            "$24$ or $25$",
            "24 or 25",
            "either 24 or 25",
            "between 24 and 25",
            "24, or perhaps 25",
            "24 (or 25)",
            "25 (or 24)",
            "one of 24, 25",
        ),
        *(
            "less than {}",
            "at least {}",
            "{} or more",
            "{} more than 5",
            "twice {}",
            "half of {}",
            "minus {}",
        ),
        *("the square root of {}", "the square of {}", "the sum of 20 and {}", "{} squared", "{} times 4"),
        *("{} divided by 5", "{}% of 80", "a multiple of {}", "divisible by {}", "{} million", "one over {}"),
        *("sqrt({})", "twice ${}$", "less than ${}$", "${}$ million", "x where x is 23 or {}"),
    ],
)
@pytest.mark.parametrize("start", ["The answer is ", "Answer: ", "<answer>", "#### "])
def test_a_statement_that_says_more_than_a_number_is_not_it(start: str, statement: str) -> None:
    for number in ("24", "25"):
        completion = start + statement.format(number) + ("</answer>" if start == "<answer>" else "")
        assert not grade(completion, number).correct, completion


@pytest.mark.parametrize(
    "text",
    [
        *("2^25", "10^{25}", "x/25", "x_{25}", "sqrt(25)", "3 025", "1,25", "12:25", "v25", "less than 25"),
        *("25 thousand", "25^2", "I don't think the answer is 25", r"\boxed{25} No wait, that is wrong."),
        *("a multiple of 25", "If you ask me, I doubt the answer is 25"),
        *(
            "x+25",
            "x - 25",
            "x + $25$",
            "20 + 25",
            r"3 \times 25",
            "3 x 25",
            r"20 + \frac{25}{1}",
            "10% of 25",
        ),
        *("25 + x", "25x", r"25 \cdot y", "x * 25", "5(25)", "24 or 25"),
        *(
            "x > 25",
            "x>25",
            "x >= 25",
            "≤ 25",
            "x != 25",
            r"x \ne 25",
            "±25",
            "minus 25",
            "up to 25",
            "log 25",
            "half 25",
        ),
        *(
            "2x = 25",
            "24 to 25",
            "24–25",
            "25i",
            r"25\pi",
            "25 π",
            "25th",
            "25 squared",
            "25²",
            "25½",
            "25₇",
            "25 or more",
        ),
    ],
)
def test_the_last_number_is_no_part_of_something(text: str) -> None:
    assert not grade(f"so {text}", "25").correct


def test_money_is_not_a_formula() -> None:
    for text, total in (("The answer is $5 x $3 = $15.", "15"), ("The answer is $5 + $3 = $8.", "8")):
        assert grade(text, total).correct
        assert not grade(text, "5").correct


def test_one_vote_and_one_number_for_all_ways_of_writing() -> None:
    ways = ("x = 25", "20 + 5 = 25", "25 = x", "２５", "twenty-five", r"25 \text{ cm}", r"\approx 25")
    assert {answer_class(way) for way in ways} == {"25"}
    assert {number_in(way) for way in ways} == {25}
    assert number_in("x + 1") is None


@pytest.mark.parametrize(
    "completion",
    [
        "not " + "9" * 200_000,
        "not 1 " * 40_000,
        "is wrong " + "1," * 100_000,
        "9" * 100_000 + " is the answer? not",
        r"not \boxed{" * 20_000,
        "<answer>" * 30_000,
        "</think>" * 30_000,
        "answer is correct " * 10_000,
        r"\boxed " * 30_000,
        r"\boxed{" + "1=" * 240 + "2}",
        r"\boxed{" + "=" * 490 + "}",
        r"\boxed{" + "<x<" * 160 + "}",
        r"\boxed{" + r"x<1 or " * 70 + "}",
        r"\boxed{" + "√(" * 240 + "}",
        r"\boxed{" + "½" * 490 + "}",
    ],
    ids=range(15),
)
def test_hostile_text_is_cheap(completion: str) -> None:
    start = time.process_time()
    assert not grade(completion, "26", use_symbolic=False).correct
    assert time.process_time() - start < 1.0


def test_a_chain_of_explosions_costs_one_limit() -> None:
    start = time.monotonic()
    side = "9^{9^{9^{9}}}"
    assert not grade(rf"\boxed{{{' = '.join(f'{side}+{n}' for n in range(20))}}}", "25").correct
    assert time.monotonic() - start < 25.0  # the CPU limit once, and starting a worker twice
