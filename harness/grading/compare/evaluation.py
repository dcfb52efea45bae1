"""Values of formulas: exact fractions where all is rational, else numbers of many bits. Sizes are capped."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from harness.grading.compare.expressions import Node

MAX_BITS = 1 << 17  # of any fraction
MAX_WORK = 1 << 24  # bits that all operations of one evaluation may make
MAX_TERMS = 2000  # of a sum or product
MAX_FACTORIAL = 5000
Values = list[Any]


class Undecided(ValueError):
    """A value is undefined, or over a cap."""


class Evaluator:
    """Values of trees at a point: a Fraction where all is rational, else a number of mpmath."""

    mp: Any = None  # a context of our own, made when first needed

    def __init__(self, point: dict[str, Fraction], precision: int) -> None:
        if Evaluator.mp is None:
            import mpmath

            Evaluator.mp = mpmath.mp.clone()
        self.mp.prec = precision
        self.point, self.precision, self.size, self.work = point, precision, 1, 0

    def both(self, a: Node, b: Node) -> Values:
        return [self.value(a), self.value(b)]

    def minus(self, a: Any, b: Any) -> Any:
        return self.apply("add", [a, -b])

    def value(self, node: Node) -> Any:
        op = node[0]
        if op == "num":
            return self.checked(node[1])
        if op == "var":
            if node[1] not in self.point:
                raise Undecided("a variable")
            return self.point[node[1]]
        if op == "const":
            return {"pi": +self.mp.pi, "e": +self.mp.e, "i": self.mp.mpc(0, 1)}[node[1]]
        if op in ("sum", "prod"):
            return self.series(*node)
        return self.apply(op, [self.value(child) for child in node[1:]])

    def series(self, op: str, index: str, low: Node, high: Node, body: Node) -> Any:
        ends = self.both(low, high)
        if any(not isinstance(end, Fraction) or end.denominator != 1 for end in ends):
            raise Undecided("ends of a series")
        if ends[1] - ends[0] > MAX_TERMS:
            raise Undecided("too large")
        total: Any = Fraction(int(op == "prod"))
        outer = self.point
        for k in range(int(ends[0]), int(ends[1]) + 1):
            self.point = {**outer, index: Fraction(k)}
            total = self.apply("add" if op == "sum" else "mul", [total, self.value(body)])
        self.point = outer
        return total

    def apply(self, op: str, values: Values) -> Any:
        """One operation; its value, or Undecided where it is undefined or too large."""
        exact = all(isinstance(value, Fraction) for value in values)
        try:
            if exact and op in _EXACT:
                return self.checked(_EXACT[op](*values))
            if exact and op in ("pow", "root"):
                base, exponent = values if op == "pow" else (values[1], 1 / values[0])
                if (power := _exact_power(base, exponent)) is not None:
                    return self.checked(power)
                if base < 0 and exponent.denominator % 2:  # the real root, as of a cube
                    root = self.apply("pow", [-base, exponent])
                    return -root if exponent.numerator % 2 else root
            return self.checked(self.inexact(op, [self.float(value) for value in values]))
        except (ZeroDivisionError, OverflowError, TypeError, NotImplementedError) as error:
            raise Undecided("undefined") from error
        except ValueError as error:
            raise Undecided(str(error) or "undefined") from error

    def checked(self, value: Any) -> Any:
        """Raise Undecided for what is too large; note the size, and count the work."""
        if isinstance(value, Fraction):
            bits = max(value.numerator.bit_length(), value.denominator.bit_length())
            if bits > MAX_BITS:
                raise Undecided("too large")
        elif not self.mp.isfinite(value):
            raise Undecided("undefined")
        else:
            bits = abs(self.mp.mag(abs(value))) if value else 0
            if bits > MAX_BITS:
                raise Undecided("too large")
        self.size = max(self.size, int(bits))
        self.work += int(bits) + self.precision
        if self.work > MAX_WORK:
            raise Undecided("too much work")
        return value

    def float(self, value: Any) -> Any:
        return self.mp.mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else value

    def inexact(self, op: str, values: Values) -> Any:
        mp, x = self.mp, values[0]
        if op in _PLAIN:
            return _PLAIN[op](*values)
        if op in _INEXACT:
            return _INEXACT[op](mp, *values)
        if op == "root":
            return self.inexact("pow", [values[1], 1 / x])
        if op == "pow":
            if x and abs(values[1] * mp.log(abs(x))) > MAX_BITS:
                raise Undecided("too large")
            return x ** values[1]
        if op in ("exp", "cis", "sinh", "cosh", "tanh", "sin", "cos", "tan", "cot", "sec", "csc"):
            if abs(x) > MAX_BITS:
                raise Undecided("too large")
            return mp.expj(x) if op == "cis" else getattr(mp, op)(x)
        if op.startswith("arc"):
            return getattr(mp, f"a{op[3:]}")(x)
        raise Undecided(f"no value of {op}")


def _whole(value: Fraction, most: int = MAX_FACTORIAL) -> int:
    if value.denominator != 1 or not 0 <= value <= most:
        raise Undecided("too large" if value > most else "undefined")
    return int(value)


# Operations on fractions and inexact values alike; then those on fractions alone, and on inexact ones alone.
_PLAIN: dict[str, Callable[..., Any]] = {
    "add": lambda a, b: a + b,
    "neg": lambda a: -a,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "abs": abs,
    "max": max,
    "min": min,
}
_EXACT: dict[str, Callable[..., Any]] = _PLAIN | {
    "mod": lambda a, b: a % b,
    "floor": lambda a: Fraction(math.floor(a)),
    "ceil": lambda a: Fraction(math.ceil(a)),
    "factorial": lambda a: Fraction(math.factorial(_whole(a))),
    "double": lambda a: Fraction(math.prod(range(_whole(a), 0, -2))),
    "binom": lambda a, b: Fraction(math.comb(_whole(a), _whole(b))),
    "gcd": lambda *v: Fraction(math.gcd(*(_whole(abs(a), 1 << 4096) for a in v))),
    "lcm": lambda *v: Fraction(math.lcm(*(_whole(abs(a), 1 << 4096) for a in v))),
}
_INEXACT: dict[str, Callable[..., Any]] = {
    "floor": lambda mp, a: mp.floor(a),
    "ceil": lambda mp, a: mp.ceil(a),
    "ln": lambda mp, a: mp.log(a),
    "log": lambda mp, a: mp.log(a, 10),
    "lg": lambda mp, a: mp.log(a, 10),
    "logbase": lambda mp, b, a: mp.log(a) / mp.log(b),
}


def _exact_power(base: Fraction, exponent: Fraction) -> Fraction | None:
    """The power if it is rational, None if it is irrational. Raises Undecided if it is too large."""
    degree = exponent.denominator
    if degree > 1:
        if (base < 0 and degree % 2 == 0) or degree > 64:
            return None
        top, bottom = (_whole_root(abs(part), degree) for part in (base.numerator, base.denominator))
        if top is None or bottom is None:
            return None
        base = Fraction(-top if base < 0 else top, bottom)
    power = exponent.numerator
    if abs(power) * max(base.numerator.bit_length(), base.denominator.bit_length()) > 2 * MAX_BITS:
        if base in (0, 1, -1):
            return base ** (2 + power % 2) if power > 0 else 1 / base ** (2 + power % 2)
        raise Undecided("too large")
    return base**power


def _whole_root(value: int, degree: int) -> int | None:
    """The root of a whole number if it is whole, by halving an interval."""
    low, high = 0, 1 << (value.bit_length() // degree + 1)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**degree <= value else (low, middle - 1)
    return low if low**degree == value else None
