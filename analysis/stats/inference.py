"""Tests over families, equivalence, power, trends, scaling and variance components."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, sqrt

import numpy as np
from numpy.typing import ArrayLike

from analysis.stats.intervals import Interval, _finite, mean_squares, paired_t, student_quantile


@dataclass(frozen=True, slots=True)
class Equivalence:
    """TOST's verdict: `equivalent` when p_value ≤ alpha; `interval` is the matching (1 − 2 alpha) one."""

    equivalent: bool
    p_value: float | None
    margin: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class ScalingFit:
    """score = intercept + slope · log10(x); `slope` is per factor of ten."""

    slope: float
    intercept: float
    r_squared: float


@dataclass(frozen=True, slots=True)
class VarianceComponents:
    """Variances of one score at [base, seed, problem], never negative; None: the design cannot tell."""

    sampling: float | None
    problems: float
    seeds: float | None
    bases: float | None
    interactions: float


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the given order: max_{j≤i} min(1, (m − j) p_(j)), j from 0.

    Holm 1979. Controls the family-wise error under any dependence. Raises ValueError for a p outside [0, 1].
    """
    p = np.asarray(p_values, dtype=float)
    if p.size and not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p_values: {list(p_values)}; each must lie in [0, 1]")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p)))))
    return [float(x) for x in adjusted]


def tost(differences: ArrayLike, *, margin: float, alpha: float = 0.05) -> Equivalence:
    """Two one-sided paired t tests: are the arms within ± margin? (Schuirmann 1987.)

    p = max(P(T ≥ (d̄ + m)/se), P(T ≤ (d̄ − m)/se)), df = n − 1. The margin must have been declared
    beforehand. Varies: seeds; problems fixed. Fewer than 3 seeds: no verdict (equivalent False, p None).
    """
    if not margin > 0:
        raise ValueError(f"margin={margin}: must be positive, in the unit of the differences")
    interval = paired_t(differences, level=1 - 2 * alpha)
    p = tost_p(interval, margin=margin)
    return Equivalence(p is not None and p <= alpha, p, margin, interval)


def tost_p(interval: Interval, *, margin: float) -> float | None:
    """`tost`'s p-value from a paired t interval of any level; None where it has no standard error."""
    from scipy.special import stdtr

    if interval.se is None or interval.df is None:
        return None
    above = stdtr(interval.df, -(interval.estimate + margin) / interval.se)
    below = stdtr(interval.df, (interval.estimate - margin) / interval.se)
    return float(max(above, below))


def power(*, effect: float, sd: float, num_seeds: int, alpha: float = 0.05) -> float:
    """Power of the two-sided paired t at a true difference `effect`; sd is that of per-seed differences.

    P(|T'| > t_{n−1, 1−alpha/2}), T' noncentral t with n − 1 df and δ = effect √n / sd (Cohen 1988, §2).
    """
    from scipy.special import nctdtr

    if not sd > 0 or num_seeds < 2:
        raise ValueError(f"sd={sd}, num_seeds={num_seeds}: need sd > 0 and at least 2 seeds")
    df, shift = num_seeds - 1, abs(effect) * sqrt(num_seeds) / sd
    critical = student_quantile(df, 1 - alpha / 2)
    upper, lower = float(nctdtr(df, shift, critical)), float(nctdtr(df, shift, -critical))
    # Far in its tail nctdtr underflows to NaN; there the distribution lies wholly beyond the critical value.
    upper, lower = (upper if isfinite(upper) else 0.0), (lower if isfinite(lower) else 0.0)
    return min(1.0, 1 - upper + lower)


def smallest_detectable(*, sd: float, num_seeds: int, alpha: float = 0.05, target: float = 0.8) -> float:
    """The true difference that the paired t finds with probability `target`, by bisection of `power`."""
    low, high = 0.0, sd
    while power(effect=high, sd=sd, num_seeds=num_seeds, alpha=alpha) < target:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        reached = power(effect=middle, sd=sd, num_seeds=num_seeds, alpha=alpha) >= target
        low, high = (low, middle) if reached else (middle, high)
    return high


def seeds_needed(
    *, effect: float, sd: float, alpha: float = 0.05, target: float = 0.8, at_most: int = 10_000
) -> int:
    """Fewest seeds (at least 3) with which the paired t finds `effect` with probability `target`.

    Raises ValueError for an effect of 0 or when more than `at_most` would be needed.
    """
    if effect == 0:
        raise ValueError("effect=0: give the smallest difference that matters")
    low, high = 2, 3
    while power(effect=effect, sd=sd, num_seeds=high, alpha=alpha) < target:
        low, high = high, 2 * high
        if high > at_most:
            raise ValueError(f"effect={effect}: more than {at_most} seeds at sd={sd}; give a larger one")
    while high - low > 1:
        middle = (low + high) // 2
        reached = power(effect=effect, sd=sd, num_seeds=middle, alpha=alpha) >= target
        low, high = (low, middle) if reached else (middle, high)
    return high


def trend_test(scores: ArrayLike, *, x: Sequence[float] | None = None, level: float = 0.95) -> Interval:
    """Linear trend over an ordered factor, from scores [seeds, levels] of arms that share seeds.

    Each seed's least-squares slope over x (ranks 0, 1, .. by default), then t on the slopes: a within-seed
    linear contrast (Winer 1971). Varies: seeds; problems fixed. Raises ValueError for fewer than two
    distinct levels.
    """
    y = _finite("scores", scores, ndim=2)
    grid = np.arange(y.shape[1], dtype=float) if x is None else _finite("x", x, ndim=1)
    if len(grid) != y.shape[1] or np.ptp(grid) == 0:
        raise ValueError(f"x: {len(grid)} values for {y.shape[1]} levels; give one a level, not all equal")
    centred = grid - grid.mean()
    return paired_t(
        y @ centred / (centred @ centred), level=level, varies="seeds, by their slopes; problems fixed"
    )


def loglinear_fit(x: ArrayLike, y: ArrayLike) -> ScalingFit:
    """Least squares y = a + b log10(x) through all points, one a run.

    It has no interval: runs that share a seed, and checkpoints of one run, are not independent. For an
    interval on the slope give per-seed scores to `trend_test` with x = log10(size). Raises ValueError for
    x ≤ 0, fewer than 3 points or one distinct x.
    """
    raw, score = _finite("x", x, ndim=1), _finite("y", y, ndim=1)
    if len(raw) != len(score) or len(raw) < 3 or (raw <= 0).any() or np.ptp(raw) == 0:
        raise ValueError(
            f"x: {len(raw)} points, y: {len(score)}; give at least 3 pairs with x > 0, not all equal"
        )
    size = np.log10(raw)
    centred = size - size.mean()
    slope = float(centred @ score / (centred @ centred))
    intercept = float(score.mean() - slope * size.mean())
    residual = score - intercept - slope * size
    spread = float(((score - score.mean()) ** 2).sum())
    return ScalingFit(slope, intercept, 1 - float(residual @ residual) / spread if spread > 0 else 1.0)


def variance_components(scores: ArrayLike, *, num_samples: int | None = None) -> VarianceComponents:
    """Variance components of one run's score on one problem, by the method of moments.

    `scores` [bases, seeds, problems] are avg@k cells: y = μ + base_b + seed_s(b) + problem_p + base×problem +
    residual; mean squares are solved for the components (Searle, Casella & McCulloch 1992, ch. 4), negative
    ones set to 0. `sampling` = mean p(1 − p)/(k − 1) of the cells, part of `interactions`, which is the whole
    remainder. None: bases with one base, seeds with one seed, sampling without num_samples ≥ 2.
    """
    y = _finite("scores", scores, ndim=3)
    bases, seeds, problems = y.shape
    if problems < 2 or bases * seeds < 2:
        raise ValueError(f"scores: shape {y.shape}; give at least 2 problems and 2 runs")
    sampling = None
    if num_samples is not None and num_samples > 1:
        sampling = float((y * (1 - y)).mean() / (num_samples - 1))
    if seeds == 1:
        ms_base, ms_problem, ms_error = mean_squares(y[:, 0])
        var_bases = max(0.0, (ms_base - ms_error) / problems)
        return VarianceComponents(
            sampling, max(0.0, (ms_problem - ms_error) / bases), None, var_bases, ms_error
        )
    within = [mean_squares(y[b]) for b in range(bases)]
    ms_seed, ms_error = float(np.mean([w[0] for w in within])), float(np.mean([w[2] for w in within]))
    var_seeds = max(0.0, (ms_seed - ms_error) / problems)
    if bases == 1:
        return VarianceComponents(
            sampling, max(0.0, (within[0][1] - ms_error) / seeds), var_seeds, None, ms_error
        )
    means = y.mean(axis=1)  # [bases, problems]
    ms_base, ms_problem, ms_both = (seeds * m for m in mean_squares(means))
    var_bases = max(0.0, (ms_base - ms_seed - ms_both + ms_error) / (seeds * problems))
    var_problems = max(0.0, (ms_problem - ms_both) / (seeds * bases))
    interactions = max(0.0, (ms_both - ms_error) / seeds) + ms_error
    return VarianceComponents(sampling, var_problems, var_seeds, var_bases, interactions)
