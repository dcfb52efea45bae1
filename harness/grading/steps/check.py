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

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from harness.grading.grade import number_in
from harness.grading.operations import Undecided
from harness.grading.steps.arithmetic import Parser
from harness.grading.steps.cursor import Cursor
from harness.grading.steps.exact import (
    Node,
    changed_by_percent,
    evaluate,
    first_operand,
    is_literal,
    literals,
    places,
)
from harness.grading.steps.quantities import in_one_unit, numbers_in
from harness.grading.steps.tokens import OPERAND_STARTS, Token, tokenize

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
    for lhs, rhs, step in _statements(text, tokenize(text)):
        if problem is not None:
            step = replace(step, operands_known=all(_is_known(x, known) for x in literals(lhs)))
            known.update(literals(rhs), [step.value] if step.ok and step.value is not None else [])
        steps.append(step)
    target = number_in(answer or "")
    return StepReport(tuple(steps), steps[-1].value == target if steps and target is not None else None)


_RELATIONS = ("equals", "approx", "equiv")
# Words after which a lone number is a result (`we get 15 = 3 * 5`); other words name it (`week 2 = 3 * 5`).
_BEFORE_RESULTS = re.compile(
    r"gets?|have|so|thus|hence|therefore|then|gives|obtain|所以|因此|得到?|故|よって|したがって|따라서|значит|поэтому"
)
_REMAINDER = re.compile(
    r"[\s,$]*(?:\\text\s*\{\s*)?(?:with\s+)?(?:an?\s+)?(?:[Rr]emainder|[Rr]em\.|[Rr](?=[\s}]*\d))(?:\s+(?:of|is))?"
    r"[\s}$=]*(\d{1,18})(?![\w.])"
)


def _statements(text: str, tokens: list[Token], *, units: bool = True) -> Iterator[tuple[Node, Node, Step]]:
    """Each `lhs = rhs` that can be checked, with both sides as trees; `units`: convert them."""
    cursor = Cursor(tokens)
    parser = Parser(cursor)
    i = 0
    while i < len(tokens):
        starts = tokens[i].kind in (*OPERAND_STARTS, "minus") and not cursor.continues(i)
        left = parser.parse(i) if starts else None
        if left is None:
            i += 1
            continue
        begin, i, head = i, left[1], _is_label(cursor, i, left)
        while cursor.kind(at := left[1] + (cursor.kind(left[1]) == "newline")) in _RELATIONS:
            first = at + 1 + (cursor.kind(at + 1) in ("newline", "delim"))
            right = parser.parse(first)
            if right is None or cursor.goes_on(right[1]):
                i = at + 1
                break
            end, modulus = _modulus(parser, right[1]) if tokens[at].kind == "equiv" else (right[1], None)
            if not head and (found := _verify(left[0], right[0], tokens[at], modulus)):
                ok, value = found
                ok = ok or (
                    units and modulus is None and _holds_otherwise(text, tokens[begin:end], left[0], value)
                )
                start, middle, stop = tokens[begin].start, tokens[at].end, tokens[end - 1].end
                said = text[start:middle].rstrip("≈=＝≡*_` \n"), text[middle:stop].strip(" *_`\n\t")
                yield left[0], right[0], Step(start, stop, *said, value, ok, None)
            begin, left, i, head = first, (right[0], end), end, False


def _holds_otherwise(text: str, tokens: list[Token], lhs: Node, value: Fraction | None) -> bool:
    """Whether a statement is true in one unit, or a division with the remainder after it: `17 / 5 = 3 R2`."""
    found = (_statements(text, converted, units=False) for converted in in_one_unit(text, tokens))
    if any(step.ok for statements in found for _, _, step in statements):
        return True
    after = _REMAINDER.match(text, tokens[-1].end)
    if after is None or lhs.op != "over" or value is None:
        return False
    (dividend, divisor), remainder = map(evaluate, lhs.args), int(after[1])
    return remainder < divisor and dividend == value * divisor + remainder


def _is_label(cursor: Cursor, i: int, left: tuple[Node, int]) -> bool:
    """Whether a lone number before the first `=` belongs to a phrase (`5 friends = 250/5`)."""
    node, end = left
    if not is_literal(node) or cursor.tokens[end - 1].kind == "word":
        return is_literal(node)
    before = cursor.tokens[i - 1]
    if before.kind != "word":
        return before.kind == "number"
    equals = cursor.kind(end) == "equals" and cursor.tokens[end].text[0] == "="
    return not (equals and node.op != "percent" and _BEFORE_RESULTS.fullmatch(before.text.lower()))


def _modulus(parser: Parser, i: int) -> tuple[int, Node | None]:
    r"""`\pmod{7}`, `(mod 7)` or `mod 7` at `i`: the index after it and the modulus."""
    j = i + (parser.kind(i) == "open")
    if parser.kind(j) != "mod" or (parsed := parser.parse(j + 1)) is None:
        return i, None
    return parsed[1] + (j > i and parser.kind(parsed[1]) == "close"), parsed[0]


def _verify(lhs: Node, rhs: Node, sign: Token, modulus: Node | None) -> tuple[bool, Fraction | None] | None:
    """Whether the statement holds, with the value of rhs; None if it is no step or cannot be checked."""
    if modulus is None and (sign.kind == "equiv" or (is_literal(lhs) and is_literal(rhs))):
        return None
    try:
        # Words give a part its size, which is no arithmetic: `2/5 is equal to 12 hectares`.
        words = sign.text not in ("=", "==", "≈") and lhs.op == "over" and all(map(is_literal, lhs.args))
        if words and evaluate(lhs) < 1 < evaluate(first_operand(rhs)):
            return None
        result, value = evaluate(lhs), evaluate(rhs)
        if modulus is not None:
            return _congruent(result, value, evaluate(modulus)), value
        if result == value:
            return True, value
        lefts, rights = [result], [value]  # a percent sign divides by 100, or is a unit
        if _may_drop_percent(lhs, evaluate(rhs, percent=False)):
            lefts.append(evaluate(lhs, percent=False))
        # `140/100 = 1.4%` is false: who divides by a hundred has no per cent left.
        if lhs.op != "over" or lhs.args[1] != Node("num", value=Fraction(100)):
            rights.append(evaluate(rhs, percent=False))
        lefts.append(evaluate(changed_by_percent(lhs)))
        rights.append(evaluate(first_operand(rhs)))  # running notation
    except Undecided:
        return None
    except ArithmeticError:
        return False, None
    decimals, approximate = places(first_operand(rhs)), sign.kind == "approx"
    return any(_same(a, b, decimals, approximate=approximate) for a in lefts for b in rights), value


def _may_drop_percent(lhs: Node, result: Fraction) -> bool:
    """`60% / 3 = 20` counts per cents, `1/5 * 100% = 20` makes them; `40 * 2% = 80` is a slip."""
    args = [arg.args[0] if arg.op == "group" else arg for arg in lhs.args]
    rates = [evaluate(arg, percent=False) for arg in args if arg.op == "percent"]
    slipped = lhs.op == "times" and any(rate != 100 for rate in rates)
    if rates and lhs.op in ("times", "over") and (slipped or abs(result) > 100):
        return False
    return all(_may_drop_percent(arg, result) for arg in args)


def _congruent(a: Fraction, b: Fraction, modulus: Fraction) -> bool:
    """a ≡ b; a fraction stands for its inverse: 33^{-1} ≡ 77 (mod 508)."""
    coprime = all(math.gcd(x.denominator, modulus.numerator) == 1 for x in (a, b))
    difference = (a - b).numerator if modulus.denominator == 1 else a - b
    return modulus > 0 and coprime and difference % modulus == 0


def _same(a: Fraction, b: Fraction, places: int, *, approximate: bool) -> bool:
    """Equal, or `b` is `a` rounded (half up) or cut at its last decimal place.

    ≈ allows integers that too, at their last digit that is not 0 (53,700 ≈ 54,000).
    """
    if a == b or (places == 0 and not approximate):
        return a == b
    unit = Fraction(1, 10**places)
    while places == 0 and b and b % (unit * 10) == 0:
        unit *= 10
    scaled, written = abs(a) / unit, abs(b) / unit
    return (a < 0) == (b < 0) and written in (int(scaled), int(scaled + Fraction(1, 2)))


def _is_known(x: Fraction, known: set[Fraction]) -> bool:
    return x in known or x * 100 in known or x / 100 in known or (0 < x < 1 and 1 / x in known)
