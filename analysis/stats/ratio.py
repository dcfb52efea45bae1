"""Ratio of two means over the same seeds, with an interval that may be unbounded."""

from __future__ import annotations

from math import sqrt

import numpy as np
from numpy.typing import ArrayLike

from analysis.stats.intervals import MIN_SEEDS, SEEDS, Interval, _bare, _finite, paired_t, student_quantile

FIELLER = "Fieller"
UNBOUNDED = "the denominator's interval holds 0: no finite interval of the ratio exists"


def ratio_of_means(
    numerators: ArrayLike, denominators: ArrayLike, *, level: float = 0.95, varies: str = SEEDS
) -> Interval | None:
    """Estimate mean(x) / mean(y) of pairs (x_s, y_s) over seeds, with Fieller's interval (Fieller 1954).

    The interval holds every ρ that a t test of mean(x − ρ y) = 0 with n − 1 df does not reject:

        (x̄² − c s_xx) − 2 ρ (x̄ ȳ − c s_xy) + ρ² (ȳ² − c s_yy) ≤ 0,   c = t²_{n−1, (1+level)/2} / n

    It is exact for normal pairs, whatever their correlation, and not symmetric. Where ȳ² ≤ c s_yy the test
    does not tell mean(y) from 0 and the set is unbounded: `low` and `high` are None and `reason` says so, as
    for fewer than 3 seeds. `p_value` is that of a ratio of 0, the t test of mean(x) = 0; `se` is None.

    Varies: seeds. None where mean(y) is 0, since there is no ratio then. Raises ValueError for no pairs,
    lists of different lengths, or a number that is not finite.
    """
    x, y = _finite("numerators", numerators, ndim=1), _finite("denominators", denominators, ndim=1)
    if len(x) != len(y):
        raise ValueError(f"denominators: {len(y)} values, numerators have {len(x)}; give one pair a seed")
    n, top, bottom = len(x), float(x.mean()), float(y.mean())
    if abs(bottom) <= 1e-12 * max(1.0, float(np.abs(y).max())):
        return None
    estimate = top / bottom
    if n < MIN_SEEDS:
        said = f"{n} seed{'s' * (n > 1)}: 3 are needed for an interval"
        return _bare(estimate, n, level, FIELLER, varies, said)
    if float(np.std(x - estimate * y)) <= 1e-12 * max(1.0, abs(top)):
        said = "no spread between seeds: an interval is not estimable"
        return _bare(estimate, n, level, FIELLER, varies, said)
    c = student_quantile(n - 1, (1 + level) / 2) ** 2 / n
    s = np.cov(x, y)
    square, mixed, rest = bottom**2 - c * s[1, 1], top * bottom - c * s[0, 1], top**2 - c * s[0, 0]
    if square <= 0:
        return _bare(estimate, n, level, FIELLER, varies, UNBOUNDED)
    half = sqrt(max(0.0, mixed**2 - square * rest))  # the estimate itself is in the set: never negative
    return Interval(
        estimate=estimate,
        low=float((mixed - half) / square),
        high=float((mixed + half) / square),
        level=level,
        se=None,
        df=float(n - 1),
        p_value=paired_t(x, level=level).p_value,
        n=n,
        method=FIELLER,
        varies=varies,
    )


def share_of_gain(
    parts: ArrayLike, gains: ArrayLike, *, level: float = 0.95, varies: str = SEEDS
) -> Interval | None:
    """`ratio_of_means` where the mean gain is above 0, else None.

    A share of a loss is no share: two losses have a ratio above 0 as two gains do.
    """
    ratio = ratio_of_means(parts, gains, level=level, varies=varies)
    return ratio if float(np.mean(np.asarray(gains, dtype=float))) > 0 else None
