"""Deterministic step check: find the arithmetic statements of a derivation and verify each exactly.

A step is one `=` with an operation on at least one side: `17*23=391`, both links of `2*3+1=6+1=7`. Errors of
set-up (the wrong quantities, correctly computed) are not seen, so a wrong-step rate is a lower bound.

Conventions. A decimal result may be rounded or cut at its last digit (10/3 = 3.33); an integer result must be
exact, unless the sign is ≈ or a remainder follows (17/5 = 3 R2). `%` may be read as /100 or as a unit, on
either side (not in `140/100 = 1.4%`, nor in a product unless its rate is 100%: `40 * 2% = 80` is wrong).
Units are not checked: `2 hours + 90 minutes = 92` passes, and so does what is true in one unit, `= 210
minutes`. `12/3 = 4 x 5 = 20` (running notation) counts as two right steps. Statements over the size caps or
with variables are not steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from harness.grading.grade import number_in
from harness.grading.steps.arithmetic import Parser
from harness.grading.steps.context import continues, goes_on, remainder_after
from harness.grading.steps.cursor import Cursor
from harness.grading.steps.exact import (
    Node,
    Uncheckable,
    evaluate,
    first_operand,
    is_literal,
    literals,
    places,
)
from harness.grading.steps.numbers import numbers_in
from harness.grading.steps.tokens import OPERAND_STARTS, Token, tokenize
from harness.grading.steps.units import in_one_unit

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
    """All steps of a derivation, in order. `last_yields_answer` is None without an answer or a step."""

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
    known = None if problem is None else {*numbers_in(problem), *SMALL_CONSTANTS}
    steps: list[Step] = []
    for link in _links(text):
        sourced = None
        if known is not None:
            sourced = all(_is_known(x, known) for x in literals(link.lhs))
            known |= {x for x in (link.values[1:] if link.ok else ()) if x is not None}
            known |= set(literals(link.rhs))
        steps.append(
            Step(
                link.start,
                link.end,
                text[link.start : link.middle].rstrip("≈=≡*_` \n"),
                text[link.middle : link.end].strip(" *_`\n\t"),
                link.values[1],
                link.ok,
                sourced,
            )
        )
    target = None if answer is None else number_in(answer)
    yields = None if target is None or not steps else steps[-1].value == target
    return StepReport(tuple(steps), yields)


@dataclass(frozen=True, slots=True)
class _Link:
    """One `lhs = rhs` at text[start:middle], text[middle:end] with its exact values."""

    lhs: Node
    rhs: Node
    start: int
    middle: int
    end: int
    ok: bool
    values: tuple[Fraction | None, Fraction | None]


_RELATIONS = ("equals", "approx", "equiv")
_STARTS = OPERAND_STARTS | {"minus"}
# Words after which a lone number is a result (`we get 15 = 3 * 5`); other words name it (`week 2 = 3 * 5`).
_BEFORE_RESULTS = frozenset(
    ["get", "gets", "have", "so", "thus", "hence", "therefore", "then", "gives", "obtain"]
)


def _links(text: str) -> Iterator[_Link]:
    cursor = Cursor(tokenize(text))
    parser = Parser(cursor)
    tokens = cursor.tokens
    i = 0
    while i < len(tokens):
        left = parser.parse(i) if tokens[i].kind in _STARTS and not continues(cursor, i) else None
        if left is None:
            i += 1
            continue
        start, start_index, begin = tokens[i].start, i, i
        i = left[1]
        head = _is_label(cursor, start_index, left)
        while (at := _relation(cursor, left[1])) is not None:
            cursor.limit = len(tokens)
            first = at + 1 + (cursor.kind(at + 1) in ("newline", "delim"))
            right = parser.parse(first)
            if right is None or goes_on(cursor, right[1]):
                i = at + 1
                break
            end, modulus = _modulus(parser, right[1]) if tokens[at].kind == "equiv" else (right[1], None)
            link = _verify(left[0], right[0], tokens[at].kind, modulus)
            head = head or _is_measure(left[0], right[0], tokens[at].text)
            if link is not None and not head:
                ok, values = link
                ok = ok or (modulus is None and _holds_in_one_unit(text, tokens[begin:end]))
                ok = ok or _holds_with_remainder(left[0], link[1], remainder_after(text, tokens[end - 1].end))
                yield _Link(left[0], right[0], start, tokens[at].end, tokens[end - 1].end, ok, values)
            start, begin, left, i, head = tokens[first].start, first, (right[0], end), end, False


def _holds_in_one_unit(text: str, tokens: list[Token]) -> bool:
    """Whether a statement of different units is true once they are one."""
    for converted in in_one_unit(text, tokens):
        parser = Parser(Cursor(converted))
        left = parser.parse(0)
        at = _relation(parser.cursor, left[1]) if left else None
        right = parser.parse(at + 1) if at is not None else None
        if left and right and at is not None:
            link = _verify(left[0], right[0], converted[at].kind, None)
            if link is not None and link[0]:
                return True
    return False


def _holds_with_remainder(
    lhs: Node, values: tuple[Fraction | None, Fraction | None], remainder: int | None
) -> bool:
    """Whether lhs is a division that leaves the remainder given: `17 / 5 = 3 R2`."""
    if remainder is None or lhs.op != "over":
        return False
    divisor = evaluate(lhs.args[1])
    quotient, whole = values
    if quotient is None or whole is None or divisor is None:
        return False
    return remainder < divisor and quotient == whole + remainder / divisor


def _is_label(cursor: Cursor, i: int, left: tuple[Node, int]) -> bool:
    """Whether a lone number before the first `=` belongs to a phrase (`5 friends = 250/5`)."""
    node, end = left
    if not is_literal(node):
        return False
    before = cursor.tokens[i - 1] if i > 0 else None
    if cursor.tokens[end - 1].kind == "word":
        return True
    if before is None or before.kind != "word":
        return before is not None and before.kind == "number"
    equals = cursor.kind(end) == "equals" and cursor.tokens[end].text[0] == "="
    return not (equals and node.op != "percent" and before.text.lower() in _BEFORE_RESULTS)


def _is_measure(left: Node, right: Node, relation: str) -> bool:
    """Whether words give a part a size, which is no arithmetic: `2/5 is equal to 12 hectares`."""
    if relation in ("=", "==", "≈") or left.op != "over" or not all(map(is_literal, left.args)):
        return False
    part, size = evaluate(left), evaluate(first_operand(right))
    return part is not None and size is not None and part < 1 < size


def _relation(cursor: Cursor, i: int) -> int | None:
    """The index of the relation sign at `i`, perhaps on the next line."""
    cursor.limit = len(cursor.tokens)
    if cursor.kind(i) == "newline" and cursor.kind(i + 1) in _RELATIONS:
        i += 1
    return i if cursor.kind(i) in _RELATIONS else None


def _modulus(parser: Parser, i: int) -> tuple[int, Node | None]:
    r"""`\pmod{7}`, `(mod 7)` or `mod 7` at `i`: the index after it and the modulus."""
    parser.cursor.limit = len(parser.tokens)
    j = i + (parser.kind(i) == "open")
    if parser.kind(j) != "mod":
        return i, None
    parsed = parser.parse_operand(j + 1)
    if parsed is None:
        return i, None
    return parsed[1] + (j > i and parser.kind(parsed[1]) == "close"), parsed[0]


def _verify(
    lhs: Node, rhs: Node, relation: str, modulus: Node | None
) -> tuple[bool, tuple[Fraction | None, Fraction | None]] | None:
    """Whether the statement holds, with both values; None if it is no step or cannot be checked."""
    if modulus is None and (relation == "equiv" or (is_literal(lhs) and is_literal(rhs))):
        return None
    try:
        lefts, rights = _readings(lhs), _readings(rhs)
        values = lefts[0], rights[0]
        if modulus is not None:
            return _congruent(*values, evaluate(modulus)), values
        running = [] if is_literal(rhs) else [evaluate(first_operand(rhs))]
    except Uncheckable:
        return None
    if not _may_drop_percent(lhs, rights[1]):
        lefts = lefts[:1]
    if _is_hundredth(lhs):
        rights = rights[:1]
    decimals = places(first_operand(rhs))  # of a literal, itself
    pairs = [(a, b) for a in lefts for b in rights + running if a is not None and b is not None]
    return any(_same(a, b, decimals, approximate=relation == "approx") for a, b in pairs), values


def _readings(node: Node) -> list[Fraction | None]:
    """The value with a percent sign read as /100, and with it read as a unit."""
    return [evaluate(node), evaluate(node, percent=False)]


def _may_drop_percent(lhs: Node, result: Fraction | None) -> bool:
    """`60% / 3 = 20` counts per cents, `1/5 * 100% = 20` makes them; `40 * 2% = 80` is a slip."""
    args = [arg.args[0] if arg.op == "group" else arg for arg in lhs.args]
    rates = [evaluate(arg, percent=False) for arg in args if arg.op == "percent"]
    if rates and lhs.op in ("times", "over"):
        slipped = lhs.op == "times" and any(rate != 100 for rate in rates)
        if slipped or (result is not None and abs(result) > 100):
            return False
    return all(_may_drop_percent(arg, result) for arg in args)


def _is_hundredth(lhs: Node) -> bool:
    """`140/100 = 1.4%` is false: who divides by a hundred has no per cent left."""
    return lhs.op == "over" and lhs.args[1].op == "num" and lhs.args[1].value == 100


def _congruent(a: Fraction | None, b: Fraction | None, modulus: Fraction | None) -> bool:
    """a ≡ b; a fraction stands for its inverse: 33^{-1} ≡ 77 (mod 508)."""
    if a is None or b is None or modulus is None or modulus <= 0:
        return False
    if modulus.denominator != 1:
        return (a - b) % modulus == 0
    coprime = all(math.gcd(x.denominator, int(modulus)) == 1 for x in (a, b))
    return coprime and (a - b).numerator % int(modulus) == 0


def _same(a: Fraction, b: Fraction, places: int, *, approximate: bool) -> bool:
    """Equal, or `b` is `a` rounded (half up) or cut at its last decimal place; ≈ allows integers that too,
    at their last digit that is not 0 (53,700 ≈ 54,000)."""
    if a == b:
        return True
    if places == 0 and not approximate:
        return False
    unit = Fraction(1, 10**places)
    while places == 0 and b and b % (unit * 10) == 0:
        unit *= 10
    scaled, written = abs(a) / unit, abs(b) / unit
    return (a < 0) == (b < 0) and written in (int(scaled), int(scaled + Fraction(1, 2)))


def _is_known(x: Fraction, known: set[Fraction]) -> bool:
    return x in known or x * 100 in known or x / 100 in known or (0 < x < 1 and 1 / x in known)
