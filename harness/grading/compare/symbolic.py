r"""Are two formulas one? Decided by exact arithmetic where all is rational, else by values of high precision.

Formulas with variables are compared at a few rational points that depend on both texts. Rational values stay
fractions. Other values are computed twice: the first pass finds the largest and smallest size of any
intermediate value, and the second takes four times as many bits. So `\sqrt{2}` is no decimal that rounds it,
`2^{-98}` is not `3^{-98}`, and no grade depends on the time that a comparison takes. Sizes are capped.
"""

from __future__ import annotations

import math
import random
import re
import threading
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import Any

from harness.grading.compare.evaluation import Evaluator, Undecided, Values
from harness.grading.compare.expressions import Node, Unreadable, parse, variables

MAX_PRECISION = 1 << 15
FIRST_PRECISION = 256
POINTS = 3
_lock = threading.Lock()
Verdict = tuple[bool, str]


@lru_cache(maxsize=8192)
def compare(gold: str, pred: str, *, gold_is_number: bool = False) -> Verdict:
    """Whether two formulas, or two equations, are equal, and the reason. What cannot be read is unequal."""
    try:
        golds, preds = _sides(gold), _sides(pred)
        names = [set().union(*map(variables, sides)) for sides in (golds, preds)]
    except Unreadable as error:
        return False, f"different text ({error})"
    except RecursionError:
        return False, "different text (nested too deep)"
    if len(golds) != len(preds):
        return False, "an equation is no value"
    if names[1] - names[0] and (gold_is_number or not names[0]):
        return False, "different text (variables in the answer, a number in the reference)"
    points = _points(names[0] | names[1], f"{gold}={pred}")
    try:
        with _lock:
            equal = (_same_equation if len(golds) == 2 else _same_values)(golds, preds, points)
    except Undecided as error:
        return False, f"different formulas ({error})"
    return equal, "equal formulas" if equal else "different formulas"


def compare_inequalities(gold: tuple[str, bool], pred: tuple[str, bool]) -> Verdict:
    """Whether two formulas above (or at) 0 say the same: one is a positive constant times the other."""
    equal = gold[1] == pred[1] and compare(f"{gold[0]}=0", f"{pred[0]}=0")[0]
    if equal:
        trees = [parse(text) for text, _ in (gold, pred)]
        point = _points(variables(trees[0]) | variables(trees[1]), gold[0])[0]
        with _lock:
            values = Evaluator(point, FIRST_PRECISION).both(*trees)
        equal = all(isinstance(value, Fraction) for value in values) and values[0] * values[1] > 0
    return equal, "equal relations" if equal else "different relations"


def rounds_to(exact: str, decimal: str, places: int) -> bool:
    """Whether a formula without variables rounds to a decimal of so many places."""
    difference = _value(f"{exact}-({decimal})")
    return difference is not None and bool(abs(difference) * 10**places * 2 <= 1)


def rational(text: str) -> Fraction | None:
    r"""The exact value of a formula that is rational throughout: `5^2`, `\binom{7}{2}+4`; else None."""
    value = _value(text)
    return value if isinstance(value, Fraction) else None


def real(text: str) -> Fraction | float | None:
    """A real number by which the ends of intervals are ordered: exact if rational, else to 2,000 bits."""
    if infinite := re.fullmatch(r"([-+]?)\s*\\infty", text.strip()):
        return -math.inf if infinite[1] == "-" else math.inf
    value = _value(text, 2100)
    if value is None or isinstance(value, Fraction):
        return value
    return None if value.imag else Fraction(int(Evaluator.mp.floor(value.real * (1 << 2000))), 1 << 2000)


def _value(text: str, precision: int = FIRST_PRECISION) -> Any:
    """The value of a formula without variables; None for any other text and for what is too large."""
    try:
        with _lock:
            return Evaluator({}, precision).value(parse(text))
    except (Unreadable, Undecided, RecursionError):
        return None


def _sides(text: str) -> list[Node]:
    return [parse(side) for side in re.split(r"=(?![^{}]*\})", text, maxsplit=1)]


def _points(names: set[str], seed: str) -> list[dict[str, Fraction]]:
    """Rational points of both signs: twice as many as are needed, as some may be undefined."""
    if not names:
        return [{}]
    drawn = random.Random(seed)
    return [
        {name: Fraction(drawn.choice((-1, 1)) * drawn.randint(30, 299), 101) for name in sorted(names)}
        for _ in range(2 * POINTS)
    ]


def _same_values(golds: list[Node], preds: list[Node], points: list[dict[str, Fraction]]) -> bool:
    agreed = 0
    for point in points:
        try:
            if not _vanishes(lambda e: e.minus(*e.both(golds[0], preds[0])), [point]):
                return False
        except Undecided:
            if len(points) == 1:
                raise
            continue
        agreed += 1
        if agreed == POINTS:
            break
    return agreed == POINTS or (len(points) == 1 and agreed == 1)


def _same_equation(golds: list[Node], preds: list[Node], points: list[dict[str, Fraction]]) -> bool:
    """Whether left minus right of the one is a constant times that of the other, and neither is always 0."""
    if len(points) == 1 or any(_same_values(sides[:1], sides[1:], points) for sides in (golds, preds)):
        return False

    def cross(e: Evaluator, first: int, second: int) -> Any:
        values: Values = []
        for at in (first, second):
            e.point = points[at]
            for left, right in (golds, preds):
                values.append(e.minus(e.value(left), e.value(right)))
        if not all(values):
            raise Undecided("a solution")
        return e.minus(e.apply("mul", [values[0], values[3]]), e.apply("mul", [values[2], values[1]]))

    agreed = 0
    for second in range(1, len(points)):
        try:
            if not _vanishes(lambda e, at=second: cross(e, at - 1, at), points[:1]):  # type: ignore[misc]
                return False
            agreed += 1
        except Undecided:
            continue
    return agreed >= POINTS - 1


def _vanishes(compute: Callable[[Evaluator], Any], points: list[dict[str, Fraction]]) -> bool:
    """Whether a value is 0: at once if it is rational, else after a second pass at four times the sizes."""
    first = Evaluator(points[0], FIRST_PRECISION)
    value = compute(first)
    if isinstance(value, Fraction):
        return value == 0
    if value and first.mp.mag(abs(value)) > first.size - FIRST_PRECISION + 40:
        return False
    precision = 4 * first.size + 2 * FIRST_PRECISION
    if precision > MAX_PRECISION:
        raise Undecided("too large")
    value = compute(second := Evaluator(points[0], precision))
    return not value or bool(second.mp.mag(abs(value)) < -precision // 2)
