"""A parsed expression as a tree, and its exact value by Fraction, with caps on size. No eval."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

MAX_BITS = 4096  # of any value
MAX_EXPONENT = 1000
MAX_FACTORIAL = 300


@dataclass(frozen=True, slots=True)
class Node:
    """An operation on `args`, or (op "num") a literal with `value` and its number of `decimals`."""

    op: str
    args: tuple[Node, ...] = ()
    value: Fraction = Fraction(0)
    decimals: int = 0


class Uncheckable(ValueError):
    """The value is over a cap or irrational, so the statement cannot be checked."""


def evaluate(node: Node, *, percent: bool = True) -> Fraction | None:
    """The exact value; None if undefined (a zero divisor, gcd of fractions). Raises Uncheckable.

    `percent=False` reads 25% as 25 and 6 million as 6, for statements that drop the unit on the other side.
    """
    if node.op == "num":
        return node.value
    values = []
    for arg in node.args:
        value = evaluate(arg, percent=percent)
        if value is None:
            return None
        values.append(value)
    if node.op == "scaled":
        return values[0] * node.value if percent else values[0]
    result = _apply(node.op, values, percent=percent)
    if result is not None and max(result.numerator.bit_length(), result.denominator.bit_length()) > MAX_BITS:
        raise Uncheckable(node.op)
    return result


def _apply(op: str, v: list[Fraction], *, percent: bool) -> Fraction | None:
    if op == "group":
        return v[0]
    if op == "neg":
        return -v[0]
    if op == "abs":
        return abs(v[0])
    if op == "percent":
        return v[0] / 100 if percent else v[0]
    if op == "plus":
        return v[0] + v[1]
    if op == "minus":
        return v[0] - v[1]
    if op == "times":
        return v[0] * v[1]
    if op == "over":
        return v[0] / v[1] if v[1] else None
    if op == "mod":
        return v[0] % v[1] if v[1] else None
    if op == "power":
        return _power(v[0], v[1])
    return _integer_function(op, v)


def _power(base: Fraction, exponent: Fraction) -> Fraction | None:
    if base == 0 and exponent < 0:
        return None
    if exponent.denominator != 1:
        base, exponent = _root(base, exponent.denominator), Fraction(exponent.numerator)
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if abs(exponent) > MAX_EXPONENT or bits * abs(exponent) > MAX_BITS:
        raise Uncheckable("power")
    return base ** int(exponent)


def _root(value: Fraction, degree: int) -> Fraction:
    """The real root if it is rational. Raises Uncheckable if it is not, or there is none."""
    sizes = value.numerator.bit_length(), value.denominator.bit_length()
    if degree > 16 or max(sizes) > 64 * degree or (value < 0 and degree % 2 == 0):
        raise Uncheckable("root")
    top, bottom = (round(n ** (1 / degree)) for n in (abs(value.numerator), value.denominator))
    root = Fraction(top if value >= 0 else -top, bottom)
    if root**degree != value:
        raise Uncheckable("root")
    return root


def _integer_function(op: str, v: list[Fraction]) -> Fraction | None:
    if any(value.denominator != 1 or value < 0 for value in v):
        return None
    n = [int(value) for value in v]
    if op == "gcd":
        return Fraction(math.gcd(*n))
    if op == "lcm":
        return Fraction(math.lcm(*n))
    if n[0] > MAX_FACTORIAL:
        raise Uncheckable(op)
    return Fraction(math.factorial(n[0]) if op == "factorial" else math.comb(n[0], n[1]))


def is_literal(node: Node) -> bool:
    """Whether it is a number alone, perhaps signed, bracketed or with a percent sign."""
    return node.op == "num" or (node.op in ("neg", "percent", "group", "scaled") and is_literal(node.args[0]))


def places(node: Node) -> int:
    """Decimal places that a literal shows; two more for a percentage, which is divided by 100."""
    if node.op == "num":
        return node.decimals
    inner = places(node.args[0]) if is_literal(node) else 0
    return inner + 2 if node.op == "percent" and inner else inner


def first_operand(node: Node) -> Node:
    """The leftmost operand of its sums and products."""
    while node.op in ("plus", "minus", "times", "over"):
        node = node.args[0]
    return node


def literals(node: Node) -> Iterator[Fraction]:
    """The values of all its numbers, from left to right."""
    if node.op == "num":
        yield node.value
    for arg in node.args:
        yield from literals(arg)
