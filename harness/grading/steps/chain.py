"""Is a derivation a chain from the problem to the answer, through every part of a composite problem?

A valid chain: every step is right; every operand has a source; each value that the problem passes from one
part to the next is the result of a step and an operand of a later one, in order; the last step's value is the
answer. A source is the problem, an earlier result, a small constant (`SMALL_CONSTANTS`), the digits of one of
these where they are added up from left to right, or the divisor of an exact division, which proves itself.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from harness.grading.grade import number_in
from harness.grading.steps.check import SMALL_CONSTANTS, Step, check_steps
from harness.grading.steps.numbers import values
from harness.grading.steps.tokens import tokenize

_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Chain:
    """The verdict, and the derivation with its numbers blotted out.

    In a template p0 is the first number of the problem, s0 the first step's result, d0.1 the second digit of
    the first source, f a divisor, = the constant that follows it, ? an operand without a source.

    Example, 14*3=42;42 mod 23=19;1+9=10 for "digits(14*3 mod 23)":
        Chain(valid=True, template="p0*p1;s0 mod p2;ds1.0+ds1.1")
    """

    valid: bool
    template: str

    @property
    def digest(self) -> str:
        """A short name of the template."""
        return hashlib.sha256(self.template.encode()).hexdigest()[:12]


@lru_cache(maxsize=2**18)  # 256 samples of each problem, of which many are the same
def chain_of(text: str, *, problem: str, answer: str | None, parts: tuple[int, ...] = ()) -> Chain:
    """Check the steps of a completion whose extracted answer is `answer`.

    `parts` are the problem's (`Problem.parts`). A completion without a step is no valid chain.
    """
    steps = check_steps(text, problem=problem, answer=answer).steps
    sources = _sources(steps, problem)
    target = number_in(answer or "")
    template = ";".join(_template(step, names) for step, names in zip(steps, sources, strict=True))
    valid = (
        bool(steps)
        and all(step.ok for step in steps)
        and not any("?" in names for names in sources)
        and target is not None
        and steps[-1].value == target
        and _passes_through(parts, steps, sources)
    )
    return Chain(valid, template)


def _operands(step: Step) -> list[Fraction]:
    return values(tokenize(step.lhs))


def _template(step: Step, names: Sequence[str]) -> str:
    """The left side with each number replaced by its source."""
    waiting = iter(names)
    return _NUMBER.sub(lambda found: next(waiting, found[0]), step.lhs)


def _sources(steps: Sequence[Step], problem: str) -> list[list[str]]:
    """Source of each operand of each step; behind them the digits that they may be as well."""
    known = [(f"p{i}", value) for i, value in enumerate(values(tokenize(problem)))]
    found: list[list[str]] = []
    digits: dict[int, list[str]] = {}  # of steps that add up the digits of a number
    for i, step in enumerate(steps):
        if i not in digits and "+" in step.lhs:
            digits |= _digit_sum(steps, i, known)
        names, others = [_source(x, known) for x in _operands(step)], digits.get(i, [])
        if names[-1:] == ["?"] and _divides(step):
            names[-1] = "f"
        plain = all(name[0] in "ps" for name in names)  # 2+3 of two results is no sum of the digits of 23
        found.append([*names, *others] if plain or not others else others)
        if step.value is not None:
            known.append((f"s{i}", step.value))
    return found


def _source(x: Fraction, known: Sequence[tuple[str, Fraction]]) -> str:
    """The latest source of a value; a number of the problem before a constant."""
    name = next((name for name, value in reversed(known) if value == x), None)
    return name or (f"={x}" if x in SMALL_CONSTANTS else "?")


def _divides(step: Step) -> bool:
    """Whether a step divides by a whole number above 1, exactly."""
    sides = _operands(step)
    exact = step.ok and step.value is not None and step.value.denominator == 1
    return exact and re.fullmatch(r"\s*\d+\s*/\s*\d+\s*", step.lhs) is not None and sides[1] > 1


def _digit_sum(
    steps: Sequence[Step], start: int, known: Sequence[tuple[str, Fraction]]
) -> dict[int, list[str]]:
    """Sources of the steps from `start` on, if they add up the digits of a known number from left to right.

    `1+8=9;9+8=17` for 188, or `1+8+8=17` at once. The longest such number is taken, of several the latest.
    """
    best: dict[int, list[str]] = {}
    for name, value in known:
        if value.denominator == 1 and value >= 10:
            marks = [(f"d{name}.{i}", Fraction(int(digit))) for i, digit in enumerate(str(value))]
            found = _adds_up(steps, start, marks)
            if found is not None and sum(map(len, found.values())) >= sum(map(len, best.values())):
                best = found
    return best


def _adds_up(
    steps: Sequence[Step], start: int, marks: Sequence[tuple[str, Fraction]]
) -> dict[int, list[str]] | None:
    """Sources of the steps that add the marked digits up; None if the steps from `start` on do not."""
    found: dict[int, list[str]] = {}
    names: list[str] = []
    at, used = start, 0
    while used < len(marks):
        if at >= len(steps) or not re.fullmatch(r"[\d\s+]+", steps[at].lhs):
            return None
        given = _operands(steps[at])
        new = len(given) - bool(names)  # after the first step, the sum so far comes first
        wanted = [value for _, value in marks[used : used + new]]
        if new < 1 or given[bool(names) :] != wanted or (names and given[0] != steps[at - 1].value):
            return None
        names = [f"s{at - 1}"] * bool(names) + [name for name, _ in marks[used : used + new]]
        found[at] = names
        at, used = at + 1, used + new
    return found


def _passes_through(parts: Sequence[int], steps: Sequence[Step], sources: Sequence[Sequence[str]]) -> bool:
    """Whether each part is a step's result, in order, and an operand of a later step."""
    at = 0
    for part in parts:
        places = [i for i in range(at, len(steps)) if steps[i].value == part]
        used = [i for i in places if any(_rests_on(names, i) for names in sources[i + 1 :])]
        if not used:
            return False
        at = used[0] + 1
    return True


def _rests_on(names: Sequence[str], step: int) -> bool:
    return any(name == f"s{step}" or name.startswith(f"ds{step}.") for name in names)
