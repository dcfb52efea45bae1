"""Ratio of two paired means: an arm's gain as a share of the control's."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike

from analysis.stats.intervals import MIN_SEEDS, SEEDS, _finite, student_quantile


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio with Fieller's interval. `low` and `high` are None where `reason` says why.

    `unbounded`: the denominator's own interval holds 0, so that no finite interval has the stated level.
    """

    estimate: float | None
    low: float | None
    high: float | None
    level: float
    n: int
    unbounded: bool = False
    varies: str = SEEDS
    reason: str | None = None


def ratio_of_means(numerators: ArrayLike, denominators: ArrayLike, level: float = 0.95) -> Ratio:
    """Fieller's interval for mean(numerators) / mean(denominators), paired by seed (Fieller 1954).

    It holds every ρ that a t test of mean(a − ρ g) = 0 does not reject, n − 1 df:

        (ā² − t² v_a) − 2 ρ (ā ḡ − t² v_ag) + ρ² (ḡ² − t² v_g) ≤ 0,   v = (co)variances of the means

    Where ḡ² ≤ t² v_g, the interval of the denominator holds 0 and that set is unbounded: `unbounded` is
    true and there are no ends. Varies: seeds. Fewer than 3 seeds, or no spread, give the estimate alone.
    Raises ValueError for lists of unequal length, none, or a value that is not finite.
    """
    a, g = _finite("numerators", numerators, ndim=1), _finite("denominators", denominators, ndim=1)
    if len(a) != len(g):
        raise ValueError(f"denominators: {len(g)} values, numerators has {len(a)}; give one of each a seed")
    n, estimate = len(a), float(a.mean() / g.mean()) if g.mean() else None
    if n < MIN_SEEDS:
        reason = f"{n} seed{'s' * (n > 1)}: 3 are needed for an interval"
        return Ratio(estimate, None, None, level, n, reason=reason)
    (v_a, v_ag), (_, v_g) = np.cov(a, g, ddof=1) / n
    square = student_quantile(n - 1, (1 + level) / 2) ** 2
    first, middle, last = (
        float(x) for x in (g.mean() ** 2 - square * v_g, a.mean() * g.mean() - square * v_ag, a.mean() ** 2)
    )
    if first <= 0:
        reason = "the interval of the denominator holds 0, so the ratio has no finite interval"
        return Ratio(estimate, None, None, level, n, unbounded=True, reason=reason)
    root = sqrt(max(0.0, middle**2 - first * (last - square * float(v_a))))
    if root <= 1e-12 * max(1.0, abs(middle)):
        reason = "no spread between seeds: an interval is not estimable"
        return Ratio(estimate, None, None, level, n, reason=reason)
    return Ratio(estimate, (middle - root) / first, (middle + root) / first, level, n)
