"""Numbers that a word problem's solution may use although no digits of the text say them: 7 for a week."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

from harness.grading.lexicon import CARDINALS, SCALES

_NUMBER_WORDS = {word: value for word, value in CARDINALS.items() if value} | {"hundred": SCALES["hundred"]}

# What a word (by its beginning) brings with it. Not the lexicon's units: `day` brings 24 hours and the 7 of a
# week, as any number that might be meant keeps the perturbation from changing it.
_IMPLIED: dict[str, tuple[str, ...]] = {
    "half": ("2", "1/2"),
    "halv": ("2", "1/2"),
    "twice": ("2",),
    "doubl": ("2",),
    "both": ("2",),
    "pair": ("2",),
    "couple": ("2",),
    "twin": ("2",),
    "thrice": ("3",),
    "tripl": ("3",),
    "third": ("3", "1/3", "2/3"),
    "quarter": ("4", "1/4", "3/4", "25"),
    "fourth": ("4", "1/4"),
    "fifth": ("5", "1/5"),
    "sixth": ("6",),
    "seventh": ("7",),
    "eighth": ("8",),
    "ninth": ("9",),
    "tenth": ("10",),
    "quadrupl": ("4",),
    "dozen": ("12",),
    "decade": ("10",),
    "century": ("100",),
    "score": ("20",),
    "day": ("24", "7"),
    "daily": ("24", "7"),
    "weekday": ("5",),
    "weekend": ("2",),
    "week": ("7", "4", "52", "5"),
    "month": ("12", "30", "31", "4"),
    "year": ("12", "52", "365", "10"),
    "annual": ("12", "52", "365"),
    "hour": ("60", "24"),
    "minute": ("60",),
    "second": ("60",),
    "percent": ("100",),
    "cent": ("100",),
    "dollar": ("100",),
    "penn": ("1/100", "100"),
    "nickel": ("5", "1/20"),
    "dime": ("10", "1/10"),
    "foot": ("12", "3"),
    "feet": ("12", "3"),
    "inch": ("12",),
    "yard": ("3", "36"),
    "mile": ("5280",),
    "meter": ("100", "1000"),
    "centimeter": ("100",),
    "kilomet": ("1000",),
    "gram": ("1000",),
    "kilogram": ("1000",),
    "liter": ("1000",),
    "ton": ("2000", "1000"),
    "ounce": ("16", "8"),
    "pound": ("16",),
    "cup": ("16", "4", "2", "8"),
    "pint": ("2", "8"),
    "quart": ("4", "2"),
    "gallon": ("4", "16", "128"),
    "square": ("4", "2"),
    "rectang": ("2", "4"),
    "perimeter": ("2", "4"),
    "triang": ("3",),
    "average": ("2", "3", "4", "5"),
    "leg": ("2", "4"),
    "wheel": ("2", "4"),
    "shoe": ("2",),
    "sock": ("2",),
    "parent": ("2",),
    "round": ("2",),
    "back": ("2",),
}
_WORD = re.compile(r"[a-z]+")
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*(?:%|percent)")
_FRACTION = re.compile(r"(\d+)\s*/\s*(\d+)")
_DECIMAL = re.compile(r"\d*\.\d+")


def implied(text: str) -> set[Fraction]:
    """Constants that the words of a text may bring with them; 1 always."""
    found = {Fraction(1)}.union(*map(_implied_by, set(_WORD.findall(text.lower()))))
    return found | {Fraction(100)} if "$" in text or "%" in text else found


@lru_cache(maxsize=65536)
def _implied_by(word: str) -> frozenset[Fraction]:
    found = {Fraction(v) for start, values in _IMPLIED.items() if word.startswith(start) for v in values}
    if word in _NUMBER_WORDS:
        found.add(Fraction(_NUMBER_WORDS[word]))
    return frozenset(found)


def written(text: str) -> set[Fraction]:
    """Values of the text's percentages (also as shares, and what they leave), fractions and decimals."""
    found: set[Fraction] = set()
    for match in _PERCENT.finditer(text):
        p = Fraction(match[1])
        found |= {p, p / 100, 100 - p, 100 + p, 1 - p / 100, 1 + p / 100, Fraction(100)}
    for match in _FRACTION.finditer(text):
        if a_b := int(match[2]):
            a = Fraction(int(match[1]))
            found |= {a, Fraction(a_b), a / a_b, 1 - a / a_b, a_b - a}
    found |= {Fraction(match[0]) for match in _DECIMAL.finditer(text)}
    return found
