"""Bootstraps: secondary views, since percentile intervals undercover at 3–5 seeds.

Each takes a seed of its own, so a report is the same twice. `analysis.stats` re-exports all of it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.stats.intervals import MIN_SEEDS, SEEDS, SEEDS_PROBLEMS, Interval, _bare, _finite


def bootstrap_interval(
    differences: ArrayLike,
    *,
    seed: int,
    statistic: Callable[[NDArray[np.float64]], float] | None = None,
    level: float = 0.95,
    num_resamples: int = 5000,
) -> Interval:
    """Secondary view: percentile bootstrap over seeds (Efron & Tibshirani 1993, ch. 13).

    Undercovers at 3–5 seeds. Resamples the first axis; `statistic` defaults to the mean. Varies: seeds;
    problems fixed.
    """
    d = np.asarray(differences, dtype=float)
    stat = statistic or (lambda x: float(x.mean()))
    if len(d) < MIN_SEEDS:
        reason = f"{len(d)} seeds: 3 are needed for an interval"
        return _bare(stat(d), len(d), level, "percentile bootstrap", SEEDS, reason)
    rows = np.random.default_rng(seed).integers(len(d), size=(num_resamples, len(d)))
    draws = np.array([stat(d[r]) for r in rows])
    return _percentile(stat(d), draws, len(d), level, "percentile bootstrap", SEEDS)


def crossed_bootstrap(
    differences: ArrayLike, *, seed: int, level: float = 0.95, num_resamples: int = 2000
) -> Interval:
    """Secondary view of `crossed_t`: seeds and problems of [S, P] are resampled, each on its own.

    The pigeonhole bootstrap (Owen 2007, arXiv:0706.4235), mean of d[i_1..S][j_1..P]; conservative in its
    variance where both matter, and still a percentile interval. Varies: seeds and problems.
    """
    d = _finite("differences", differences, ndim=2)
    (seeds, problems), method = d.shape, "pigeonhole bootstrap"
    if min(seeds, problems) < MIN_SEEDS:
        reason = f"{seeds} seeds × {problems} problems: 3 of each are needed for an interval"
        return _bare(float(d.mean()), seeds, level, method, SEEDS_PROBLEMS, reason)
    rng = np.random.default_rng(seed)
    rows = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=num_resamples) / seeds  # [R, S]
    columns = rng.multinomial(problems, np.full(problems, 1 / problems), size=num_resamples) / problems
    draws = np.einsum("rs,sp,rp->r", rows, d, columns, optimize=True)
    return _percentile(float(d.mean()), draws, seeds, level, method, SEEDS_PROBLEMS)


def two_sample_bootstrap(
    first: ArrayLike,
    second: ArrayLike,
    *,
    statistic: Callable[[NDArray[np.float64], NDArray[np.float64]], float],
    seed: int,
    level: float = 0.95,
    num_resamples: int = 2000,
) -> Interval:
    """Percentile interval of statistic(first, second), the runs of each arm resampled on their own.

    rliable's stratified bootstrap (arXiv:2108.13264 §4.2): scores are [runs] or [runs, tasks], and each task
    draws its runs anew. It ignores that arms share seeds. Varies: seeds; problems fixed.
    """
    a, b = (np.atleast_2d(np.asarray(x, dtype=float).T).T for x in (first, second))  # [N, K], [M, K]
    estimate, method = float(statistic(a, b)), "stratified bootstrap"
    if min(len(a), len(b)) < MIN_SEEDS:
        reason = f"{min(len(a), len(b))} seeds: 3 are needed for an interval"
        return _bare(estimate, min(len(a), len(b)), level, method, SEEDS, reason)
    rng = np.random.default_rng(seed)
    draw = lambda x: np.take_along_axis(x, rng.integers(len(x), size=x.shape), axis=0)  # noqa: E731
    draws = np.array([statistic(draw(a), draw(b)) for _ in range(num_resamples)])
    return _percentile(estimate, draws, min(len(a), len(b)), level, method, SEEDS)


def _percentile(
    estimate: float, draws: NDArray[np.float64], n: int, level: float, method: str, varies: str
) -> Interval:
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Interval(
        estimate=estimate, low=float(low), high=float(high), level=level, se=float(draws.std(ddof=1)),
        df=None, p_value=None, n=n, method=method, varies=varies,
    )  # fmt: skip
