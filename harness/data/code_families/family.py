"""What a family of programming tasks is: a small function to write, its value, and a usual mistake.

`draw(rng, level)` gives numbers and words; `state(params)` words the task and writes a reference
solution, an expression that continues `f=lambda x:`. What a test expects is computed by `Stated.value`, plain
Python of the generator's own that never reads the solution: each can be checked against the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

Params = tuple[Any, ...]
MOST = 99  # largest constant of a task


@dataclass(frozen=True, slots=True)
class Op:
    """One thing done to a number: `+3`, `-3`, `*3`, `%3`."""

    sign: str
    number: int

    @property
    def english(self) -> str:
        return {
            "+": f"add {self.number}",
            "-": f"subtract {self.number}",
            "*": f"multiply by {self.number}",
            "%": f"take the remainder by {self.number} (as Python's %)",
        }[self.sign]

    def apply(self, x: int) -> int:
        """The value after it."""
        k = self.number
        return {"+": x + k, "-": x - k, "*": x * k, "%": x % k}[self.sign]


@dataclass(frozen=True, slots=True)
class Stated:
    """A task in English and in short, the function's arguments, value, solution and inputs to try.

    `properties` are further tests; `wrong` is a solution with a usual mistake, which may be none here.
    """

    text: str
    terse: str
    arguments: str
    value: Callable[..., Any]
    solution: str
    wrong: str
    inputs: Sequence[tuple[Any, ...]]
    properties: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of task at levels 1-5."""

    name: str
    topic: str
    draw: Callable[[Random, int], Params]
    state: Callable[[Params], Stated]


def draw_op(rng: Random) -> Op:
    """Draw an operation that does something."""
    return Op(sign := rng.choice("+-*%"), rng.randint(1 if sign in "+-" else 2, MOST))


def applied(ops: Sequence[Op], x: int) -> int:
    """The value of `x` after all of them, in order."""
    for op in ops:
        x = op.apply(x)
    return x


def infix(start: str, ops: Sequence[Op], *, brackets: bool = True) -> str:
    """The operations as one expression, brackets where Python needs them; `start` must need none.

    Without `brackets` it is what one writes who forgets that * and % bind before + and -.
    """
    text, is_sum = start, False
    for op in ops:
        binds = op.sign in "*%"
        text = (f"({text})" if binds and is_sum and brackets else text) + f"{op.sign}{op.number}"
        is_sum = not binds
    return text


def numbers(seed: object, number: int, low: int, high: int) -> list[int]:
    """Different whole numbers to try, always the same for a task."""
    return Random(f"inputs|{seed}").sample(range(low, high + 1), number)
