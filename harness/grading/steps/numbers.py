"""Values of numbers in running text, and all those that a text mentions."""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from unicodedata import numeric

from harness.grading.lexicon import CARDINALS, COUNTS, PARTS, SCALES
from harness.grading.steps.tokens import Token, tokenize

MAX_DIGITS = 60  # of a number
# Words that say a number of a problem; smaller parts than a fifth and scales from a thousand are left out.
_NUMBER_WORDS = {word: Fraction(value) for word, value in (CARDINALS | COUNTS).items()}
_NUMBER_WORDS |= {word: Fraction(1, PARTS[word]) for word in ("half", "third", "quarter", "fourth", "fifth")}
_NUMBER_WORDS["hundred"] = Fraction(SCALES["hundred"])


def written(text: str) -> str:
    """A number's token (`1,250.5`, `1e3`) in plain digits, or as a sum: `2½` is `2+1/2`."""
    if text.isascii() and text.isdecimal():
        return text
    if not text[-1].isdecimal():
        return f"{text[:-1].strip() or 0}+{Fraction(numeric(text[-1])).limit_denominator(10)}"
    digits = re.sub(r"[^\d.eE-]", "", text)
    return f"{Decimal(digits):f}"


def values(tokens: Iterable[Token]) -> list[Fraction]:
    """The values of the numbers among tokens."""
    numbers = [token.text for token in tokens if token.kind == "number" and len(token.text) <= MAX_DIGITS]
    return [sum(map(Fraction, written(number).split("+")), Fraction()) for number in numbers]


@lru_cache(maxsize=4096)
def numbers_in(problem: str) -> frozenset[Fraction]:
    """Numbers that occur in the problem, in digits or in words, with twenty-five and a/b."""
    found = set(values(tokenize(problem)))
    for top, bottom in re.findall(r"(\d{1,9})\s*/\s*(\d{1,9})", problem):
        if int(bottom):
            found.add(Fraction(int(top), int(bottom)))
    said = [_NUMBER_WORDS.get(word.removesuffix("s")) for word in re.findall(r"[a-z]+", problem.lower())]
    found.update(value for value in said if value is not None)
    found.update(ten + unit for ten, unit in pairwise(said) if ten and unit and ten >= 20 and unit < 10)
    return frozenset(found)
