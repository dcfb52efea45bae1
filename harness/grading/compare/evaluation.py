"""Values of formulas: exact fractions where all is rational, else numbers of many bits. Sizes are capped."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from harness.grading.compare.expressions import ANALYTIC, Node
from harness.grading.operations import ALGEBRAIC, MAX_BITS, Undecided, exact

MAX_WORK = 1 << 24  # bits that all operations of one evaluation may make
_SLOWLY_GROWING = ("ln", "log10", "floor", "ceil")


class Evaluator:
    """Values of trees at points: a Fraction where all is rational, else a number of mpmath."""

    mp: Any = None  # a context of our own, made when first needed

    def __init__(self, precision: int) -> None:
        if Evaluator.mp is None:
            import mpmath

            Evaluator.mp = mpmath.mp.clone()
        self.mp.prec = precision
        self.precision, self.size, self.work = precision, 1, 0

    def difference(self, sides: Sequence[Node], point: dict[str, Fraction]) -> Any:
        """Left minus right at a point."""
        return self.apply("minus", [self.value(side, point) for side in sides])

    def value(self, node: Node, point: dict[str, Fraction]) -> Any:
        """The value of a tree at a point. Raises Undecided."""
        op = node[0]
        if op == "num":
            return self.checked(node[1])
        if op == "var":
            if node[1] not in point:
                raise Undecided("a variable")
            return point[node[1]]
        if op == "const":
            return {"pi": +self.mp.pi, "e": +self.mp.e, "i": self.mp.mpc(0, 1)}[node[1]]
        return self.apply(op, [self.value(child, point) for child in node[1:]])

    def apply(self, op: str, values: Sequence[Any]) -> Any:
        """One operation; its value, or Undecided where it is undefined or too large."""
        exactly = all(isinstance(value, Fraction) for value in values)
        try:
            if exactly and (value := exact(op, values)) is not None:
                return self.checked(value)
            if exactly and op == "power" and values[0] < 0 and values[1].denominator % 2:
                root = self.apply(op, [-values[0], values[1]])  # the real root, as of a cube
                return -root if values[1].numerator % 2 else root
            return self.checked(self.inexact(op, [self.float(value) for value in values]))
        except (ArithmeticError, TypeError, NotImplementedError, ValueError) as error:
            raise Undecided(str(error) or "undefined") from error

    def checked(self, value: Any) -> Any:
        """Raise Undecided for what is too large; note the size, and count the work."""
        if isinstance(value, Fraction):
            bits = max(value.numerator.bit_length(), value.denominator.bit_length())
        elif self.mp.isfinite(value):
            bits = int(abs(self.mp.mag(abs(value)))) if value else 0
        else:
            raise Undecided("undefined")
        self.size = max(self.size, bits)
        self.work += bits + self.precision
        if bits > MAX_BITS or self.work > MAX_WORK:
            raise Undecided("too large")
        return value

    def float(self, value: Any) -> Any:
        return self.mp.mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else value

    def inexact(self, op: str, values: Sequence[Any]) -> Any:
        if op in ALGEBRAIC:
            return ALGEBRAIC[op](*values)
        x = values[0]
        if op == "power":
            if x and abs(values[1] * self.mp.log(abs(x))) > MAX_BITS:
                raise Undecided("too large")
            return x ** values[1]
        if op not in ANALYTIC:
            raise Undecided(f"no value of {op}")
        if op not in _SLOWLY_GROWING and op[0] != "a" and abs(x) > MAX_BITS:
            raise Undecided("too large")
        return getattr(self.mp, op)(x)
