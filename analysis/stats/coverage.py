"""Problems that one sample set never solves and another often does, against what chance alone gives."""

from __future__ import annotations

from math import comb

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def least_right(n: int) -> int:
    """Right samples of n from which a problem counts as solved often: a quarter, at least one."""
    return max(1, -(-n // 4))


def never_then_often(first: ArrayLike, second: ArrayLike, *, least: int) -> float:
    """Share of problems with no right sample in `first` and `least` or more in `second`; counts, [P] each."""
    a, b = np.asarray(first, dtype=int), np.asarray(second, dtype=int)
    if a.shape != b.shape or a.ndim != 1 or not a.size:
        raise ValueError(f"second: shape {b.shape}, first has {a.shape}; give a count for each problem")
    return float(np.mean((a == 0) & (b >= least)))


def half_coverage(first: ArrayLike, second: ArrayLike) -> float | None:
    """Share of problems that half of `first`'s samples never solve and the other half of `second`'s often do.

    Both are [P, n], right or not, and sample i of both was drawn with one seed. The indices are split into A
    (⌊n/2⌋ of them) and B (the rest). A problem counts if `first` has no right sample in A and `second` has
    `least_right(|B|)` or more in B; the share is its exact mean over all C(n, |A|) splits:

        P(problem) = Σ_x C(u, x) C(v, |A| − x) / C(n, |A|)   over x ≤ r − least

    Of the samples that are wrong in `first`, u are right in `second` and v are wrong in it; r is the number
    of right ones in `second`. A and B share no index, so the halves are independent samples, for two models
    on common random numbers too. Given one model twice the result is what chance gives: the same model
    sampled twice. None for n = 1, which has no halves. Raises ValueError for shapes that differ.
    """
    a, b = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if a.ndim != 2 or a.shape != b.shape or not a.size:
        raise ValueError(f"second: shape {b.shape}, first has {a.shape}; give [problems, samples] for both")
    n = a.shape[1]
    if n < 2:
        return None
    half = n // 2
    least = least_right(n - half)
    counts = np.stack([(~a & b).sum(axis=1), (~a & ~b).sum(axis=1), b.sum(axis=1)], axis=1)  # [P, 3]
    kinds, times = np.unique(counts, axis=0, return_counts=True)
    values = [_over_splits(int(u), int(v), int(r), n, half, least) for u, v, r in kinds]
    return float(np.dot(values, times) / len(a))


def _over_splits(u: int, v: int, r: int, n: int, half: int, least: int) -> float:
    """Share of splits that count, of one problem; a split has x of the u in A, which B then lacks."""
    ways = sum(comb(u, x) * comb(v, half - x) for x in range(min(u, half) + 1) if r - x >= least)
    return ways / comb(n, half)
