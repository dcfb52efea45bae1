"""The last number of a text, unless it is a part of something else: `2^25`, `less than 25`."""

from __future__ import annotations

import re

from harness.grading.compare.forms import MAX_ANSWER_CHARS, normalise
from harness.grading.compare.measures import UNIT_AFTER
from harness.grading.compare.quantities import parse_number
from harness.grading.compare.symbolic import rational
from harness.grading.find.statements import FINAL_NUMBER, NUMBER
from harness.grading.lexicon import LARGE_SCALE

# A last number that is part of something: `2^25`, `x_{25}`, `sqrt(25)`, `1,25`, `12:25`, `less than 25`.
_PART_BEFORE = re.compile(
    r"(?:[\^_/]|sqrt)\{?\Z|[A-Za-z]\(?\Z|\d[,: ]\Z|\d, \Z"
    r"|(?:[<≤≥≠±]|!=|[<>]=|(?<=\s)>|(?<![=-])>(?=\s)|(?<!<)\b[nxyz]>)\s*\$?\Z"
    r"|\\(?:neq?|geq?|leq?|[gl]t|pm|ln|log|sin|cos|tan)\s*\$?\Z"
    r"|\d\$?\s*(?:[–—]|\bto\b)\s*\$?\Z|\d[b-hj-z]\s*=\s*\$?\Z"
    r"|[√∛∜]\s*\(?\Z|(?:\d\w*\)?\s*\(?(?:in\s+)?(?:base|choose)|log base)\s+\Z|\}\s*\{\Z|mod\s*\{\s*\Z"
    r"|\d\s+(?:[a-z]+\s+)?(?:and|of|plus|times|(?:divided|multiplied) by)\s+\$?\Z"
    r"|\d,?\s+or\s+\$?[a-z]\s*=\s*\Z|\b(?:than|least|most|sqrt|between|not|nor|mod|modulo|twice|out of"
    r"|below|above|under|beyond|exceeds?|half|double|divisible by|minus|negative|up to"
    r"|log|ln|sin|cos|tan|(?:root|square|cube|multiple|half|third|quarter|power) of)\s+\$?\Z"
    r"|(?<!\bon )\b(?:page|figure|table|theorem|lemma|equation|chapter|section|problem|question|exercise"
    r"|example|step|line|item|version|footnote|appendix|(?:p|eq|fig)\.)\s*\(?\Z|\bsee \[\Z",
    re.IGNORECASE,
)
_PART_AFTER = re.compile(
    rf"\s*(?:hundred|thousand|{LARGE_SCALE}|dozen|k\b|squared|cubed|factorial|doubled|halved"
    r"|(?:or|and) (?:more|less|fewer|a half)\b|\$?(?:\\(?:pi|sqrt)\b|[π√]))"
    r"|!(?=\s+[a-z])|\^(?!\{?\\circ)|(?:st|nd|rd|th|i)\b|[²³½¼¾⅓⅔₀-₉]",
    re.IGNORECASE,
)
_WHOLE_BEFORE = re.compile(r"(?:\A|[\s$(])(\d{1,9}\s+(?:and\s+)?)\Z")  # `3 1/2`, `3 and 1/2`
_SCALE_AFTER = re.compile(rf"\s(?:thousand|{LARGE_SCALE})\b(?!\s+(?:or|and)\b)")
# An operand of an expression that goes on: `x + 25`, `20 - 25`, `3 \cdot 25`, `25 + x`, `25x`; or `24 or 25`.
_TIMES = r"[+×·⋅÷/]|\\(?:times|cdot|div|pm)(?![A-Za-z])"
_OPERAND_BEFORE = re.compile(
    rf"(?:[\w)\]}}%]\s*(?:{_TIMES}|(?<!\s)\*|\*(?=\s)|(?<=\d)\s[xX]\s)|(?:%|percent)\s+of\b|\d\$?\s+or\b)\s*\$?(?:\\[dt]?frac\{{)?\Z"
    r"|[\d)]\(\Z"
)
_SUBTRACTED = re.compile(r"(?:(?<![A-Za-z])[A-Za-z]|[\d)\]}%])\s*(?:[-−]\s*\$?)?\Z")
_OPERAND_AFTER = re.compile(
    rf"\s*(?:(?:{_TIMES}|[-−]|(?<=\s)\*|\*(?!\s))\s*)(?:[b-hj-zB-HJ-Z](?![\w'.])|\\[a-z]+|\()|[nxyz](?![\w'])"
)


def final_number(text: str) -> tuple[str | None, str, int]:
    """The last number of the text, its unit and its place; None for one that is part of something else."""
    span = _last_number(text)
    if span is None:
        return None, "", 0
    start, end = span
    number, before = text[start:end], text[max(0, start - 30) : start]
    if "/" in number and number[0].isdigit() and (whole := _WHOLE_BEFORE.search(before)):
        start -= len(whole[1])
        number, before = text[start:end], before[: whole.start(1)]
    if scale := _SCALE_AFTER.match(text, end):
        number, end = number + scale[0], scale.end()
    if _PART_BEFORE.search(before) or _PART_AFTER.match(text, end) or _is_operand(before, number, text, end):
        return None, "", 0
    after = UNIT_AFTER.match(text, end)
    if not after and _is_false(text, start, number):
        return None, "", 0
    return number, after[0] if after else "", start


def _last_number(text: str) -> tuple[int, int] | None:
    """The span of the last number; it is looked for from its last digit backwards."""
    end = len(text)
    while end > 0 and not text[end - 1].isdigit():
        end -= 1
    end = min(len(text), end + 1)  # a brace closes a fraction
    for start in (max(0, end - 60), max(0, end - 4 * MAX_ANSWER_CHARS)):
        matches = list(FINAL_NUMBER.finditer(text[start:end]))
        if matches and (start == 0 or matches[-1].start() > 0):
            break
    return (start + matches[-1].start(), start + matches[-1].end()) if matches else None


def _is_operand(before: str, number: str, text: str, end: int) -> bool:
    """Whether a number is an operand of an expression that goes on before or after it."""
    if number[0] in "-−" or before.rstrip(" $")[-1:] in ("-", "−"):
        return _SUBTRACTED.search(before) is not None
    return _OPERAND_BEFORE.search(before) is not None or _OPERAND_AFTER.match(text, end) is not None


# An equation of numbers before a last number, from the start of a clause on: `so 20 + 4 =`, `= 5 * 4 =`.
_SUM = re.compile(
    r"(?:\A|=|(?<![-+*/×=\s])\n|(?<![\d\s])[.:;,]\s|\b(?i:so|thus|hence|therefore|then|have|gives|that)\s)[\s$*(]*?"
    r"([\d.]+(?:\s*(?:[-+*/×−x]|\\times|\\cdot)\s*\$?[\d.]+)*)\)?\s*(?:={1,2}|equals)\s*[$*]*\Z"
)


def _is_false(text: str, at: int, number: str) -> bool:
    """Whether the number at `at` ends an equation that is false, and not just rounded: `20 + 4 = 25`."""
    said, value = _SUM.search(text, max(0, at - 80), at), parse_number(normalise(number))
    left = rational(normalise(said[1].replace("x", r"\times "))) if said else None
    return left is not None and value is not None and abs(left - value) >= 1


_NOTHING_BUT_A_NUMBER = re.compile(rf"[\s$*]*{NUMBER}[\s$*.]*")
# A last number that a sentence gives as what it comes to: `Thus 25.`, `The value of n is **25**`.
_CONCLUDES = re.compile(
    r"(?:=|≈|\b(?:is|are|was|be|equals?|gives?|gets?|got|have|has|makes?|obtain|yields?|need|finds?|total"
    r"|thus|so|hence|therefore)(?: (?:exactly|just|only|then|simply|now|a total of|equal to|to be))?"
    r"|there (?:are|is|were))[\s$*:,\\(\[]{0,6}\Z",
    re.IGNORECASE,
)


def is_concluded(text: str, at: int) -> bool:
    """Whether a sentence gives the number at `at` as what it comes to, or the text says nothing else."""
    return bool(
        (len(text) < 60 and _NOTHING_BUT_A_NUMBER.fullmatch(text))
        or _CONCLUDES.search(text[max(0, at - 40) : at])
        or text[max(0, at - 2) : at] in ("**", "$$")
        or (re.search(r"[a-z]: \$?\Z", text[max(0, at - 5) : at]) and len(text) - at < 40)
    )
