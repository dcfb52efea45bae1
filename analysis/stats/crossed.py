"""Interval for new problems as well as new seeds."""

from __future__ import annotations

from functools import lru_cache
from math import pi, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.stats.intervals import MIN_SEEDS, SEEDS_PROBLEMS, Interval, _bare, _finite, mean_squares

DRAWS = 4096  # of the chi-squares; a half width is then within 1 % of that of 400,000
METHOD = "crossed t"


def crossed_t(differences: ArrayLike, *, level: float = 0.95) -> Interval:
    """Interval for new problems and new seeds, from per-seed, per-problem differences [S, P], balanced.

    Model d_sp = μ + seed_s + problem_p + e_sp, all random and normal. With the two-way mean squares,

        var(mean) = (MS_S + MS_P − MS_E) / (S P),
        df = (MS_S + MS_P − MS_E)² / (MS_S²/(S−1) + MS_P²/(P−1) + MS_E²/((S−1)(P−1)))

    are its standard error and Satterthwaite's (1946) degrees of freedom, as given. A t with that df is too
    narrow at 3–5 seeds where seeds matter (MS_S may come out small, and df large), so interval and p-value
    are generalised ones (Weerahandi, JASA 1993): each mean square is drawn back from its own chi-square, with
    its own few degrees of freedom, and p = E[P(|N(0, V)| ≥ |mean|)] over V = MS_S ν_S/χ²_S + MS_P ν_P/χ²_P −
    MS_E ν_E/χ²_E, never below the smaller of the first two. `r1-report calibrate` measures its coverage.

    Wide at 3 seeds is honest. With 120 problems and variances known by construction (sd of a cell's noise
    0.2, of seeds 0.01) its half width is, over 1.96 times the true sd of the mean: 1.7 without problem
    variance, as for a t with 2 df; 1.2 at an sd over problems of 0.3, where sqrt(0.3² / 120) = 0.027 is the
    limit that no number of seeds passes; 1.0 at 10 seeds. Coverage at 3 seeds is 0.95 to 0.975: it errs to
    the wide side.
    Varies: seeds and problems. Fewer than 3 of either: no interval.
    """
    d = _finite("differences", differences, ndim=2)
    (seeds, problems), estimate = d.shape, float(d.mean())
    if min(seeds, problems) < MIN_SEEDS:
        reason = f"{seeds} seeds × {problems} problems: 3 of each are needed for an interval"
        return _bare(estimate, seeds, level, METHOD, SEEDS_PROBLEMS, reason)
    squares = mean_squares(d)
    total, df = _moments(squares, seeds, problems)
    if total <= 1e-24:
        reason = "no spread between seeds or problems: an interval is not estimable"
        return _bare(estimate, seeds, level, METHOD, SEEDS_PROBLEMS, reason)
    variances = pivotal_variances(np.array([squares]), seeds, problems)
    half = _half_width(variances, 1 - level)
    p_value = float(tail(np.array([estimate]), variances)[0])
    return Interval(
        estimate=estimate,
        low=estimate - half,
        high=estimate + half,
        level=level,
        se=sqrt(total / d.size),
        df=df,
        p_value=p_value,
        n=seeds,
        method=METHOD,
        varies=SEEDS_PROBLEMS,
    )


def pivotal_variances(squares: NDArray[np.float64], seeds: int, problems: int) -> NDArray[np.float64]:
    """Variances of the mean that N triples of mean squares [N, 3] leave possible, [N, DRAWS]."""
    scales = _scales(seeds, problems)  # [3, R], ν/χ²
    row, column, error = (squares[:, i, None] * scales[i] for i in range(3))
    return np.maximum(row + column - error, np.minimum(row, column)) / (seeds * problems)


def tail(estimates: NDArray[np.float64], variances: NDArray[np.float64]) -> NDArray[np.float64]:
    """P(|N(0, V)| ≥ |estimate|), mean over the last axis of `variances` [N, R]; [N]."""
    from scipy.special import ndtr

    ratio = np.abs(estimates)[:, None] / np.sqrt(np.maximum(variances, 1e-300))
    return np.asarray(2 * ndtr(-ratio).mean(axis=1))


@lru_cache(maxsize=64)
def _scales(seeds: int, problems: int) -> NDArray[np.float64]:
    """ν/χ² at DRAWS evenly spaced quantiles of each chi-square, each in an order of its own (Latin
    hypercube)."""
    from scipy.special import chdtri

    rng = np.random.default_rng(1993)  # the same order always: a report is the same twice
    places = (np.arange(DRAWS) + 0.5) / DRAWS
    dfs = (seeds - 1, problems - 1, (seeds - 1) * (problems - 1))
    return np.array([df / chdtri(df, rng.permutation(places)) for df in dfs])


def _half_width(variances: NDArray[np.float64], alpha: float) -> float:
    """The estimate whose p-value is alpha; the p-value is convex in it, so Newton never passes the root."""
    deviations = np.sqrt(np.maximum(variances, 1e-300))
    half = 0.0
    for _ in range(100):
        excess = float(tail(np.array([half]), variances)[0]) - alpha
        density = np.exp(-0.5 * (half / deviations) ** 2) / (deviations * sqrt(2 * pi))
        step = excess / float(2 * density.mean())
        half += step
        if step <= 1e-12 * half:
            break
    return half


def _moments(squares: tuple[float, float, float], seeds: int, problems: int) -> tuple[float, float]:
    """S·P times the variance of the mean, and its Satterthwaite df; a negative component counts as 0."""
    ms_seeds, ms_problems, ms_error = squares
    total = ms_seeds + ms_problems - ms_error
    if total < max(ms_seeds, ms_problems):
        return max((ms_seeds, float(seeds - 1)), (ms_problems, float(problems - 1)))
    spread = (
        ms_seeds**2 / (seeds - 1)
        + ms_problems**2 / (problems - 1)
        + ms_error**2 / ((seeds - 1) * (problems - 1))
    )
    return total, total**2 / spread if spread > 0 else float(seeds - 1)
