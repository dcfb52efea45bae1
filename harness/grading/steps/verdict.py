"""Decide whether a statement is true, in any way that percent signs, rounding and remainders may be meant."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache

from harness.grading.compare.expressions import Node
from harness.grading.steps.formulas import NUMBER, evaluate, parsed, value
from harness.grading.steps.tokens import Token

# A number alone, perhaps signed, bracketed or with a percent sign: its digits, if it is written in decimals.
LITERAL = re.compile(rf"[-({{\[ ]*(?:({NUMBER})|\{{\d+\+\d+/\d+\}}) ?(%|[a-z]+)?[)}}\] ]*(%)?")
_FIRST = re.compile(rf"(-?{NUMBER}) ?(%)?(?= ?[-+*/])")
_RATE = re.compile(rf"%\)? ?[*/]|[*/] ?\(?{NUMBER} ?%")  # a factor or part of a quotient
_SLIP = re.compile(rf"(?<![\d.])(?!100 ?%){NUMBER} ?%\)? ?\*|\* ?\(?(?!100 ?%){NUMBER} ?%")  # `40 * 2%`
_TAKEN = re.compile(rf"([^%]+?) ?([-+]) ?({NUMBER} ?%)")
_MODULUS = re.compile(r"(.+?)\(? ?\\p?mod (.+?)\)?")
_REMAINDER = re.compile(
    r"[\s,$]*(?:\\text\s*\{\s*)?(?:with\s+)?(?:an?\s+)?(?:[Rr]emainder|[Rr]em\.|[Rr](?=[\s}]*\d))(?:\s+(?:of|is))?"
    r"[\s}$=]*(\d{1,18})(?![\w.])"
)

Verdict = tuple[bool, Fraction]  # whether it holds, and the value of the right side


def judge(lhs: str, rhs: str, sign: Token, text: str, end: int) -> Verdict | None:
    """Whether the statement of two formulas, which ends at `text[end]`, holds; None if it is no step.

    Raises Unreadable or Undecided if it cannot be checked, ArithmeticError if a side has no value.
    """
    if sign.kind == "equiv":
        return _congruence(lhs, rhs)
    found = _equation(lhs, rhs, sign.kind, sign.text)
    if found is None:
        return None
    ok, tree, right = found
    return ok or _leaves_remainder(tree, right, text, end), right


@lru_cache(maxsize=2**15)  # samples of one problem write the same statements
def _equation(lhs: str, rhs: str, kind: str, sign: str) -> tuple[bool, Node, Fraction] | None:
    """Whether it holds, remainders apart, with the left side's tree and the right side's value."""
    rhs = rhs.partition("\\pmod")[0].strip()
    if LITERAL.fullmatch(lhs) and LITERAL.fullmatch(rhs):
        return None
    tree, other = parsed(lhs), parsed(rhs)
    result, right = value(tree), value(other)
    # Words give a part its size, which is no arithmetic: `2/5 is equal to 12 hectares`.
    words = sign not in ("=", "==", "≈") and tree[0] == "over" and tree[1][0] == tree[2][0] == "num"
    if words and result < 1 < right:
        return None
    return result == right or _may_hold(lhs, tree, rhs, right, approximate=kind == "approx"), tree, right


def _congruence(lhs: str, rhs: str) -> Verdict | None:
    """a ≡ b; a fraction stands for its inverse: 33^{-1} ≡ 77 (mod 508)."""
    parts = _MODULUS.fullmatch(rhs)
    if parts is None:
        return None
    a, b, modulus = evaluate(lhs), evaluate(parts[1]), evaluate(parts[2])
    coprime = all(math.gcd(x.denominator, modulus.numerator) == 1 for x in (a, b))
    difference = (a - b).numerator if modulus.denominator == 1 else a - b
    return modulus > 0 and coprime and difference % modulus == 0, b


def _may_hold(lhs: str, tree: Node, rhs: str, right: Fraction, *, approximate: bool) -> bool:
    """Whether it holds rounded, in running notation, or with another meaning of its percent signs."""
    unscaled = evaluate(rhs, scaled=False)
    rights = [right]
    # `140/100 = 1.4%` is false: who divides by a hundred has no per cent left.
    if tree[0] != "over" or tree[2] != ("num", 100):
        rights.append(unscaled)
    shown = LITERAL.fullmatch(rhs)
    if shown is None and (shown := _FIRST.match(rhs)):
        rights.append(evaluate(shown[0]))
    decimals = len(shown[1].partition(".")[2]) if shown and shown[1] else 0
    decimals += 2 if decimals and shown and "%" in shown[0] else 0
    lefts = [value(tree), *_readings(lhs, unscaled)]
    return any(_same(a, b, decimals, approximate=approximate) for a in lefts for b in rights)


def _readings(lhs: str, result: Fraction) -> Iterator[Fraction]:
    """What else a left side with percent signs may be.

    `60% / 3 = 20` counts per cents, `1/5 * 100% = 20` makes them; `40 * 2% = 80` is a slip.
    `50 - 20%` is 40 as a calculator reads it.
    """
    if not _SLIP.search(lhs) and (abs(result) <= 100 or not _RATE.search(lhs)):
        yield evaluate(lhs, scaled=False)
    if taken := _TAKEN.fullmatch(lhs):
        yield evaluate(f"({taken[1]}) {taken[2]} ({taken[1]}) * {taken[3]}")


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


def _leaves_remainder(tree: Node, quotient: Fraction, text: str, end: int) -> bool:
    """Whether a division has the remainder that stands after it: `17 / 5 = 3 R2`."""
    after = _REMAINDER.match(text, end)
    if after is None or tree[0] != "over":
        return False
    dividend, divisor = map(value, tree[1:])
    return int(after[1]) < divisor and dividend == quotient * divisor + int(after[1])
