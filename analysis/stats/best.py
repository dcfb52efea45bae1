"""The best-scored of a problem's samples: its accuracy and variance, for `best_of_k`."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb


def best_value_and_variance(correct: Sequence[bool], scores: Sequence[float]) -> tuple[float, float | None]:
    """Share right among the top-scored, and its variance when n samples are drawn anew from these n.

    At a level with m of n samples, of which a share q is right, and b below: the top of n draws is j of its
    samples with probability C(n, j) (m/n)^j (b/n)^(n-j), and their share right has mean q and variance
    q (1 - q) / j. None for one sample.
    """
    n = len(scores)
    levels: dict[float, list[bool]] = {}
    for score, right in sorted(zip(scores, correct, strict=True)):
        levels.setdefault(score, []).append(bool(right))
    value = sum(levels[max(levels)]) / len(levels[max(levels)])
    if n < 2:
        return value, None
    first = second = 0.0  # moments of the share right among the top of n draws
    below = 0
    for row in levels.values():
        m, q = len(row), sum(row) / len(row)
        for j in range(1, n + 1):
            chance = comb(n, j) * (m / n) ** j * (below / n) ** (n - j)
            first += chance * q
            second += chance * (q * q + q * (1 - q) / j)
        below += m
    return value, max(0.0, second - first * first)
