"""pass@k at every k, and the smallest k at which one curve reaches another."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.stats.intervals import paired_t

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Crossing:
    """Smallest k at which the base is at least as good as an arm; `k` None: at none up to `n`.

    `low` to `high` is the interval; `high` None: no end up to `n`. Both are None with a `reason`.
    """

    k: int | None
    low: int | None
    high: int | None
    n: int
    level: float
    reason: str | None = None

    @property
    def text(self) -> str:
        """`8 [4, 12]`, `>16 [9, >16]`."""
        most = f">{self.n}"
        value = most if self.k is None else str(self.k)
        if self.low is None:
            return value
        first, last = (most if end is None or end > self.n else str(end) for end in (self.low, self.high))
        return f"{value} [{first}, {last}]"


@lru_cache(maxsize=16)
def _pass_values(n: int) -> Array:
    """1 − C(n−c, k) / C(n, k) at [c, k − 1] for c = 0..n and k = 1..n (arXiv:2107.03374 eq. 1)."""
    c, j = np.arange(n + 1)[:, None], np.arange(n)[None, :]
    return 1 - np.cumprod(np.maximum(n - c - j, 0) / (n - j), axis=1)  # C(n−c,k)/C(n,k) = Π_j (n−c−j)/(n−j)


def pass_at_every_k(right: ArrayLike, n: int) -> Array:
    """Mean over problems of unbiased pass@k for k = 1..n, [n]; `right` [P] counts right samples of n each.

    Raises ValueError for a count outside 0..n, or no problems.
    """
    counts = np.asarray(right, dtype=int)
    if counts.ndim != 1 or not counts.size or counts.min() < 0 or counts.max() > n:
        raise ValueError(f"right: give a count from 0 to n={n} for each of one or more problems")
    found: Array = _pass_values(n)[counts].mean(axis=0)
    return found


def crossing(base: ArrayLike, arm: ArrayLike, *, level: float = 0.95) -> Crossing:
    """Find k*, the smallest k with pass@k of the base ≥ that of the arm, in the mean over seeds.

    Both are [seeds, n], paired by seed (and so by problem), k = 1..n. With D(k) = E[base − arm] at k, the
    interval inverts one-sided paired t tests, each at (1 − level) / 2:

        low  = the first k at which the arm is not shown to be above the base
        high = the first k from which on, up to n, the base is shown to be above the arm

    By definition D(k*) ≥ 0 and D(k* − 1) < 0. So low > k* needs a false rejection at k* itself, and
    high < k* one at k* − 1: the interval covers k* with at least `level`, whatever the form of the curves and
    without an adjustment for the number of k. Varies: seeds; needs 3 of them, else the estimate is bare.
    Raises ValueError for shapes that differ.
    """
    first, second = np.asarray(base, dtype=float), np.asarray(arm, dtype=float)
    if first.ndim != 2 or first.shape != second.shape or not first.size:
        raise ValueError(f"arm: shape {second.shape}, base has {first.shape}; give [seeds, n] for both")
    d = first - second  # [S, n]
    n = d.shape[1]
    reached = np.flatnonzero(d.mean(axis=0) >= -1e-12)
    k = int(reached[0]) + 1 if reached.size else None
    intervals = [paired_t(d[:, i], level=level) for i in range(n)]
    if len(d) < 3:
        return Crossing(k, None, None, n, level, intervals[0].reason)
    # No spread between seeds decides nothing: such a k belongs to the interval.
    below = [i.high is not None and i.high < 0 for i in intervals]
    above = [i.low is not None and i.low > 0 for i in intervals]
    low = next((i for i, shown in enumerate(below) if not shown), n) + 1
    tail = next((i for i, shown in enumerate(reversed(above)) if not shown), n)  # length of the end above
    return Crossing(k, low, n - tail + 1 if tail else None, n, level)
