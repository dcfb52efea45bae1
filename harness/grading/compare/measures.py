"""The unit that an answer names, angles in radians, times and dates: 5 kg is not 5 m, and 1.2 m is 120 cm.

A unit counts only where both answers name one that stands here; `5 apples` and `5` name none.
"""

from __future__ import annotations

import re
from fractions import Fraction
from math import gcd

from harness.grading.compare.quantities import (
    TEXT_COMMAND,
    UNIT_FRACTION,
    WRAPPED,
    after_number,
    is_unit,
    parse_number,
)
from harness.grading.lexicon import HOUR, UNITS, Unit

_NAMED = (
    r"\s*(?:(?P<shape>sq(?:uare)?|cu(?:bic)?)\.?\s+)?(?P<name>[A-Za-z]+|[%¢$])\.?\s*"
    r"(?:\^\s*\{?\s*(?P<power>-?\d)\s*\}?)?"
)
_TERM = re.compile(_NAMED)
_DIVISOR = re.compile(r"\s*(?:(?P<per>/|per\b|an?\b)|\\cdot|\*)?" + _NAMED)
_JOINED = re.compile(r"\b([ck]?m)([sh])(?=\s*\^\s*\{?\s*-1)")  # `ms^{-1}` is `m s^{-1}`
_SCALE = re.compile(r"\s*([CF]\b|celsius|fahrenheit)", re.IGNORECASE)
_SIGN = re.compile(r"[€£¢°]|\\?%|\\circ|\\(?:text)?degree|\\pounds|\\(?:text)?euro")
_SIGNS = {r"\%": "%", r"\circ": "°", r"\pounds": "£", r"\euro": "€", r"\texteuro": "€"}
_TEMPERATURE = re.compile(rf"(?:°|\\circ\s*\}}?|degrees?)\s*(?:{TEXT_COMMAND}\s*\{{\s*)?([CF])\b")
_TRAILING = re.compile(rf"({TEXT_COMMAND}\s*\{{[^{{}}]*\}}\s*(?:\^\s*\{{?\s*-?\d\s*\}}?)?)\s*\Z")


def unit_of(raw: str, normalised: str) -> Unit | None:
    """The unit that an answer names, by its words or its sign; None for one that does not stand here."""
    last = normalised.rpartition("=")[2].strip()
    if scale := _TEMPERATURE.search(raw):
        return Unit(scale[1], Fraction(1))
    rest = after_number(last)
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
    if first is None or unit is None:
        return None
    rest = words[first.end() :]
    if first["name"] == "in" and rest.strip()[:1].isalpha():
        return None
    if unit.dimension == "degrees" and (scale := _SCALE.match(rest)):
        return Unit(scale[1][0].upper(), Fraction(1))
    second = _DIVISOR.match(rest)
    divides = second and (second["per"] or (second["power"] or "").startswith("-"))
    return Unit(unit.dimension, unit.size, unit.power, (_named(second) if divides else None) or unit.per)


def _named(term: re.Match[str] | None) -> Unit | None:
    name = term["name"].lower() if term else ""
    unit = UNITS.get(name) or UNITS.get(name.removesuffix("s"))
    if term is None or unit is None:
        return None
    power = abs(int(term["power"] or 1)) * {"s": 2, "c": 3}.get((term["shape"] or " ")[0], 1)
    return Unit(unit.dimension, unit.size**power, unit.power * power, unit.per)


def without_unit(text: str) -> str:
    r"""`2\sqrt{3}` of `2\sqrt{3} \text{ cm}`."""
    trailing = _TRAILING.search(text)
    return text[: trailing.start()].strip() if trailing and is_unit(trailing[0]) else text


def differ(a: Unit | None, b: Unit | None) -> bool:
    """Whether two named units are not the same; a pound may be of money.

    `per day` may be left out (`$5` a day), but a speed is no length.
    """
    perhaps_alike = ({"sterling", "mass"}, {"degrees", "C"}, {"degrees", "F"})
    if a is None or b is None or {a.dimension, b.dimension} in perhaps_alike:
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
    opened = WRAPPED.sub(r" \1 ", text)
    parts = [(Fraction(part[1]), _named(_TERM.match(part[2]))) for part in _PART.finditer(opened)]
    known = [(number * unit.size, unit) for number, unit in parts if unit is not None and unit.power == 1]
    sizes = [unit.size for _, unit in known]  # `5 feet 3 inches`, not `1 hour and 3 hours`
    one = len({unit.dimension for _, unit in known}) == 1 and sizes == sorted(set(sizes), reverse=True)
    if not one or len(known) < len(parts) or _PART.sub("", opened):
        return None
    return known[0][1].dimension, 1, "", sum((size for size, _ in known), Fraction(0))


_PERCENT = re.compile(r"%|\bper ?cent\b")


def equal_numbers(gold: str, pred: str, a: Fraction, b: Fraction) -> bool:
    """Whether the numbers a of `gold` and b of `pred` are equal; a per cent sign beside a fraction divides.

    50% is 1/2, and 0.5% is not. Beside an integer, or a reference in per cent, the sign is a unit (25% is
    25); for 1 and a fraction above it, both readings are right.
    """
    if (a.denominator == 1 and a != 1) or not _PERCENT.search(pred) or _PERCENT.search(gold):
        return a == b
    return b == 100 * a or (a == b and abs(a) >= 1)


_ANGLE = re.compile(r"pi\b|π|arc(?:sin|cos|tan)|(?:sin|cos|tan)\s*\^\s*\{?\s*-1")


def are_angles(both: str) -> bool:
    r"""Whether one of two texts has degrees and one \pi or an inverse function."""
    return re.search("°|circ|degree", both) is not None and _ANGLE.search(both) is not None


def pi_in_degrees(reference: str, unit: Unit | None) -> bool:
    r"""Whether an answer is in degrees and its reference a part of \pi without them."""
    degrees = unit is not None and unit.dimension == "degrees"
    return degrees and re.search(r"\\pi(?![A-Za-z])|π", reference) is not None and "circ" not in reference


_CLOCK = re.compile(
    r"([01]?\d|2[0-4])(?:\s?:\s?([0-5]\d))?(?::([0-5]\d))?(?:\s*([ap])\.?\s*m\.?)?", re.IGNORECASE
)
_DATE = re.compile(r"\d{4}([-/.])\d{1,2}\1\d{1,2}|\d{1,2}([-/.])\d{1,2}\2\d{4}")


def _clock(text: str) -> tuple[int, int, int, str] | None:
    """(11, 30, 0, `a`) of `11:30 a.m.` and `11:30:00 \\text{ AM}`, half "" of `11:30`; None for no time."""
    match = _CLOCK.fullmatch(WRAPPED.sub(r"\1", text).strip())
    if match is None or not (match[2] or match[4]):
        return None
    return int(match[1]), int(match[2] or 0), int(match[3] or 0), (match[4] or "").lower()


def same_time(gold: str, pred: str) -> bool | None:
    """Whether two are one time of day or date; None if the reference is neither.

    `9:24` is a time, as a ratio would be 3:8. a.m. or p.m. may be left out, and 4:30 p.m. is 16:30.
    """
    if _DATE.fullmatch(gold):
        dates = [[part.lstrip("0") for part in re.split("[-/.]", text)] for text in (gold, pred)]
        return dates[0] == dates[1]
    a = _clock(gold)
    if a is None or not (a[3] or ":0" in gold or (gcd(*a[:2]) != 1 and gold.count(":") == 1)):
        return None
    b = _clock(pred) or (_clock(f"{pred}:00") if a[3] else None)
    if b is None:
        return False
    return a == b if a[3] and b[3] else a[:3] == b[:3] or _on_24(*a) == _on_24(*b)


def _on_24(hour: int, minute: int, second: int, half: str) -> tuple[int, int, int]:
    return (hour % 12 + 12 * (half == "p") if half else hour % 24), minute, second
