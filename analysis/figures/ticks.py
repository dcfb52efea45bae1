"""Ticks of a logarithmic axis: at the values themselves, where their labels can be read apart."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.stats.text import compact

SMALL_ROOM = 14  # characters under a panel of small multiples


def spaced(values: Sequence[float]) -> list[float]:
    """Of two that are too close, on the axis of a narrow screen, the first stands for both."""
    kept: list[float] = []
    apart = max(1.2, (max(values) / min(values)) ** 0.12) if values else 1.2
    for value in sorted(set(values)):
        if not kept or value > apart * kept[-1]:
            kept.append(value)
    return kept


def tick_labels(values: Sequence[float], *, small: bool) -> list[str]:
    """A label a tick; under a small panel as many are left blank as would run into each other."""
    texts = [_text(v) for v in values]
    step = 1
    while small and sum(map(len, texts[::step])) > SMALL_ROOM and step < len(texts):
        step += 1
    return [text if i % step == 0 else "" for i, text in enumerate(texts)]


def _text(value: float) -> str:
    """12.3k, 1.5T, 0.05, 3e-5."""
    if not 0 < abs(value) < 0.01:
        return compact(value)
    digits, power = f"{value:.2e}".split("e")
    return f"{digits.rstrip('0').rstrip('.')}e{int(power)}"
