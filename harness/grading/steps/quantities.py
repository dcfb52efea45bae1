"""Numbers in running text: their values, all that a text mentions, and sums of different units in one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from unicodedata import numeric

from harness.grading.lexicon import CARDINALS, COINS, COUNTS, PARTS, SCALES, UNITS
from harness.grading.steps.tokens import MAX_DIGITS, Token, tokenize

# Words that say a number of a problem; smaller parts than a fifth and scales from a thousand are left out.
_NUMBER_WORDS = {word: Fraction(value) for word, value in (CARDINALS | COUNTS).items()}
_NUMBER_WORDS |= {word: Fraction(1, PARTS[word]) for word in ("half", "third", "quarter", "fourth", "fifth")}
_NUMBER_WORDS["hundred"] = Fraction(SCALES["hundred"])
# Units that one sum may mix, the smallest first. Fewer than the grader knows, on purpose: neither `s` and
# `h`, which are variables more often, nor inches beside centimetres, which no derivation adds.
_NAMES = """second sec minute min hour hr day week, cent ¢ penny pennie dollar $,
    mm millimeter cm centimeter m meter km kilometer, inch inche foot feet ft yard, g gram kg kilogram,
    ml milliliter l liter, ounce oz pound lb, cup pint quart gallon, month year"""
_FAMILIES = [
    {name: UNITS[name].size / UNITS[names[0]].size for name in names}
    for names in map(str.split, _NAMES.split(","))
]
_FAMILIES[1] |= {name: Fraction(value) for name, value in COINS.items()}


def number_of(text: str) -> tuple[Fraction, int]:
    """The value of a number's token (`1,250.5`, `1e3`, `2½`) and its decimal places."""
    if not text[-1].isdecimal():
        return Fraction(text[:-1] or 0) + Fraction(numeric(text[-1])).limit_denominator(10), 0
    digits, _, exponent = re.sub(r"[^\d.e-]", "", text.lower()).partition("e")
    shift = int(exponent or 0)
    return Fraction(digits) * Fraction(10) ** shift, max(0, len(digits.partition(".")[2]) - shift)


@lru_cache(maxsize=4096)
def numbers_in(problem: str) -> frozenset[Fraction]:
    """Numbers that occur in the problem, in digits or in words, with twenty-five and a/b."""
    literals = [token.text for token in tokenize(problem) if token.kind == "number"]
    values = {number_of(text)[0] for text in literals if len(text) <= MAX_DIGITS}
    for top, bottom in re.findall(r"(\d{1,9})\s*/\s*(\d{1,9})", problem):
        if int(bottom):
            values.add(Fraction(int(top), int(bottom)))
    said = [_NUMBER_WORDS.get(word.removesuffix("s")) for word in re.findall(r"[a-z]+", problem.lower())]
    values.update(value for value in said if value is not None)
    values.update(ten + unit for ten, unit in pairwise(said) if ten and unit and ten >= 20 and unit < 10)
    return frozenset(values)


def in_one_unit(text: str, tokens: Sequence[Token]) -> Iterator[list[Token]]:
    """The tokens of a statement with its numbers in one unit; nothing unless one family has its two or more.

    A last number without a unit may have any of the statement's units.
    """
    units = [_unit(text, tokens, i) if token.kind == "number" else None for i, token in enumerate(tokens)]
    named = set(filter(None, units))
    family = next((f for f in _FAMILIES if named <= f.keys()), None)
    if family is None or len(set(map(family.get, named))) < 2:
        return
    last = max(i for i, token in enumerate(tokens) if token.kind == "number")
    for guess in [units[last]] if units[last] else sorted(named):
        units[last] = guess
        sizes = [family.get(unit or "", Fraction(1)) for unit in units]
        yield [_scaled(token, size) for token, size in zip(tokens, sizes, strict=True)]


def _unit(text: str, tokens: Sequence[Token], i: int) -> str | None:
    """The unit of the number at `i`: the word after it, or the dollar before it."""
    if text[max(0, tokens[i].start - 9) : tokens[i].start].rstrip()[-1:] == "$":
        return "$"
    word = tokens[i + 1].text.lower() if tokens[i + 1 : i + 2] else ""
    stem = word.removesuffix("s") if len(word) > 2 else word
    return stem if any(stem in family for family in _FAMILIES) else None


def _scaled(token: Token, factor: Fraction) -> Token:
    if factor == 1:
        return token
    value = number_of(token.text)[0] * factor
    return token._replace(text=str(int(value)) if value.denominator == 1 else str(float(value)))
