"""Sums of different units, brought to one: `2 hours + 90 minutes = 210 minutes` is true."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.grading.steps.numbers import number_of
from harness.grading.steps.tokens import Token

# Sizes within a family, in its smallest unit.
_FAMILIES: tuple[dict[str, int], ...] = (
    {"second": 1, "sec": 1, "minute": 60, "min": 60, "hour": 3600, "hr": 3600, "day": 86400, "week": 604800},
    {
        "cent": 1,
        "¢": 1,
        "penny": 1,
        "pennie": 1,
        "nickel": 5,
        "dime": 10,
        "quarter": 25,
        "dollar": 100,
        "$": 100,
    },
    {"mm": 1, "millimeter": 1, "cm": 10, "centimeter": 10, "m": 1000, "meter": 1000, "km": 10**6}
    | {"kilometer": 10**6},
    {"inch": 1, "inche": 1, "foot": 12, "feet": 12, "ft": 12, "yard": 36},
    {"g": 1, "gram": 1, "kg": 1000, "kilogram": 1000},
    {"ml": 1, "milliliter": 1, "l": 1000, "liter": 1000},
    {"ounce": 1, "oz": 1, "pound": 16, "lb": 16},
    {"cup": 1, "pint": 2, "quart": 4, "gallon": 16},
    {"month": 1, "year": 12},
)


def in_one_unit(text: str, tokens: Sequence[Token]) -> Iterator[list[Token]]:
    """The tokens of a statement with its numbers in one unit; nothing where its units are alike or strange.

    A last number without a unit may have any of the statement's units.
    """
    units = [_unit(text, tokens, i) for i in range(len(tokens))]
    named = {unit for unit in units if unit}
    family = next((f for f in _FAMILIES if named <= f.keys()), None)
    if family is None or len({family[unit] for unit in named}) < 2:
        return
    numbers = [i for i, token in enumerate(tokens) if token.kind == "number"]
    open_ended = units[numbers[-1]] is None
    for guess in sorted(named) if open_ended else [None]:
        units[numbers[-1]] = guess or units[numbers[-1]]
        yield [_scaled(token, family.get(unit or "", 1)) for token, unit in zip(tokens, units, strict=True)]


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


def _scaled(token: Token, factor: int) -> Token:
    if token.kind != "number" or factor == 1:
        return token
    value = number_of(token.text)[0] * factor
    return token._replace(text=str(int(value)) if value.denominator == 1 else str(float(value)))
