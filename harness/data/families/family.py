"""What a family of generated problems is, and the derivation that its solutions are written with.

A family is three pure functions. `draw(rng, level)` gives parameters, or None where a draw does not qualify
and the caller draws again. `state(params)` words the problem. `derive(params, work)` computes the answer
with `work`, which writes each operation down: a worked solution is the trace of the program that found the
answer, so every step is true, and a slip put into one step is carried through the rest exactly as a
careless solver would.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random

Params = tuple[int, ...]

MAX_STEPS = 200
MAX_VALUE = 10**15


@dataclass(frozen=True, slots=True)
class Statement:
    """A problem in English and in symbols; `canonical` is equal for problems that are the same up to
    symmetry."""

    canonical: str
    text: str
    terse: str


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of problem.

    `redraw(rng, params)` gives other numbers to the same wording, for families whose wordings are too many to
    meet one twice. `is_fact`: its problems are the facts that others are made of, such as a product of two
    numbers; a pretraining text may hold any of them, so no split of it is of new problems. `hashed_as`: the
    family whose statements it shares, under whose name its problems are shared out over the splits.
    """

    name: str
    topic: str
    draw: Callable[[Random, int], Params | None]
    state: Callable[[Params], Statement]
    derive: Callable[[Params, Derivation], int]
    levels: tuple[int, ...] = (1, 2, 3, 4, 5)
    redraw: Callable[[Random, Params], Params | None] | None = None
    is_fact: bool = False
    hashed_as: str = ""


class Derivation:
    """Does integer arithmetic and keeps each operation as a step such as `17*23=391` or `gcd(12,6)=6`.

    With `slip_at`, the result of that step (counted from 0) is off by `slip` and the error is carried on.
    Raises ArithmeticError where an operation leaves the non-negative integers or grows past any use;
    without a slip that is a mistake in the family, with one the caller tries another slip. `parts` are the
    values that a composite problem passes from one part to the next, in order.
    """

    def __init__(self, slip_at: int | None = None, slip: int = 0) -> None:
        self.steps: list[str] = []
        self.parts: list[int] = []
        self._slip_at = slip_at
        self._slip = slip

    def _note(self, expression: str, value: int) -> int:
        if len(self.steps) == self._slip_at:
            value += self._slip
        if not 0 <= value <= MAX_VALUE or len(self.steps) >= MAX_STEPS:
            raise ArithmeticError(f"derivation out of range at {expression}={value}")
        self.steps.append(f"{expression}={value}")
        return value

    def add(self, a: int, b: int) -> int:
        return self._note(f"{a}+{b}", a + b)

    def sub(self, a: int, b: int) -> int:
        return self._note(f"{a}-{b}", a - b)

    def mul(self, a: int, b: int) -> int:
        return self._note(f"{a}*{b}", a * b)

    def div(self, a: int, b: int) -> int:
        """Exact division; after a slip it rounds down."""
        if b == 0 or (a % b and self._slip_at is None):
            raise ArithmeticError(f"{a}/{b} is not an integer")
        return self._note(f"{a}/{b}", a // b)

    def mod(self, a: int, b: int) -> int:
        if b == 0:
            raise ArithmeticError("remainder by zero")
        return self._note(f"{a} mod {b}", a % b)

    def power(self, a: int, b: int) -> int:
        if b * math.log10(max(a, 2)) > 15:
            raise ArithmeticError(f"{a}^{b} is too large")
        return self._note(f"{a}^{b}", a**b)

    def gcd(self, a: int, b: int) -> int:
        return self._note(f"gcd({a},{b})", math.gcd(a, b))

    def choose(self, n: int, k: int) -> int:
        if n > 1000 or k > n:
            raise ArithmeticError(f"C({n},{k}) is out of range")
        return self._note(f"C({n},{k})", math.comb(n, k))

    def factorial(self, n: int) -> int:
        if n > 15:
            raise ArithmeticError(f"{n}! is too large")
        return self._note(f"{n}!", math.factorial(n))

    def total(self, terms: Iterable[int]) -> int:
        """Adds from left to right, one step an addition; the total of one term takes no step."""
        first, *rest = terms
        for term in rest:
            first = self.add(first, term)
        return first

    def product(self, factors: Iterable[int]) -> int:
        """Multiplies from left to right, one step a multiplication."""
        first, *rest = factors
        for factor in rest:
            first = self.mul(first, factor)
        return first

    def quotient(self, a: int, b: int) -> int:
        """The integer part of a/b: the remainder is taken off first, so that the division is exact."""
        remainder = self.mod(a, b)
        return self.div(self.sub(a, remainder) if remainder else a, b)

    def euclid(self, a: int, b: int) -> int:
        """gcd(a, b) by Euclid's algorithm; stops as soon as one number divides the other."""
        a, b = max(a, b), min(a, b)
        while b and a % b:
            a, b = b, self.mod(a, b)
        return self.gcd(a, b)

    def lowest_terms_sum(self, numerator: int, denominator: int) -> int:
        """m+n for numerator/denominator = m/n in lowest terms."""
        common = self.gcd(numerator, denominator)
        if common != 1:
            numerator, denominator = self.div(numerator, common), self.div(denominator, common)
        return self.add(numerator, denominator)


def joined(values: Iterable[int]) -> str:
    """Numbers in a canonical form: `3,5,8`."""
    return ",".join(map(str, values))
