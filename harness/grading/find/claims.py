"""What stands before a number in running text: the equation that gives it, or the page that it numbers."""

from __future__ import annotations

import re

from harness.grading.compare.quantities import parse_number
from harness.grading.steps.arithmetic import value_of

# A side that follows another, or starts a sentence or a clause: not `50% of 50 =`, `f(5) =`, `week 2 =`.
_CLAIM = re.compile(
    r"(?:\A|[=≈]|(?<![-+*/×·÷=\s])\n|(?<![\d\s])[;!?.:,]\s"
    r"|\b(?i:so|thus|hence|therefore|then|gets?|have|gives|obtain|that)\s)[\s$*(\\\[]*?"
    r"(\(?[\d.](?:[\d.,()\s$^{}+*/×·÷−x-]|\\times|\\cdot|\\div)*)"
    r"(?:={1,2}|\\approx|≈|equals)\s*[$*]*\Z"
)
_OTHER_NUMBER = re.compile(r"\s*(?:\\?%|per ?cent|¢|c\b|\\text\b|\\mbox\b|cents?\b)")
_LEADING_ZERO = re.compile(r"(?<![\d.,])0\d")
MAX_CLAIM_CHARS = 80


def is_false(text: str, at: int, number: str) -> bool:
    """Whether the number at `at` ends an equation without words that is false: `24 = 25`.

    A quotient or a decimal may have been rounded or cut to an integer. Nothing is said of cents and per cent
    (`0.8 = 80 cents`), of another base and of digits that start with 0 (`0900 - 0130 = 0730`).
    """
    before = text[max(0, at - MAX_CLAIM_CHARS) : at]
    if before.rstrip(" $*")[-1:] not in ("=", "≈", "x", "s"):
        return False
    if _OTHER_NUMBER.match(text, at + len(number)) or "base" in text[max(0, at - 200) : at + 40]:
        return False
    claim = _CLAIM.search(before)
    value = parse_number(number.replace("−", "-").replace("$", "").replace(" ", ""))
    if claim is None or value is None or (at > MAX_CLAIM_CHARS and claim.start() == claim.start(1)):
        return False  # the last of these: the side may start further left
    if _LEADING_ZERO.search(claim[1]):
        return False
    left = value_of(claim[1].replace("$", "").replace("−", "-").replace("x", r"\times "))
    return left not in (None, value) and (left.denominator == 1 or abs(left - value) >= 1)


_POINTS = (
    r"(?:see|cf\.?|refer\w* to|as|shown|turn to|check|consult|from|by|in|using|use)\s+"
    r"(?:(?:also|on|in|the)\s+){0,2}"
)
_PLACE = (
    r"(?:pages?|chapters?|sections?|problems?|questions?|exercises?|examples?|steps?|lines?|items?|volumes?|tables?"
    r"|figures?|versions?|paragraphs?|parts?|rules?|notes?)"
)
_COUNTED = re.compile(
    r"(?:\b(?:pp?\.|figs?\.|eqs?\.|sec\.|vol\.|(?:theorem|lemma|corollary|proposition|equation|footnote|appendix"
    r"|definition|axiom)s?)"
    rf"|(?:\A\W*|[.\n:;]\s+\W*|\b{_POINTS}){_PLACE})\s*(?:\d+\s*(?:and|to|[-–,])\s*)?[(\[#]?\Z"
    r"|\b(?:see|cf\.?)\s+\[\Z",
    re.IGNORECASE,
)


def is_place(before: str) -> bool:
    """Whether a number after `before` says where something stands: `see page`, `by Theorem`, `Step`."""
    return _COUNTED.search(before) is not None
