"""Numbers in running text: the value of a literal, and all that a text mentions in digits or in words."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from itertools import zip_longest
from unicodedata import numeric

from harness.grading.lexicon import CARDINALS, COUNTS, PARTS, SCALES
from harness.grading.steps.tokens import MAX_DIGITS, tokenize


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
