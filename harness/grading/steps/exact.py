"""A parsed expression as a tree, and its exact value by Fraction, with caps on size. No eval."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
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


def evaluate(node: Node, *, percent: bool = True) -> Fraction:
    """The exact value. Raises ArithmeticError if there is none (a zero divisor), Uncheckable over a cap.

    `percent=False` reads 25% as 25 and 6 million as 6, for statements that drop the unit on the other side.
    """
    if node.op == "num":
        return node.value
    values = [evaluate(arg, percent=percent) for arg in node.args]
    if node.op in ("scaled", "percent"):
        return values[0] * node.value if percent else values[0]
    if node.op in _SIMPLE:
        result = _SIMPLE[node.op](*values)
    else:
        result = _power(*values) if node.op == "power" else _integer_function(node.op, values)
    if max(result.numerator.bit_length(), result.denominator.bit_length()) > MAX_BITS:
        raise Uncheckable(node.op)
    return result


_SIMPLE: dict[str, Callable[..., Fraction]] = {
    "group": operator.pos,
    "neg": operator.neg,
    "abs": operator.abs,
    "plus": operator.add,
    "minus": operator.sub,
    "times": operator.mul,
    "over": operator.truediv,
    "mod": operator.mod,
}


def _power(base: Fraction, exponent: Fraction) -> Fraction:
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


def _integer_function(op: str, v: list[Fraction]) -> Fraction:
    if any(value.denominator != 1 or value < 0 for value in v):
        raise ArithmeticError(op)
    n = [int(value) for value in v]
    if op in ("gcd", "lcm"):
        return Fraction(math.gcd(*n) if op == "gcd" else math.lcm(*n))
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


def changed_by_percent(node: Node) -> Node:
    """`50 - 20%` as a calculator reads it, with the per cent of what stands before; others as they are."""
    if node.op not in ("plus", "minus") or node.args[1].op != "percent" or has_percent(node.args[0]):
        return node
    return Node(node.op, (node.args[0], Node("times", node.args)))


def has_percent(node: Node) -> bool:
    """Whether a percent sign stands anywhere in it."""
    return node.op == "percent" or any(map(has_percent, node.args))


def literals(node: Node) -> Iterator[Fraction]:
    """The values of all its numbers, from left to right."""
    if node.op == "num":
        yield node.value
    for arg in node.args:
        yield from literals(arg)
