"""The unit that an answer names, and the per cent sign: 5 kg is not 5 m, and 50% is 1/2.

A unit counts only where both answers name one that stands here; `5 apples` and `5` name none.
"""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction

from harness.grading.compare.quantities import TEXT_COMMAND, WRAPPED, after_number, is_unit
from harness.grading.lexicon import UNITS, Unit

_POWER = r"\s*(?:\^\s*\{{?\s*(?P<{}>\d)\s*\}}?)?"
_UNIT = re.compile(
    rf"\s*°?\s*(?:(?P<shape>sq|cu)[a-z]*\.?\s+)?(?P<name>[A-Za-z]+|(?<=°)|[%¢])\.?{_POWER.format('power')}"
    rf"(?:\s*(?:/|per\b|an?\b)\s*(?P<per>[A-Za-z]+){_POWER.format('powers')})?"
)
_TRAILING = re.compile(rf"({TEXT_COMMAND}\s*\{{[^{{}}]*\}}\s*(?:\^\s*\{{?\s*-?\d\s*\}}?)?)\s*\Z")
_NAMES = "|".join(sorted((re.escape(name) for name in UNITS if len(name) > 2), key=len, reverse=True))
UNIT_AFTER = re.compile(
    rf"\s?\\?%|°|\^(?:\\circ|\{{\\circ\}})|\s(?:(?:square|cubic)\s)?(?:{_NAMES}|[ckm]m|kg)s?(?:\^[23]|[²³])?"
    rf"(?:\s?(?:/|per)\s?(?:{_NAMES}|[hs]))?(?![\w^])"
)


def unit_of(raw: str, normalised: str) -> Unit | None:
    """The unit that an answer names after its value, or that of its currency sign; None for any other."""
    last = normalised.rpartition("=")[2].strip()
    trailing = _TRAILING.search(last)
    term = _UNIT.match(WRAPPED.sub(r" \1 ", trailing[1] if trailing else after_number(last) or ""))
    if term is None:
        sign = "$" if raw.count("$") % 2 else "".join(char for char in raw if char in "€£")
        return UNITS.get(sign)
    unit = _named(term["name"] or "°", {"sq": 2, "cu": 3}.get(term["shape"], int(term["power"] or 1)))
    per = _named(term["per"] or "", int(term["powers"] or 1))
    return replace(unit, per=unit.per or per) if unit else None


def _named(name: str, power: int) -> Unit | None:
    unit = UNITS.get(name.lower()) or UNITS.get(name.lower().removesuffix("s"))
    return unit and replace(unit, size=unit.size**power, power=unit.power * power)


def without_unit(text: str) -> str:
    r"""`2\sqrt{3}` of `2\sqrt{3} \text{ cm}`."""
    trailing = _TRAILING.search(text)
    return text[: trailing.start()].strip() if trailing and is_unit(trailing[0]) else text


_PERCENT = re.compile(r"%|\bper ?cent\b")


def equal_numbers(gold: str, pred: str, a: Fraction, b: Fraction) -> bool:
    """Whether the numbers a of `gold` and b of `pred` are equal; a per cent sign beside a fraction divides.

    50% is 1/2, and 0.5% is not. Beside an integer, or a reference in per cent, the sign is a unit (25% is
    25); for 1 and a fraction above it, both readings are right.
    """
    if (a.denominator == 1 and a != 1) or not _PERCENT.search(pred) or _PERCENT.search(gold):
        return a == b
    return b == 100 * a or (a == b and abs(a) >= 1)
