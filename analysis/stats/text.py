"""Numbers as readers see them: points of accuracy, intervals, p-values."""

from __future__ import annotations

from analysis.stats.intervals import Interval


def points(value: float | None, *, signed: bool = False) -> str:
    """An accuracy in points, one decimal; an em dash for what is not known."""
    if value is None:
        return "—"
    text = f"{100 * value:+.1f}" if signed else f"{100 * value:.1f}"
    text = text.replace("-0.0", "0.0").replace("+0.0", "0.0")
    return text.replace("-", "−")


def interval_text(interval: Interval | None, *, signed: bool = False) -> str:
    """`3.1 [0.4, 5.8]` in points; the bare estimate where there is no interval."""
    if interval is None:
        return "—"
    return interval_bounds(interval.estimate, interval.low, interval.high, signed=signed)


def interval_bounds(estimate: float, low: float | None, high: float | None, *, signed: bool = False) -> str:
    """`3.1 [0.4, 5.8]` in points, from the three numbers."""
    text = points(estimate, signed=signed)
    if low is None or high is None:
        return text
    return f"{text} [{points(low, signed=signed)}, {points(high, signed=signed)}]"


def number_text(interval: Interval | None, *, signed: bool = False, digits: int = 3) -> str:
    """`0.123 [0.101, 0.145]` in the quantity's own unit."""
    if interval is None:
        return "—"
    known = [v for v in (interval.estimate, interval.low, interval.high) if v is not None]
    shown = [f"{v:{'+' if signed else ''}.{digits}f}".replace("-", "−") for v in known]
    return shown[0] if len(shown) < 3 else f"{shown[0]} [{shown[1]}, {shown[2]}]"


def compact(value: float | None) -> str:
    """A count with a unit prefix, three digits: 12.3k, 1.5T."""
    if value is None:
        return "—"
    for size, unit in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def p_text(p: float | None) -> str:
    return "—" if p is None else ("<0.001" if p < 0.001 else f"{p:.3f}")


def p_equals(p: float | None) -> str:
    """`p = 0.002`, `p < 0.001`."""
    text = p_text(p)
    return f"p < {text[1:]}" if text.startswith("<") else f"p = {text}"
