"""Sums of different units, brought to one: `2 hours + 90 minutes = 210 minutes` is true."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

from harness.grading.lexicon import COINS, UNITS
from harness.grading.steps.numbers import number_of
from harness.grading.steps.tokens import Token


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


def _stem(word: str) -> str:
    return word.removesuffix("s") if len(word) > 2 else word


def _unit(text: str, tokens: Sequence[Token], i: int) -> str | None:
    """The unit of a number: the word after it, or the dollar before it."""
    if tokens[i].kind != "number":
        return None
    if text[: tokens[i].start].rstrip()[-1:] == "$":
        return "$"
    if i + 1 < len(tokens) and tokens[i + 1].kind == "word":
        stem = _stem(tokens[i + 1].text.lower())
        return stem if any(stem in family for family in _FAMILIES) else None
    return None


def _scaled(token: Token, factor: Fraction) -> Token:
    if token.kind != "number" or factor == 1:
        return token
    value = number_of(token.text)[0] * factor
    return token._replace(text=str(int(value)) if value.denominator == 1 else str(float(value)))
