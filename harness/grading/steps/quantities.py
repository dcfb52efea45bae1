"""Numbers in running text: their values, all that a text mentions, and sums of different units in one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import zip_longest
from unicodedata import numeric

from harness.grading.lexicon import CARDINALS, COINS, COUNTS, PARTS, SCALES, UNITS
from harness.grading.steps.tokens import MAX_DIGITS, Token, tokenize


def number_of(text: str) -> tuple[Fraction, int]:
    """The value of a number's token (`1,250.5`, `1e3`, `2½`) and its decimal places."""
    if text.isdecimal():
        return Fraction(int(text)), 0
    if not text[-1].isdecimal():
        return Fraction(text[:-1] or 0) + Fraction(numeric(text[-1])).limit_denominator(10), 0
    digits, _, exponent = text.lower().partition("e")
    digits = re.sub(r"[^\d.]", "", digits)
    places = max(0, len(digits.partition(".")[2]) - int(exponent or 0))
    return Fraction(digits) * Fraction(10) ** int(exponent or 0), places


# Words that say a number of a problem; smaller parts than a fifth and scales from a thousand are left out.
_NUMBER_WORDS = (
    {word: Fraction(value) for word, value in (CARDINALS | COUNTS).items()}
    | {"hundred": Fraction(SCALES["hundred"])}
    | {word: Fraction(1, PARTS[word]) for word in ("half", "third", "quarter", "fourth", "fifth")}
)


@lru_cache(maxsize=4096)
def numbers_in(problem: str) -> frozenset[Fraction]:
    """Numbers that occur in the problem, in digits or in words, with twenty-five and a/b."""
    literals = [token.text for token in tokenize(problem) if token.kind == "number"]
    values = {number_of(text)[0] for text in literals if len(text) <= MAX_DIGITS}
    for top, bottom in re.findall(r"(\d{1,9})\s*/\s*(\d{1,9})", problem):
        if int(bottom):
            values.add(Fraction(int(top), int(bottom)))
    words = re.findall(r"[a-z]+", problem.lower())
    for word, following in zip_longest(words, words[1:], fillvalue=""):
        value = _NUMBER_WORDS.get(word.removesuffix("s") if word not in _NUMBER_WORDS else word)
        if value is not None:
            values.add(value)
            unit = _NUMBER_WORDS.get(following)
            if unit is not None and value >= 20 and 0 < unit < 10:
                values.add(value + unit)
    return frozenset(values)


def _family(names: str) -> dict[str, Fraction]:
    """Sizes of units, the first one's being 1."""
    smallest, *_ = units = names.split()
    return {name: UNITS[name].size / UNITS[smallest].size for name in units}


# Units that one sum may mix, with their sizes. Fewer than the grader knows, on purpose: neither `s` and `h`,
# which are variables more often, nor inches beside centimetres, which no derivation adds.
_FAMILIES: tuple[dict[str, Fraction], ...] = (
    _family("second sec minute min hour hr day week"),
    _family("cent ¢ penny pennie dollar $") | {name: Fraction(value) for name, value in COINS.items()},
    _family("mm millimeter cm centimeter m meter km kilometer"),
    _family("inch inche foot feet ft yard"),
    _family("g gram kg kilogram"),
    _family("ml milliliter l liter"),
    _family("ounce oz pound lb"),
    _family("cup pint quart gallon"),
    _family("month year"),
)


def in_one_unit(text: str, tokens: Sequence[Token]) -> Iterator[list[Token]]:
    """The tokens of a statement with its numbers in one unit; nothing unless one family has its two or more.

    A last number without a unit may have any of the statement's units.
    """
    units = [_unit(text, tokens, i) for i in range(len(tokens))]
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
    """The unit of a number: the word after it, or the dollar before it."""
    if tokens[i].kind != "number":
        return None
    if text[max(0, tokens[i].start - 9) : tokens[i].start].rstrip()[-1:] == "$":
        return "$"
    if i + 1 < len(tokens) and tokens[i + 1].kind == "word":
        word = tokens[i + 1].text.lower()
        stem = word.removesuffix("s") if len(word) > 2 else word
        return stem if any(stem in family for family in _FAMILIES) else None
    return None


def _scaled(token: Token, factor: Fraction) -> Token:
    if token.kind != "number" or factor == 1:
        return token
    value = number_of(token.text)[0] * factor
    return token._replace(text=str(int(value)) if value.denominator == 1 else str(float(value)))
