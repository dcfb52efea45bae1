"""Exact values of operations on fractions, with caps on size: for the step check and compared formulas."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

MAX_BITS = 1 << 17  # of any value
# Operations on fractions and inexact numbers alike; then those on fractions, and on whole numbers alone.
ALGEBRAIC: dict[str, Callable[..., Any]] = {
    "plus": operator.add,
    "minus": operator.sub,
    "times": operator.mul,
    "over": operator.truediv,
    "neg": operator.neg,
    "abs": abs,
}
_RATIONAL = ALGEBRAIC | {"mod": operator.mod, "floor": math.floor, "ceil": math.ceil}
_WHOLE: dict[str, Callable[..., int]] = {
    "gcd": math.gcd,
    "lcm": math.lcm,
    "factorial": math.factorial,
    "binom": math.comb,
}


class Undecided(ValueError):
    """A value is over a cap, or irrational where a fraction is asked for."""


def exact(op: str, values: Sequence[Fraction], *, most_bits: int = MAX_BITS) -> Fraction | None:
    """The value of one operation; None if it is irrational or of no kind that is known here.

    Raises ArithmeticError where it is undefined, Undecided if it has many more than `most_bits`.
    """
    if op == "power":
        return _power(values[0], values[1], most_bits)
    if op in _RATIONAL:
        return Fraction(_RATIONAL[op](*values))
    if op not in _WHOLE:
        return None
    n = [int(value) for value in values]
    if n != list(values) or (op not in ("gcd", "lcm") and min(n) < 0):
        raise ArithmeticError(f"{op} of other than whole numbers")
    if op not in ("gcd", "lcm") and n[0] * 13 > most_bits:  # more than n! has, below 10,000
        raise Undecided("too large")
    return Fraction(_WHOLE[op](*n))


def _power(base: Fraction, exponent: Fraction, most_bits: int) -> Fraction | None:
    degree, power = exponent.denominator, exponent.numerator
    if degree > 64 or (base < 0 and degree % 2 == 0):
        return None
    if degree > 1:
        top, bottom = (_whole_root(abs(part), degree) for part in (base.numerator, base.denominator))
        if top is None or bottom is None:
            return None
        base = Fraction(-top if base < 0 else top, bottom)
    if abs(power) * (max(base.numerator.bit_length(), base.denominator.bit_length()) - 1) > most_bits:
        raise Undecided("too large")
    return base**power


def _whole_root(value: int, degree: int) -> int | None:
    """The root of a whole number if it is whole, by halving an interval."""
    low, high = 0, 1 << (value.bit_length() // degree + 1)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**degree <= value else (low, middle - 1)
    return low if low**degree == value else None
