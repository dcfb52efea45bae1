"""Intervals on differences between arms. Each names its method and what varies in it.

Scores are in the caller's unit (accuracies in [0, 1], or points).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

MIN_SEEDS = 3

SEEDS = "rollout and training seeds; the problems are fixed"
SEEDS_PROBLEMS = "seeds and problems, crossed"
PROBLEMS = "problems; the trained models are fixed"


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with a two-sided interval. `low`, `high`, `p_value` are None where `reason` says why.

    `p_value` is that of the two-sided test of no difference; `varies` says what would be drawn anew.
    """

    estimate: float
    low: float | None
    high: float | None
    level: float
    se: float | None
    df: float | None
    p_value: float | None
    n: int
    method: str
    varies: str
    reason: str | None = None

    @property
    def width(self) -> float | None:
        """high − low, or None without an interval."""
        return None if self.low is None or self.high is None else self.high - self.low


def paired_t(differences: ArrayLike, *, level: float = 0.95, varies: str = SEEDS) -> Interval:
    """Primary interval: Student's t on per-seed differences d_s between two arms that share seeds and
    problems.

        mean(d) ± t_{n−1, (1+level)/2} · sd(d) / √n                            (Student 1908)

    Varies: seeds (problems fixed); conditional on the base when the arms share one, which the caller adds to
    `varies`. Fewer than 3 seeds, or no spread between them, give an estimate without an interval and say so.
    Raises ValueError for no differences or a non-finite one.
    """
    d = _finite("differences", differences, ndim=1)
    n, estimate = len(d), float(d.mean())
    if n < MIN_SEEDS:
        return _bare(
            estimate, n, level, "paired t", varies, f"{n} seed{'s' * (n > 1)}: 3 are needed for an interval"
        )
    se = float(d.std(ddof=1)) / sqrt(n)
    if se <= 1e-12 * max(1.0, abs(estimate)):
        return _bare(
            estimate, n, level, "paired t", varies, "no spread between seeds: an interval is not estimable"
        )
    return _student(estimate, se, n - 1, n, level, "paired t", varies)


def welch_t(first: ArrayLike, second: ArrayLike, *, level: float = 0.95, varies: str = SEEDS) -> Interval:
    """Welch's unpaired t on mean(first) − mean(second), for arms that share nothing by seed.

        se² = s₁²/n₁ + s₂²/n₂,  df = se⁴ / ((s₁²/n₁)²/(n₁−1) + (s₂²/n₂)²/(n₂−1))        (Welch 1947)

    With a base and problems that all seeds share, seed s of one arm has no more in common with seed s of
    another than with any other seed; pairing would halve the degrees of freedom. `n` is the smaller number of
    seeds. Fewer than 3 on a side, or no spread, give an estimate without an interval.
    """
    a, b = _finite("first", first, ndim=1), _finite("second", second, ndim=1)
    n, estimate, method = min(len(a), len(b)), float(a.mean() - b.mean()), "Welch t"
    if not n >= MIN_SEEDS:
        reason = f"{n} seed{'s' * (n > 1)}: 3 are needed for an interval"
        return _bare(estimate, n, level, method, varies, reason)
    parts = [float(x.var(ddof=1)) / len(x) for x in (a, b)]
    se = sqrt(sum(parts))
    if not se > 1e-12 * max(1.0, abs(estimate)):
        reason = "no spread between seeds: an interval is not estimable"
        return _bare(estimate, n, level, method, varies, reason)
    df = sum(parts) ** 2 / sum(v**2 / (len(x) - 1) for v, x in zip(parts, (a, b), strict=True))
    return _student(estimate, se, df, n, level, method, varies)


def mean_squares(d: NDArray[np.float64]) -> tuple[float, float, float]:
    """Two-way mean squares of [S, P] without replication: rows, columns, residual."""
    rows, columns = d.shape
    row_effect = d.mean(axis=1, keepdims=True) - d.mean()
    column_effect = d.mean(axis=0, keepdims=True) - d.mean()
    residual = d - d.mean() - row_effect - column_effect
    return (
        float(columns * (row_effect**2).sum() / (rows - 1)),
        float(rows * (column_effect**2).sum() / (columns - 1)),
        float((residual**2).sum() / ((rows - 1) * (columns - 1))),
    )


def problems_t(first: ArrayLike, second: ArrayLike, *, level: float = 0.95) -> Interval:
    """Paired t over problems: mean_p(first_p − second_p). Varies: problems; the trained models are fixed."""
    a, b = _finite("first", first, ndim=1), _finite("second", second, ndim=1)
    if a.shape != b.shape:
        raise ValueError(
            f"second: {len(b)} problems, first has {len(a)}; give the same problems in one order"
        )
    return paired_t(a - b, level=level, varies=PROBLEMS)


def memorisation_gap(train: ArrayLike, perturbed: ArrayLike, *, level: float = 0.95) -> Interval:
    """Accuracy on training problems minus accuracy on their perturbations, paired by problem.

    gap = mean_i(train_i − perturbed_i), t over the pairs; 0 where nothing but the numbers was learnt by heart
    would raise it. One model's gap varies over problem pairs; for an arm, give per-seed gaps to `paired_t`.
    """
    return problems_t(train, perturbed, level=level)


def interquartile_mean(scores: ArrayLike) -> float:
    """Mean of the middle half of all run × task scores (rliable, arXiv:2108.13264 §4.3).

    As rliable computes it: sort, drop floor(n / 4) from each end, average.
    """
    flat = np.sort(_finite("scores", np.ravel(np.asarray(scores, dtype=float)), ndim=1))
    cut = len(flat) // 4
    return float(flat[cut : len(flat) - cut].mean())


def probability_of_improvement(first: ArrayLike, second: ArrayLike) -> float:
    """P(a run of `first` beats a run of `second`), ties half, averaged over tasks.

    rliable, arXiv:2108.13264 §4.3. Scores [runs, tasks] (or [runs]); the two may differ in runs. Per task it
    is the Mann–Whitney U / (N M).
    """
    a, b = (np.atleast_2d(np.asarray(x, dtype=float).T).T for x in (first, second))  # [N, K], [M, K]
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"second: {b.shape[1]} tasks, first has {a.shape[1]}; give the same tasks")
    wins = (a[:, None, :] > b[None, :, :]) + 0.5 * (a[:, None, :] == b[None, :, :])  # [N, M, K]
    return float(wins.mean())


def student_p(t: float, df: float) -> float:
    """Two-sided p-value of a t statistic."""
    from scipy.special import stdtr

    return float(2 * stdtr(df, -abs(t)))


def student_quantile(df: float, q: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(df, q))


def _student(
    estimate: float, se: float, df: float, n: int, level: float, method: str, varies: str
) -> Interval:
    half = student_quantile(df, (1 + level) / 2) * se
    return Interval(
        estimate=estimate,
        low=estimate - half,
        high=estimate + half,
        level=level,
        se=se,
        df=float(df),
        p_value=student_p(estimate / se, df),
        n=n,
        method=method,
        varies=varies,
    )


def _bare(estimate: float, n: int, level: float, method: str, varies: str, reason: str) -> Interval:
    return Interval(
        estimate=estimate,
        low=None,
        high=None,
        level=level,
        se=None,
        df=None,
        p_value=None,
        n=n,
        method=method,
        varies=varies,
        reason=reason,
    )


def _finite(name: str, values: ArrayLike | Sequence[float], *, ndim: int) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=float)
    if array.ndim != ndim or array.size == 0:
        raise ValueError(f"{name}: shape {array.shape}; give a non-empty array with {ndim} axes")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: holds NaN or infinity; leave failed runs out and list them")
    return array


def wilson(share: float, n: int, *, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share of n independent trials (Wilson 1927), in [0, 1].

    It has a width at 0 of n and at n of n, where the standard error is 0 and says nothing: 0 of 3 is
    [0, 0.56]. Varies: the trials. Raises ValueError for no trials.
    """
    if n < 1:
        raise ValueError(f"n={n}: give one trial or more")
    z = NormalDist().inv_cdf((1 + level) / 2)
    centre, spread = share + z * z / (2 * n), z * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)
