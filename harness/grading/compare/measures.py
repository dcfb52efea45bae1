"""The unit that an answer names, and angles in radians: 5 kg is not 5 m, and 1.2 m is 120 cm.

A unit counts only where both answers name one that stands here; `5 apples` and `5` name none.
"""

from __future__ import annotations

import re
from fractions import Fraction

from harness.grading.compare.quantities import (
    TEXT_COMMAND,
    UNIT_FRACTION,
    WRAPPED,
    after_number,
    is_unit,
    parse_number,
)
from harness.grading.lexicon import HOUR, UNITS, Unit

_TERM = re.compile(
    r"\s*(?:(?P<shape>sq(?:uare)?|cu(?:bic)?)\.?\s+)?(?P<name>[A-Za-z]+|[%¢$])\.?\s*"
    r"(?:\^\s*\{?\s*(?P<power>-?\d)\s*\}?)?"
)
_PER = re.compile(r"\s*(?:/|per\b|(?:an?)\b)\s*")
_JOINED = re.compile(r"\b([ck]?m)([sh])(?=\s*\^\s*\{?\s*-1)")  # `ms^{-1}` is `m s^{-1}`
_PRODUCT = re.compile(r"\A\s*(?:\\cdot|\*)\s*")
_SIGN = re.compile(r"[€£¢°]|\\?%|\\circ|\\(?:text)?degree|\\pounds|\\(?:text)?euro")
_SIGNS = {r"\%": "%", r"\circ": "°", r"\pounds": "£", r"\euro": "€", r"\texteuro": "€"}
_TEMPERATURE = re.compile(rf"(?:°|\\circ\s*\}}?|degrees?)\s*(?:{TEXT_COMMAND}\s*\{{\s*)?([CF])\b")
_TRAILING = re.compile(rf"({TEXT_COMMAND}\s*\{{[^{{}}]*\}}\s*(?:\^\s*\{{?\s*-?\d\s*\}}?)?)\s*\Z")


def unit_of(raw: str, normalised: str) -> Unit | None:
    """The unit that an answer names, by its words or its sign; None for one that does not stand here."""
    last = normalised.rpartition("=")[2].strip()
    if ("C" in raw or "F" in raw) and (scale := _TEMPERATURE.search(raw)):
        return Unit(scale[1], Fraction(1))
    rest = after_number(last)
    if rest is None and parse_number(last) is not None:  # `five minutes`
        said = last.split(" ")
        return next((unit for i in range(1, 5) if (unit := _read(" ".join(said[i:])))), None)
    if rest is None or not re.match(rf"\s*(?:[A-Za-z¢/]|{TEXT_COMMAND})", rest):
        trailing = _TRAILING.search(last)
        rest = trailing[1] if trailing else ""
    if words := WRAPPED.sub(r" \1 ", rest).strip():
        return _read(words)
    if raw.count("$") % 2 or r"\$" in raw:
        return UNITS["$"]
    sign = _SIGN.search(raw.rpartition("=")[2])
    return UNITS.get(_SIGNS.get(sign[0], sign[0]), UNITS["°"]) if sign else None


def _read(words: str) -> Unit | None:
    """`cm^2`, `square miles`, `km / h`, `miles per hour`, `m s^{-1}`; any words may follow."""
    words = _JOINED.sub(r"\1 \2", words)
    first = _TERM.match(words)
    unit = _named(first)
    if (
        first is None
        or unit is None
        or (first["name"] == "in" and words[first.end() :].strip()[:1].isalpha())
    ):
        return None
    rest = words[first.end() :].lstrip()
    if unit.dimension == "degrees" and (scale := re.match("[CF]\\b|celsius|fahrenheit", rest, re.IGNORECASE)):
        return Unit(scale[0][0].upper(), Fraction(1))
    if per := _PER.match(rest):
        divisor = _TERM.match(rest, per.end())
    else:
        divisor = _TERM.match(_PRODUCT.sub("", rest))
        if divisor is None or not (divisor["power"] or "").startswith("-"):
            return unit
    return Unit(unit.dimension, unit.size, unit.power, _named(divisor)) if _named(divisor) else unit


def _named(term: re.Match[str] | None) -> Unit | None:
    if term is None:
        return None
    name = term["name"].lower()
    unit = UNITS.get(name) or UNITS.get(name.removesuffix("s"))
    power = abs(int(term["power"] or 1)) * {"s": 2, "c": 3}.get((term["shape"] or " ")[0], 1)
    return unit and (
        unit if power == 1 else Unit(unit.dimension, unit.size**power, unit.power * power, unit.per)
    )


def without_unit(text: str) -> str:
    r"""`2\sqrt{3}` of `2\sqrt{3} \text{ cm}`."""
    trailing = _TRAILING.search(text)
    return text[: trailing.start()].strip() if trailing and is_unit(trailing[0]) else text


_PERHAPS_ALIKE = ({"sterling", "mass"}, {"degrees", "C"}, {"degrees", "F"})


def differ(a: Unit | None, b: Unit | None) -> bool:
    """Whether two named units are not the same; a pound may be of money.

    `per day` may be left out (`$5` a day), but a speed is no length.
    """
    if a is None or b is None or {a.dimension, b.dimension} in _PERHAPS_ALIKE:
        return False
    if (a.dimension, a.power, a.size) != (b.dimension, b.power, b.size):
        return True
    if a.per and b.per:
        return differ(a.per, b.per)
    per = a.per or b.per
    return per is not None and a.dimension == "length" and a.power == 1 and per.size <= HOUR.size


_NAMES = "|".join(sorted((re.escape(name) for name in UNITS if len(name) > 2), key=len, reverse=True))
UNIT_AFTER = re.compile(
    rf"\s?\\?%|°|\^(?:\\circ|\{{\\circ\}})|\s(?:(?:square|cubic)\s)?(?:{_NAMES}|[ckm]m|kg)s?(?:\^[23]|[²³])?"
    rf"(?:\s?(?:/|per)\s?(?:{_NAMES}|[hs]))?(?![\w^])"
    rf"|\s?(?:\\[,;:! ])?\s?{UNIT_FRACTION}"
)


def may_convert(pred: str) -> bool:
    """Whether an answer that is not the reference's number could be it in another unit: cheap to ask."""
    return pred[-1:].isalpha() or pred.endswith(("}", "$", "¢")) or pred[-2:-1] == "^" or "$" in pred[:9]


def same_quantity(a: Unit | None, b: Unit | None, gold: str, pred: str) -> bool:
    """Whether two numbers in different units of one dimension are one quantity: 120 cm and 1.2 m."""
    amounts = [_amount(text.rpartition("=")[2].strip(), unit) for text, unit in ((gold, a), (pred, b))]
    return amounts[0] is not None and amounts[0] == amounts[1]


_PART = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\.?,?(?:\s+and\b)?\s*")


def _amount(text: str, unit: Unit | None) -> tuple[str, int, str, Fraction] | None:
    """Dimensions and size in base units of `1.2 m`, `90 km/h` and `5 feet 3 inches`; None for others."""
    value = parse_number(text)
    if value is not None and unit is not None:
        divisor = unit.per or Unit("", Fraction(1))
        return unit.dimension, unit.power, divisor.dimension, value * unit.size / divisor.size
    opened, end, total = WRAPPED.sub(r" \1 ", text), 0, Fraction(0)
    dimensions: set[str] = set()
    last: Fraction | None = None
    while part := _PART.match(opened, end):
        named = _named(_TERM.match(part[2]))
        if named is None or named.power != 1 or (last is not None and named.size >= last):
            return None  # `5 feet 3 inches`, not `1 hour and 3 hours`
        last = named.size
        total, end = total + Fraction(part[1]) * named.size, part.end()
        dimensions.add(named.dimension)
    return (dimensions.pop(), 1, "", total) if len(dimensions) == 1 and end == len(opened) else None


_PERCENT = re.compile(r"%|\bper ?cent\b")


def equal_numbers(gold: str, pred: str, a: Fraction, b: Fraction) -> bool:
    """Whether the numbers a of `gold` and b of `pred` are equal; a per cent sign beside a fraction divides.

    50% is 1/2, and 0.5% is not. Beside an integer, or a reference in per cent, the sign is a unit (25% is
    25); for 1 and a fraction above it, both readings are right.
    """
    if (a.denominator == 1 and a != 1) or not _PERCENT.search(pred) or _PERCENT.search(gold):
        return a == b
    return b == 100 * a or (a == b and abs(a) >= 1)


_VALUE = r"(\d{1,9}(?:\.\d{1,9})?|\\frac\s*\{\d{1,9}\}\s*\{\d{1,9}\})"
_DEGREES = re.compile(
    _VALUE + r"\s*(?:\^\s*(?:\\circ|\{\s*\\circ\s*\})|°|\\(?:text)?degree(?:s|\{\})?(?![A-Za-z])"
    rf"|(?:\\[ ,;~])?\s*(?:{TEXT_COMMAND}\s*\{{\s*degrees?\s*\}}|degrees?\b))"
)


def in_radians(reference: str, answer: str) -> tuple[str, str] | None:
    r"""Both with degrees as parts of \pi; None unless one has degrees and one \pi or an inverse function.

    A number alone beside `\arctan 1 = 45^\circ` is in degrees.
    """
    both = f"{reference} {answer}"
    if not ("°" in both or "circ" in both or "degree" in both):
        return None
    if not re.search(r"pi\b|π|arc(?:sin|cos|tan)|(?:sin|cos|tan)\s*\^\s*\{?\s*-1", both):
        return None
    if parse_number(reference.strip()) is not None and re.search("arc|-1", answer):
        reference = _DEGREES.sub(r"\1", reference.strip()) + "°"
    converted = tuple(_DEGREES.sub(r"\\frac{\1 \\pi}{180}", text) for text in (reference, answer))
    return None if converted == (reference, answer) else (converted[0], converted[1])


def pi_in_degrees(reference: str, unit: Unit | None) -> bool:
    r"""Whether an answer is in degrees and its reference a part of \pi without them."""
    degrees = unit is not None and unit.dimension == "degrees"
    return degrees and re.search(r"\\pi(?![A-Za-z])|π", reference) is not None and "circ" not in reference
