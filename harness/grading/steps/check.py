"""Deterministic step check: find the arithmetic statements of a derivation and verify each exactly.

A step is one `=` with an operation on at least one side: `17*23=391`, both links of `2*3+1=6+1=7`. Errors of
set-up (the wrong quantities, correctly computed) are not seen, so a wrong-step rate is a lower bound.

A decimal result may be rounded or cut at its last digit (10/3 = 3.33); an integer must be exact, unless the
sign is ≈ or a remainder follows (17/5 = 3 R2). `%` may be read as /100 or as a unit, on either side (not in
`140/100 = 1.4%`, nor in a product unless its rate is 100%: `40 * 2% = 80` is wrong). Units are not checked:
`2 hours + 90 minutes` may be 92 or 210. `12/3 = 4 x 5 = 20` (running notation) counts as two right steps.
Statements over the size caps or with variables are not steps.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import NamedTuple

from harness.grading.compare.expressions import Unreadable
from harness.grading.grade import number_in
from harness.grading.lexicon import UNITS
from harness.grading.operations import Undecided
from harness.grading.steps.formulas import evaluate, formula
from harness.grading.steps.numbers import numbers_in, values
from harness.grading.steps.roles import roles
from harness.grading.steps.tokens import Token, tokenize
from harness.grading.steps.verdict import LITERAL, judge

MAX_TEXT_CHARS = 131_072  # only the end of a longer text is read, as the grader does
# Operands that need no source: counting, halves and percent, and the calendar's and clock's units.
SMALL_CONSTANTS = frozenset(map(Fraction, (0, 1, 2, 7, 10, 12, 24, 30, 52, 60, 100, 365, 1000)))


@dataclass(frozen=True, slots=True)
class Step:
    """`text[start:end]` reads lhs = rhs; `value` is the rhs. `operands_known` is None without a problem."""

    start: int
    end: int
    lhs: str
    rhs: str
    value: Fraction | None
    ok: bool
    operands_known: bool | None


@dataclass(frozen=True, slots=True)
class StepReport:
    """Steps of a derivation, in order. `last_yields_answer` is None without an answer or a step."""

    steps: tuple[Step, ...]
    last_yields_answer: bool | None

    @property
    def num_steps(self) -> int:
        """How many arithmetic statements were found."""
        return len(self.steps)

    @property
    def num_wrong(self) -> int:
        """How many of them are false."""
        return sum(not step.ok for step in self.steps)


def check_steps(text: str, *, problem: str | None = None, answer: str | None = None) -> StepReport:
    """Find and verify the arithmetic statements of `text`.

    With `problem`, a step's `operands_known` says whether each number on its left side occurs in the problem
    (in digits or words), is an earlier result, or is in SMALL_CONSTANTS; x% and x/100 count as x. With
    `answer`, `last_yields_answer` says whether the right side of the last step equals it.
    """
    text = text[-MAX_TEXT_CHARS:]
    known = {*numbers_in(problem or ""), *SMALL_CONSTANTS}
    steps: list[Step] = []
    for lhs, rhs, step in _statements(text):
        if problem is not None:
            step = replace(step, operands_known=all(_is_known(x, known) for x in values(lhs.tokens)))
            known.update(values(rhs.tokens), [step.value] if step.ok and step.value is not None else [])
        steps.append(step)
    target = number_in(answer) if answer else None
    return StepReport(tuple(steps), steps[-1].value == target if steps and target is not None else None)


MAX_SIDE_CHARS = 1000
# What no prose interrupts. A bracket [ and a number N begin anew.
_RUN = re.compile(r"[N\[]?[^ wN?\[]+")
# Words after which a lone number is a result (`we get 15 = 3 * 5`); other words name it (`week 2 = 3 * 5`).
_BEFORE_RESULTS = re.compile(
    r"gets?|have|so|thus|hence|therefore|then|gives|obtain|所以|因此|得到?|故|よって|したがって|따라서|значит|поэтому"
)


class Side(NamedTuple):
    """One side of a statement: its tokens, their roles, and its formula."""

    tokens: list[Token]
    roles: str
    text: str


def _statements(text: str) -> Iterator[tuple[Side, Side, Step]]:
    """Each `lhs = rhs` that can be checked, with both sides."""
    tokens = tokenize(text)
    found = roles(tokens)
    for run in _RUN.finditer(found):
        begin = run.start()
        signs = [i for i in range(*run.span()) if found[i] == "="]
        for sign, end in zip(signs, [*signs[1:], run.end()], strict=False):
            left = _side(tokens, found, sign - _balanced(found[begin:sign][::-1], "(["), sign)
            after = found[sign + 1 : end]
            after = after[: _balanced(after, ")")].rstrip("_+-*/")
            right = _side(tokens, found, sign + 1, sign + 1 + len(after))
            names = begin == run.start() and left and _is_label(left, tokens[begin - 1 : begin], tokens[sign])
            if left and right and not names and (step := _step(text, left, right, tokens[sign])):
                yield left, right, step
            begin = sign + 1


def _balanced(roles: str, ends: str) -> int:
    """How many roles stand before the first bracket of `ends` that has no partner before it."""
    depth = 0
    for i, role in enumerate(roles):
        depth += (role in "([)") - 2 * (role in ends)
        if depth < 0:
            return i
    return len(roles)


def _side(tokens: list[Token], roles: str, begin: int, end: int) -> Side | None:
    """The side between two places; None if it is empty, too long, algebra, or lacks its first operand."""
    begin = end - len(roles[begin:end].lstrip("_"))
    own = roles[begin:end]
    if not own or own[0] in "+*/^m[" or "v" in own or roles[begin - 1 : begin] == "?":
        return None
    if tokens[end - 1].end - tokens[begin].start > MAX_SIDE_CHARS:
        return None
    return Side(tokens[begin:end], own, formula(tokens[begin:end], own))


def _is_label(left: Side, before: list[Token], sign: Token) -> bool:
    """Whether a lone number before the first `=` belongs to a phrase (`5 friends = 250/5`)."""
    if not LITERAL.fullmatch(left.text):
        return False
    if any(token.kind == "word" for token in left.tokens):
        return True
    if not before or before[0].kind != "word":
        return bool(before) and before[0].kind == "number"
    concludes = _BEFORE_RESULTS.fullmatch(before[0].text.lower())
    return not concludes or sign.text[0] != "=" or "%" in left.text


def _step(text: str, left: Side, right: Side, sign: Token) -> Step | None:
    start, end = left.tokens[0].start, right.tokens[-1].end
    try:
        verdict = judge(left.text, right.text, sign, text, end)
        if verdict is None:
            return None
        ok, value = verdict
        ok = ok or _holds_in_one_unit(left, value)
    except ArithmeticError:
        ok, value = False, None
    except (Unreadable, Undecided):
        return None
    said = text[start : sign.end].rstrip("≈=＝≡*_` \n"), text[sign.end : end].strip(" *_`\n\t")
    return Step(start, end, *said, value, ok, None)


def _holds_in_one_unit(left: Side, value: Fraction) -> bool:
    """Whether a sum of several units is true in one of them: `2 hours + 90 minutes = 210 minutes`."""
    words = [token.text for token in left.tokens if token.kind == "word"]
    names = {word: word.lower().removesuffix("s") if len(word) > 2 else word for word in words}
    units = {word: UNITS[name] for word, name in names.items() if name in UNITS}
    sizes = {word: unit.size for word, unit in units.items()}
    if len(set(sizes.values())) < 2 or len({unit.dimension for unit in units.values()}) > 1:
        return False
    total = evaluate(formula(left.tokens, left.roles, sizes))
    return any(total == value * size for size in sizes.values())


def _is_known(x: Fraction, known: set[Fraction]) -> bool:
    return x in known or x * 100 in known or x / 100 in known or (0 < x < 1 and 1 / x in known)
