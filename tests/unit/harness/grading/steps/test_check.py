"""The step check: hand-worked statements, then recall, false alarms and injected errors on GSM8K."""

from __future__ import annotations

import json
import math
import os
import random
import re
import time
from fractions import Fraction
from pathlib import Path

import pytest

from harness.grading.steps.check import check_steps

MATH_DATA_DIR = os.environ.get("MATH_DATA_DIR")
needs_data = pytest.mark.skipif(MATH_DATA_DIR is None, reason="MATH_DATA_DIR is not set")


def verdicts(text: str) -> list[bool]:
    return [step.ok for step in check_steps(text).steps]


@pytest.mark.parametrize(
    "text",
    [
        "17*23=391",
        "|3-5| = 2",
        "x = |3-5| = 2",
        "|-5| = 5",
        r"$\left|3 - 5\right| = 2$",
        r"\lvert 3 - 5 \rvert = 2",
        "5*|3-8| = 25",
        "2|3-8| = 10",
        r"\frac{1}{2}|2(3-1)-10| = 3",
        "|3-5| + |2-7| = 7",
        "3 x 4 = 12",
        "3 × 4 = 12",
        r"3 \times 4 = 12",
        r"3 \cdot 4 = \boxed{12}",
        "12 ÷ 4 = 3",
        r"\frac{12}{4} = 3",
        r"\frac{1}{2} \cdot 6 = 3",
        "20% of 50 = 10",  # 0.2 * 50
        "5/20 = 25%",  # 0.25
        "5/20*100 = 25%",  # 25, the sign as a unit
        "$20/hour * 5 hours = $100",
        "2 boxes * 3 apples per box = 6 apples",
        "5 miles - 2 miles = 3 miles",
        "1,250 + 750 = 2,000",
        r"1{,}250 + 750 = 2{,}000",
        "10 000 - 1 = 9,999",
        "0.2 x 50 = 10",
        ".5 + .25 = 0.75",
        "2 1/2 * 4 = 10",  # 5/2 * 4
        "25 / 1/3 = 75",  # 25 divided by one third
        "2^10=1024",
        "2**3 = 8",
        "2^{3} + 3² = 17",  # 8 + 9
        "-5 + 8 = 3",
        "2*(3+4)-1=13",
        "5(3) = 15",
        "396 mod 7=4",  # 396 = 56 * 7 + 4
        r"396 \equiv 4 \pmod{7}",
        "gcd(12, 18) = 6",
        "C(5,2)=10",  # 5 * 4 / 2
        r"\binom{5}{2} = 10",
        "5!=120",
        "10/3 = 3.33",
        "2/3 = 0.667",  # rounded
        "2/3 = 0.66",  # cut
        "100/3 ≈ 33",
        "48 plus 24 equals 72",
        "100 divided by 4 is equal to 25",
        "5 million * 2 = 10 million",
        "8*3\n= 24",
        "- 5*3 = 15",  # a list bullet, not a sign
        "2 chairs each for a total of 16*2 = 32",
        "48/2 = <<48/2=24>>24",
        r"$\frac14\cdot36=9$ of them",
        r"\( 90^\circ - 50^\circ = 40^\circ \)",
        r"\[\frac{7}{2} = 3\frac{1}{2}\]",  # a mixed number
        r"8^{2/3} = 4",  # the cube root of 64
        r"2^6 7^2 = 3136",  # 64 * 49
        r"2^67^2 = 3136",  # the same: an exponent without braces is one digit
        r"33^{-1} \equiv 77 \pmod{508}",  # 33 * 77 = 2541 = 5 * 508 + 1
        "250000 - 196300 ≈ 54000",  # 53,700 at its last digit that is not 0
        "10 2-legged animals * 2 legs per animal = 20",
        "$350 000 + $59 500 = $409 500",
        "20% * 3 = 60%",
        "1) 3 + 4 = 7",
        "(2) $3 + $4 = $7",
        r"{6 \choose 2} = 15",
        r"\frac{6!}{3!3!} = 20",
        "6!/3!3! = 20",
        "6!/(3! 3!) = 20",
        "6!/(3!(6-3)!) = 20",
        "3!(2 + 1) = 18",
        "Sum:\n(5) + 3 = 8",
        "½ × 10 = 5",
        "¾ x 3/3 = 9/12",
        "2½ × 10 = 25",
        "2 ½ × 10 = 25",
        "1e3 + 1 = 1001",
        "1.5e-3 * 2 = 0.003",
        "100/7 = 14 remainder 2",  # 7 * 14 + 2
        "17 / 5 = 3 R2",
        r"17 \div 5 = 3 \text{ remainder } 2",
        r"$53\div4=13R1$",
        "17 / 5 = 3 with a remainder of 2",
        "We get 18 = 3*6",
        "60% / 3 = 20",  # per cent
        "3 / 12 * 100% = 25",
    ],
)
def test_one_right_step(text: str) -> None:
    assert verdicts(text) == [True]


@pytest.mark.parametrize(
    "text",
    [
        "17*23=392",
        "|3-5| = 3",
        "|3-5| = -2",
        r"$\left|3 - 5\right| = 3$",
        "5*|3-8| = -25",
        "3 x 4 = 13",
        "20% of 50 = 11",
        "5/20 = 26%",
        "$20/hour * 5 hours = $101",
        "1,250 + 750 = 2,001",
        "2^10=1023",
        "396 mod 7=5",
        r"396 \equiv 5 \pmod{7}",
        "gcd(12,18)=3",
        "C(5,2)=20",
        "5!=60",
        "10/3 = 3.34",
        "7/2 = 3",  # an integer must be exact
        "5/0 = 0",
        "$5,000 x 2.5% = $12,500",  # not divided by a hundred
        "1) 3 + 4 = 8",
        "12) He has $3 + $4 = $8",
        "Sum:\n(1) 3 + 4 = 8",
        "Sum:\n 2) (3 + 4) * 2 = 15",
        "Step 2) 5+6=12",
        r"{6 \choose 2} = 16",
        r"\frac{6!}{3!3!} = 21",
        "6!/(3!3!) = 21",
        "6!/(3! 3!) = 21",
        "3!(2 + 1) = 3",
        "½ × 10 = 6",
        "2½ × 10 = 26",
        "1e3 + 1 = 1002",
        "100/7 = 14 remainder 3",
        "17 / 5 = 2 R7",  # more than the divisor
        "100/7 = 14",
        "We get 15 = 3*6",
        "so 15 = 3 * 6",
        "40 * 2% = 80",
        "3 * 20% = 60",
        "20% * 3 = 60",
        "2% of 40 + 3 = 83",
        "20 * (5%) = 100",
        "140/100 = 1.40%",
        r"$\frac14\cdot36=8$ of them",
        r"8^{2/3} = 5",
        r"33^{-1} \equiv 78 \pmod{508}",
        "250000 - 196300 ≈ 55000",
    ],
)
def test_one_wrong_step(text: str) -> None:
    assert verdicts(text) == [False]


@pytest.mark.parametrize(
    "text",
    [
        "",
        r"\boxed{4}",
        "x + 5 = 8",
        "2x + 5 = 15",
        "5 + y = 8",
        "200=(5/4)x",
        "x = 5",
        "5 = 5",
        "5 friends = 250/5",
        "at 7:50 + 30 minutes = 8:20",
        "f(5)+3 = 9",
        "2^{100000} = 3",  # over the exponent cap
        "1000! = 1",  # over the factorial cap
        "9^9^9^9 = 1",
        f"{'9' * 501} + 1 = 2",  # over the length cap
        r"\frac{x}{36} = \frac{1}{3}",
        r"\frac{1}{2}(AC)=\frac{1}{2}(36)",  # a side
        r"$\frac{1}{2}bh=\frac{1}{2}(9)(h)$.",
        r"$2xy + 65 = 105$.",
        r"$3c_1 - 2c_2 = 0$.",
        r"$f \left( \frac{1}{2} \right) = 0$.",
        r"$\frac{1}{3} = 0.\overline{3}$.",
        r"\left\lfloor \frac{300}{125} \right\rfloor = 2",
        r"8^{1/2} = 3",  # irrational: not checked
        r"169\pi - 144\pi = 25\pi",
        "so (L+8) + L = 22",
        "2g + 4(20-g) = 70 where g = 5",
        "his 25 classmates + his 1 teacher + 1 = 27",
        "Since 2/5 is equal to 12.8 hectares",
        "so 1% is equal to 240/40",
        "week 2 = 3 * 5",
        "2(2e+9) = 17e-8",  # algebra in e
        "|x-5| = 3",
        "P(A|B) = 3",
        "3|12 and 3|15",
        "| 3 | 5 | = 3",  # a table
    ],
)
def test_no_step(text: str) -> None:
    assert check_steps(text).num_steps == 0


def test_chains_are_checked_link_by_link() -> None:
    assert verdicts("2*3+1=6+1=7") == [True, True]
    assert verdicts("2*3+1=6+1=8") == [True, False]
    assert verdicts("2*3+1=5+1=6") == [False, True]
    assert verdicts("12/3 = 4 x 5 = 20") == [True, True]  # running notation: 12/3 = 4, then 4 x 5 = 20
    assert verdicts("12/3 = 3 x 5 = 15") == [False, True]


def test_a_generated_derivation() -> None:
    text = r"17*23=391;391+5=396;396 mod 7=4;\boxed{4}"
    report = check_steps(text, problem="What is (17*23+5) mod 7?", answer="4")
    assert [(s.lhs, s.rhs, s.value) for s in report.steps] == [
        ("17*23", "391", Fraction(391)),
        ("391+5", "396", Fraction(396)),
        ("396 mod 7", "4", Fraction(4)),
    ]
    assert [text[s.start : s.end] for s in report.steps] == ["17*23=391", "391+5=396", "396 mod 7=4"]
    assert (report.num_steps, report.num_wrong) == (3, 0)
    assert report.last_yields_answer is True
    assert [s.operands_known for s in report.steps] == [True, True, True]


def test_operands_and_the_last_step() -> None:
    problem = "Ann has twenty-five apples and sells 20% of them; each of her 3 sisters gets half a pear."
    report = check_steps("25*0.2=5\n25-5=20\n20+4=24\n3*1/2=1.5", problem=problem, answer="24")
    assert [s.operands_known for s in report.steps] == [True, True, False, True]  # the 4 comes from nowhere
    assert report.last_yields_answer is False
    assert check_steps("5+8=13", problem="5+8").steps[0].operands_known is True  # no words
    assert check_steps("2+2=4").steps[0].operands_known is None
    assert check_steps("2+2=4").last_yields_answer is None
    assert check_steps("The answer is 4.", answer="4").last_yields_answer is None


def test_a_direct_answer_has_no_step() -> None:
    report = check_steps(r"\boxed{4}")
    assert (report.num_steps, report.num_wrong) == (0, 0)


@pytest.mark.parametrize(
    "piece",
    [
        "(",
        "1+",
        "1=",
        "-",
        "2^",
        "(1+",
        r"\frac{",
        "gcd(",
        "5 a ",
        "9",
        "\x00",
        "1 x ",
        "9! ",
        "9!",
        "9!(",
        "1) ",
        "1=1+",
        "|3-",
        "<<",
        "1 ",
    ],
)
def test_hostile_text_costs_seconds_at_most(piece: str) -> None:
    start = time.process_time()
    check_steps(piece * (1_000_000 // len(piece)))
    check_steps("(" * 60_000 + piece + ")" * 60_000)
    assert time.process_time() - start < 20.0


def _change_a_number(text: str, start: int, end: int, rng: random.Random) -> str:
    """One number of text[start:end] moved by 1 to 9 units of its last digit."""
    number = re.compile(r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+")
    match = rng.choice(list(number.finditer(text[start:end])))
    digits = match[0].replace(",", "")
    places = len(digits.partition(".")[2])
    moved = Fraction(digits) + Fraction(rng.choice([d for d in range(-9, 10) if d]), 10**places)
    changed = f"{float(abs(moved)):.{places}f}" if places else str(abs(int(moved)))
    if Fraction(changed) == Fraction(digits):
        changed += "1"
    return text[: start + match.start()] + changed + text[start + match.start() + len(match[0]) :]


def _share_caught(texts: list[str], rng: random.Random) -> float:
    caught = total = 0
    for text in texts:
        report = check_steps(text)
        right = [step for step in report.steps if step.ok]
        if right:
            step = rng.choice(right)
            caught += (
                check_steps(_change_a_number(text, step.start, step.end, rng)).num_wrong > report.num_wrong
            )
            total += 1
    assert total > 0.9 * len(texts)
    return caught / total


def _derivation(rng: random.Random) -> str:
    """A right derivation in the format of the generated problems."""
    a, b, c, m = rng.randint(11, 99), rng.randint(11, 99), rng.randint(2, 99), rng.randint(3, 19)
    n, k = rng.randint(4, 12), rng.randint(1, 3)
    kind = rng.randrange(4)
    if kind == 0:
        return f"{a}*{b}={a * b};{a * b}+{c}={a * b + c};{a * b + c} mod {m}={(a * b + c) % m};\\boxed{{1}}"
    if kind == 1:
        return f"gcd({a},{b})={math.gcd(a, b)};{c}*{math.gcd(a, b)}={c * math.gcd(a, b)}"
    if kind == 2:
        return f"C({n},{k})={math.comb(n, k)};{math.comb(n, k)}-{c}={math.comb(n, k) - c}"
    return f"{n}!={math.factorial(n)};{c}^{k + 1}={c ** (k + 1)}"


def _is_true(statement: str) -> bool:
    """An oracle for the statements of `_derivation`, independent of the parser."""
    left, _, right = statement.partition("=")
    n = [int(number) for number in re.findall(r"\d+", left)]
    signs = {"gcd": math.gcd, "C(": math.comb, "mod": lambda a, b: a % b if b else None, "!": math.factorial}
    signs |= {"*": int.__mul__, "+": int.__add__, "-": int.__sub__, "^": pow}
    return next(function for sign, function in signs.items() if sign in left)(*n) == int(right)


def test_catches_injected_errors_in_generated_derivations() -> None:
    """Target 95 % of the changes that make a statement false (gcd(29,9)=1 for gcd(28,9)=1 does not)."""
    rng = random.Random(11)
    texts = [_derivation(rng) for _ in range(1000)]
    reports = [check_steps(text) for text in texts]
    assert all(report.num_steps and not report.num_wrong for report in reports)
    caught = false = 0
    for text in texts:
        statements = [s for s in text.split(";") if "=" in s]
        i = rng.randrange(len(statements))
        statements[i] = _change_a_number(statements[i], 0, len(statements[i]), rng)
        if not _is_true(statements[i]):
            false += 1
            caught += check_steps(";".join(statements)).num_wrong > 0
    assert false > 800
    assert caught >= 0.95 * false


def _gsm8k(n: int, name: str) -> list[dict]:
    assert MATH_DATA_DIR is not None
    lines = (Path(MATH_DATA_DIR) / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in random.Random(5).sample(lines, n)]


def _without_annotations(solution: str) -> tuple[str, list[int]]:
    """The plain text before ####, and where each annotation stood in it."""
    parts = re.split(r"<<[^<>]*>>", solution.split("####")[0])
    ends = [sum(map(len, parts[: i + 1])) for i in range(len(parts) - 1)]
    return "".join(parts), ends


@needs_data
def test_finds_the_annotated_steps_of_gsm8k_without_false_alarms() -> None:
    """Recall >= 95 %, false alarms <= 1 % of the steps found, on the test set.

    Measured on all 1,319: 98.4 % of 4,282 annotations (the rest are mostly `x = 6` after algebra), 4,467
    steps, 6 flagged (0.13 %): gsm8k_test-0501 twice (`364 / 4` for 364 * 3/4), -0598 (73 is 69) and -1024
    (32 - 20 = 300) are faults of the source, -0958 and -1234 false alarms (a share `of` an unknown).
    """
    annotated = found = steps = flagged = 0
    for row in _gsm8k(1319, "gsm8k_test"):
        text, marks = _without_annotations(row["solution"])
        report = check_steps(text)
        annotated += len(marks)
        found += sum(any(step.start <= mark <= step.end for step in report.steps) for mark in marks)
        steps += report.num_steps
        flagged += report.num_wrong
    assert found >= 0.95 * annotated
    assert flagged <= 0.01 * steps


@needs_data
def test_catches_injected_errors_in_gsm8k() -> None:
    """Target 95 %; measured 99.8 % (1,303 of 1,305; 1,472 of 1,473 in 1,500 solutions of the training set).

    Missed: changes within a decimal's rounding, or of a factor of 0.
    """
    texts = [_without_annotations(row["solution"])[0] for row in _gsm8k(1319, "gsm8k_test")]
    assert _share_caught(texts, random.Random(12)) >= 0.95


@needs_data
def test_flags_few_steps_of_maths_solutions() -> None:
    """Solutions of competition problems, mostly algebra in LaTeX: at most 2 % of the steps found are flagged.

    Measured on all 5,000: 5,935 steps, 46 flagged (0.8 %); all 46 were read: 16 are faults of the source or
    roundings under `=` (9! = 326880), 30 false alarms (0.5 %), as other bases and operations
    that the problem defines.
    """
    assert MATH_DATA_DIR is not None
    lines = (Path(MATH_DATA_DIR) / "math_test.jsonl").read_text(encoding="utf-8").splitlines()
    reports = [check_steps(json.loads(line)["solution"]) for line in random.Random(6).sample(lines, 1500)]
    steps = sum(report.num_steps for report in reports)
    assert steps > 1200
    assert sum(report.num_wrong for report in reports) <= 0.02 * steps
