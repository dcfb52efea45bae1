"""Times of day and dates as answers."""

from __future__ import annotations

import re
from math import gcd

from harness.grading.compare.quantities import WRAPPED

_CLOCK = re.compile(r"(\d{1,2})(?::(\d{2}))?(?::(\d{2}))?(?:\s*([ap])\.?\s*m\.?)?", re.IGNORECASE)


_DATE = re.compile(r"(\d{4})([-/.])(\d{1,2})\2(\d{1,2})|(\d{1,2})([-/.])(\d{1,2})\6(\d{4})")


def date(normalised: str) -> tuple[int, ...] | None:
    """(2025, 1, 3) of `2025-01-03` and (1, 3, 2025) of `1/3/2025`; None for what is no such date."""
    match = _DATE.fullmatch(normalised)
    return tuple(int(part) for part in match.groups() if part and part.isdigit()) if match else None


def clock(normalised: str) -> tuple[int, int, int, str] | None:
    """(11, 30, 0, `a`) of `11:30 a.m.` and `11:30:00 \\text{ AM}`, half "" of `11:30`; None for no time."""
    match = _CLOCK.fullmatch(WRAPPED.sub(r"\1", normalised.replace(" :", ":").replace(": ", ":")).strip())
    if match is None or not (match[2] or match[4]):
        return None
    hour, minute, second = (int(match[i] or 0) for i in (1, 2, 3))
    half = (match[4] or "").lower()
    if minute > 59 or second > 59 or hour > (12 if half else 24):
        return None
    return hour, minute, second, half


def is_time(normalised: str) -> bool:
    """Whether a reference is a time of day: with a.m. or p.m., or `9:24`, which as a ratio would be 3:8."""
    time = clock(normalised)
    if time is None:
        return False
    hour, minute, _, half = time
    return bool(half) or (gcd(hour, minute) != 1 and normalised.count(":") == 1) or ":0" in normalised


def same_time(gold: str, pred: str) -> bool:
    """Whether two are one time of day; a.m. or p.m. may be left out, and 4:30 p.m. is 16:30."""
    a, b = clock(gold), clock(pred)
    if a is None or b is None:
        return a is not None and a[3] != "" and not a[1] and not a[2] and pred == str(a[0])  # `9`
    if a[3] and b[3]:
        return a == b
    return a[:3] == b[:3] or _on_24(a) == _on_24(b)


def _on_24(time: tuple[int, int, int, str]) -> tuple[int, int, int]:
    hour, minute, second, half = time
    return ((hour % 12 + 12 * (half == "p")) if half else hour % 24), minute, second
