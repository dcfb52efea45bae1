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
from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any

from harness.grading.compare.evaluation import Evaluator
from harness.grading.compare.expressions import Node, Unreadable, parse, variables
from harness.grading.operations import Undecided

MAX_PRECISION = 1 << 15
FIRST_PRECISION = 256
POINTS = 3
_lock = threading.Lock()
Verdict = tuple[bool, str]
Point = dict[str, Fraction]


@lru_cache(maxsize=8192)
def compare(gold: str, pred: str, *, gold_is_number: bool = False) -> Verdict:
    """Whether two formulas, or two equations, are equal, and the reason. What cannot be read is unequal."""
    try:
        golds, preds = _sides(gold), _sides(pred)
        names = [set().union(*map(variables, sides)) for sides in (golds, preds)]
    except (Unreadable, RecursionError) as error:
        return False, f"different text ({error})"
    if len(golds) != len(preds):
        return False, "an equation is no value"
    if names[1] - names[0] and (gold_is_number or not names[0]):
        return False, "different text (variables in the answer, a number in the reference)"
    points = _points(names[0] | names[1], f"{gold}={pred}")
    with _lock:
        equal = (_same_equation if len(golds) == 2 else _same_values)(golds, preds, points)
    return equal, "equal formulas" if equal else "different formulas"


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
    value = _value(text, precision=2100)
    if value is None or isinstance(value, Fraction):
        return value
    return None if value.imag else Fraction(int(Evaluator.mp.floor(value.real * (1 << 2000))), 1 << 2000)


def _value(text: str, point: Point | None = None, precision: int = FIRST_PRECISION) -> Any:
    """The value of a formula at a point; None for any other text and for what is too large."""
    try:
        with _lock:
            return Evaluator(precision).value(parse(text), point or {})
    except (Unreadable, Undecided, RecursionError):
        return None


def _sides(text: str) -> list[Node]:
    return [parse(side) for side in re.split(r"=(?![^{}]*\})", text, maxsplit=1)]


def _points(names: set[str], seed: str) -> list[Point]:
    """Rational points of both signs: twice as many as are needed, as some may be undefined."""
    drawn = random.Random(seed)
    return [
        {name: Fraction(drawn.choice((-1, 1)) * drawn.randint(30, 299), 101) for name in sorted(names)}
        for _ in range(2 * POINTS if names else 1)
    ]


def _same_values(golds: list[Node], preds: list[Node], points: list[Point]) -> bool:
    sides = (golds[0], preds[0])
    differences = [partial(Evaluator.difference, sides=sides, point=point) for point in points]
    return _all_vanish(differences, min(POINTS, len(points)))


def _same_equation(golds: list[Node], preds: list[Node], points: list[Point]) -> bool:
    """Whether left minus right of the one is a constant times that of the other, and neither is always 0."""
    if any(_same_values(sides[:1], sides[1:], points) for sides in (golds, preds)):
        return False

    def cross(e: Evaluator, ends: tuple[Point, Point]) -> Any:
        a, b, c, d = (e.difference(sides, point) for point in ends for sides in (golds, preds))
        if not (a and b and c and d):
            raise Undecided("a solution")
        return e.apply("minus", [e.apply("times", [a, d]), e.apply("times", [c, b])])

    return _all_vanish([partial(cross, ends=ends) for ends in pairwise(points)], POINTS - 1)


def _all_vanish(computations: Iterable[Callable[[Evaluator], Any]], needed: int) -> bool:
    """Whether so many values are 0 and none before them is not; undefined ones are passed over."""
    for compute in computations:
        try:
            if not _vanishes(compute):
                return False
        except Undecided:
            continue
        needed -= 1
        if not needed:
            return True
    return False


def _vanishes(compute: Callable[[Evaluator], Any]) -> bool:
    """Whether a value is 0: at once if it is rational, else after a second pass at four times the sizes."""
    first = Evaluator(FIRST_PRECISION)
    value = compute(first)
    if isinstance(value, Fraction):
        return value == 0
    if value and first.mp.mag(abs(value)) > first.size - FIRST_PRECISION + 40:
        return False
    precision = 4 * first.size + 2 * FIRST_PRECISION
    if precision > MAX_PRECISION:
        raise Undecided("too large")
    value = compute(Evaluator(precision))
    return not value or bool(Evaluator.mp.mag(abs(value)) < -precision // 2)
