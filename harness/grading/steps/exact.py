"""A parsed expression as a tree, and its exact value, with caps on size. No eval."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from harness.grading.operations import Undecided, exact

MAX_BITS = 4096  # of any value
MAX_EXPONENT = 1000


@dataclass(frozen=True, slots=True)
class Node:
    """An operation on `args`, or (op "num") a literal with `value` and its number of `decimals`."""

    op: str
    args: tuple[Node, ...] = ()
    value: Fraction = Fraction(1)
    decimals: int = 0


def evaluate(node: Node, *, percent: bool = True) -> Fraction:
    """The exact value. Raises ArithmeticError if there is none (a zero divisor), Undecided over a cap.

    `percent=False` reads 25% as 25 and 6 million as 6, for statements that drop the unit on the other side.
    """
    if node.op == "num":
        return node.value
    values = [evaluate(arg, percent=percent) for arg in node.args]
    if node.op in ("group", "scaled", "percent"):
        return values[0] * node.value if percent else values[0]
    if node.op == "power" and abs(values[1]) > MAX_EXPONENT:
        raise Undecided(node.op)
    result = exact(node.op, values, most_bits=MAX_BITS)
    if result is None or max(result.numerator.bit_length(), result.denominator.bit_length()) > MAX_BITS:
        raise Undecided(node.op)
    return result


def is_literal(node: Node) -> bool:
    """Whether it is a number alone, perhaps signed, bracketed or with a percent sign."""
    return node.op == "num" or (node.op in ("neg", "percent", "group", "scaled") and is_literal(node.args[0]))


def places(node: Node) -> int:
    """Decimal places that a literal shows; two more for a percentage, which is divided by 100."""
    inner = places(node.args[0]) if node.op != "num" and is_literal(node) else node.decimals
    return inner + 2 if node.op == "percent" and inner else inner


def first_operand(node: Node) -> Node:
    """The leftmost operand of its sums and products."""
    return first_operand(node.args[0]) if node.op in ("plus", "minus", "times", "over") else node


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
