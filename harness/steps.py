"""Deterministic step check: find the arithmetic statements of a derivation and verify each exactly.

A step is one `=` with an operation on at least one side: `17*23=391`, both links of `2*3+1=6+1=7`. Errors of
set-up (the wrong quantities, correctly computed) are not seen, so a wrong-step rate is a lower bound.

Conventions. A decimal result may be rounded or cut at its last digit (10/3 = 3.33); an integer result must be
exact, unless the sign is ≈. `%` may be read as /100 or as a unit, on either side. `12/3 = 4 x 5 = 20`
(running notation) counts as two right steps. Statements over the size caps or with variables are not steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from harness.answers import normalise, parse_number
from harness.arithmetic import Node, Parser
from harness.exact import TooBig, evaluate
from harness.tokens import OPERAND_STARTS, numbers_in, tokenize

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

    @property
    def direct(self) -> bool:
        """No step at all: the answer stands alone."""
        return not self.steps

    @property
    def all_valid(self) -> bool:
        """At least one step, and every step right. A direct answer is not valid in this sense."""
        return bool(self.steps) and self.num_wrong == 0


def check_steps(text: str, *, problem: str | None = None, answer: str | None = None) -> StepReport:
    """Find and verify the arithmetic statements of `text`.

    With `problem`, a step's `operands_known` says whether each number on its left side occurs in the problem
    (in digits or words), is an earlier result, or is in SMALL_CONSTANTS; x% and x/100 count as x. With
    `answer`, `last_yields_answer` says whether the right side of the last step equals it.
    """
    text = text[-MAX_TEXT_CHARS:]
    known = None if problem is None else numbers_in(problem) | SMALL_CONSTANTS
    steps: list[Step] = []
    for link in _links(text):
        sourced = None
        if known is not None:
            sourced = all(_is_known(x, known) for x in _literals(link.lhs))
            known |= {x for x in (link.values[1:] if link.ok else ()) if x is not None}
            known |= set(_literals(link.rhs))
        steps.append(
            Step(
                link.start,
                link.end,
                text[link.start : link.middle].rstrip("≈=≡ \n"),
                text[link.middle : link.end].strip(),
                link.values[1],
                link.ok,
                sourced,
            )
        )
    target = None if answer is None else parse_number(normalise(answer))
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
# Before an expression these mean that it goes on to the left with something that is not a number: x + 5 = 8.
_DANGLING = frozenset(["plus", "minus", "times", "over", "power", "mod"])


def _links(text: str) -> Iterator[_Link]:
    tokens = tokenize(text)
    parser = Parser(tokens)
    i = 0
    while i < len(tokens):
        left = parser.parse(i) if tokens[i].kind in _STARTS and not _continues(parser, i) else None
        if left is None:
            i += 1
            continue
        start, start_index = tokens[i].start, i
        i = left[1]
        head = _is_label(parser, start_index, left)
        while (at := _relation(parser, left[1])) is not None:
            parser.limit = len(tokens)
            first = at + 1 + (parser.kind(at + 1) == "newline")
            right = parser.parse(first)
            if right is None or _is_algebra(parser, right[1]):
                i = at + 1
                break
            end, modulus = _modulus(parser, right[1]) if tokens[at].kind == "equiv" else (right[1], None)
            link = _verify(left[0], right[0], tokens[at].kind, modulus)
            if link is not None and not head:
                ok, values = link
                yield _Link(left[0], right[0], start, tokens[at].end, tokens[end - 1].end, ok, values)
            start, left, i, head = tokens[first].start, (right[0], end), end, False


def _is_label(parser: Parser, i: int, left: tuple[Node, int]) -> bool:
    """Whether a lone number before the first `=` belongs to a phrase (`5 friends = 250/5`)."""
    if not _is_literal(left[0]):
        return False
    has_unit = parser.tokens[left[1] - 1].kind == "word"
    return has_unit or (i > 0 and parser.tokens[i - 1].kind in ("word", "number"))


def _is_algebra(parser: Parser, i: int) -> bool:
    """Whether an expression that ends before token `i` goes on with a variable: `(5/4)x`, `15 + y`."""
    parser.limit = len(parser.tokens)
    if parser.kind(i) == "word" and parser.tokens[i].glued and parser.tokens[i - 1].kind == "close":
        return not parser.tokens[i].text.startswith("\\")
    if parser.kind(i) not in _DANGLING or parser.kind(i + 1) not in ("word", "number"):
        return False
    return parser.kind(i + 1) == "number" or len(parser.tokens[i + 1].text) == 1


def _continues(parser: Parser, i: int) -> bool:
    """Whether what stands before token `i` makes it the tail of something that is not arithmetic."""
    if i == 0:
        return False
    before, token = parser.tokens[i - 1], parser.tokens[i]
    if before.kind in _DANGLING or before.text == "_":
        return True
    if before.text == ":" and token.glued and i > 1 and parser.tokens[i - 2].kind == "number":
        return True  # 7:50 + 30 minutes
    if token.kind == "minus":  # `x - 5`; but `is -5 + 8` and `= -5`
        return before.kind in ("word", "number", "close", "percent") and not (
            before.kind == "word"
            and not token.glued
            and i + 1 < len(parser.tokens)
            and parser.tokens[i + 1].glued
        )
    return before.kind in ("word", "call", "other") and token.glued and before.text[-1] not in ":;.\"'`~"


def _relation(parser: Parser, i: int) -> int | None:
    """The index of the relation sign at `i`, perhaps on the next line."""
    parser.limit = len(parser.tokens)
    if parser.kind(i) == "newline" and parser.kind(i + 1) in _RELATIONS:
        i += 1
    return i if parser.kind(i) in _RELATIONS else None


def _modulus(parser: Parser, i: int) -> tuple[int, Node | None]:
    r"""`\pmod{7}`, `(mod 7)` or `mod 7` at `i`: the index after it and the modulus."""
    parser.limit = len(parser.tokens)
    j = i + (parser.kind(i) == "open")
    if parser.kind(j) != "mod":
        return i, None
    parsed = parser.parse(j + 1)
    if parsed is None:
        return i, None
    return parsed[1] + (j > i and parser.kind(parsed[1]) == "close"), parsed[0]


def _verify(
    lhs: Node, rhs: Node, relation: str, modulus: Node | None
) -> tuple[bool, tuple[Fraction | None, Fraction | None]] | None:
    """Whether the statement holds, with both values; None if it is no step or cannot be checked."""
    if modulus is None and (relation == "equiv" or (_is_literal(lhs) and _is_literal(rhs))):
        return None
    try:
        lefts = [evaluate(lhs, percent=reading) for reading in (True, False)]
        rights = [evaluate(rhs, percent=reading) for reading in (True, False)]
        if modulus is not None:
            m, a, b = evaluate(modulus), lefts[0], rights[0]
            return m is not None and a is not None and b is not None and m > 0 and (a - b) % m == 0, (a, b)
        running = [] if _is_literal(rhs) else [evaluate(_first_operand(rhs))]
    except TooBig:
        return None
    literal = rhs if _is_literal(rhs) else _first_operand(rhs)
    places = _places(literal)
    ok = any(
        a is not None and b is not None and _same(a, b, places, approximate=relation == "approx")
        for a in lefts
        for b in rights + running
    )
    return ok, (lefts[0], rights[0])


def _same(a: Fraction, b: Fraction, places: int, *, approximate: bool) -> bool:
    """Equal, or `b` is `a` rounded (half up) or cut at its last decimal place; ≈ allows integers that too."""
    if a == b:
        return True
    if places == 0 and not approximate:
        return False
    scaled, written = abs(a) * 10**places, abs(b) * 10**places
    return (a < 0) == (b < 0) and written in (int(scaled), int(scaled + Fraction(1, 2)))


def _is_literal(node: Node) -> bool:
    return node.op == "num" or (
        node.op in ("neg", "percent", "group", "scaled") and _is_literal(node.args[0])
    )


def _places(node: Node) -> int:
    """Decimal places that a literal shows; two more for a percentage, which is divided by 100."""
    if node.op == "num":
        return node.decimals
    inner = _places(node.args[0]) if _is_literal(node) else 0
    return inner + 2 if node.op == "percent" and inner else inner


def _first_operand(node: Node) -> Node:
    while node.op in ("plus", "minus", "times", "over"):
        node = node.args[0]
    return node


def _literals(node: Node) -> Iterator[Fraction]:
    if node.op == "num":
        yield node.value
    for arg in node.args:
        yield from _literals(arg)


def _is_known(x: Fraction, known: set[Fraction]) -> bool:
    return x in known or x * 100 in known or x / 100 in known or (0 < x < 1 and 1 / x in known)
