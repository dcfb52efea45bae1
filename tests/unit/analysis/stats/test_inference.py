"""Intervals and tests against scipy, statsmodels or hand-worked numbers; coverage by simulation."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
import scipy.stats as sps

from analysis.calibration.aa import crossed
from analysis.stats.crossed import crossed_t
from analysis.stats.inference import (
    holm,
    loglinear_fit,
    power,
    seeds_needed,
    smallest_detectable,
    tost,
    trend_test,
    variance_components,
)
from analysis.stats.intervals import (
    interquartile_mean,
    mean_squares,
    memorisation_gap,
    paired_t,
    probability_of_improvement,
)

RNG = np.random.default_rng(7)


def test_paired_t_by_hand_and_by_scipy() -> None:
    # d = 1, 2, 3: mean 2, sd 1, se 1/√3, t_{2, .975} = 4.302653: 2 ± 2.484138.
    result = paired_t([1.0, 2.0, 3.0])
    assert (result.estimate, result.low, result.high) == pytest.approx((2.0, -0.484138, 4.484138), abs=1e-6)
    assert "problems are fixed" in result.varies
    d = RNG.normal(0.3, 1, 9)
    result, test = paired_t(d, level=0.9), sps.ttest_1samp(d, 0)
    assert result.p_value == pytest.approx(test.pvalue)
    ci = test.confidence_interval(0.9)
    assert (result.low, result.high) == pytest.approx((ci.low, ci.high))


@pytest.mark.parametrize(
    ("d", "words"), [([0.1], "1 seed: 3"), ([0.1, 0.2], "2 seeds: 3"), ([0.1] * 4, "no spread")]
)
def test_no_interval_says_why(d: list[float], words: str) -> None:
    result = paired_t(d)
    assert result.low is None and result.high is None and result.p_value is None
    assert result.estimate == pytest.approx(np.mean(d))
    assert words in result.reason


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        paired_t([0.1, float("nan"), 0.2])


def test_crossed_t_by_hand() -> None:
    # Seed effects −1, 0, 1 and problem effects −2, 0, 2 added to 5, no residual. MS_S = 3·2/2 = 3, MS_P =
    # 3·8/2 = 12, MS_E = 0: var = 15/9, df = 15² / (9/2 + 144/2) = 225/76.5.
    d = 5 + np.array([-1, 0, 1])[:, None] + np.array([-2, 0, 2])[None, :]
    result = crossed_t(d)
    assert result.estimate == 5
    assert result.se == pytest.approx(sqrt(15 / 9))
    assert result.df == pytest.approx(225 / 76.5)


def test_crossed_t_by_hand_with_more_problems_than_seeds() -> None:
    # Seed effects −1, 0, 1 and problem effects −3, −1, 1, 3, no residual: MS_S = 4·2/2 = 4 with 2 df, MS_P =
    # 3·20/3 = 20 with 3. var = 24/12, df = 24² / (16/2 + 400/3) = 216/53.
    d = 5 + np.array([-1, 0, 1])[:, None] + np.array([-3, -1, 1, 3])[None, :]
    result = crossed_t(d)
    assert result.se == pytest.approx(sqrt(2))
    assert result.df == pytest.approx(216 / 53)


def test_crossed_mean_squares_agree_with_statsmodels() -> None:
    pd, sm = pytest.importorskip("pandas"), pytest.importorskip("statsmodels.formula.api")
    from statsmodels.stats.anova import anova_lm

    d = RNG.normal(size=(4, 6)) + RNG.normal(size=(4, 1)) + 2 * RNG.normal(size=(1, 6))
    frame = pd.DataFrame([(s, p, d[s, p]) for s in range(4) for p in range(6)], columns=["s", "p", "y"])
    ms = anova_lm(sm.ols("y ~ C(s) + C(p)", frame).fit())["mean_sq"]
    total = ms["C(s)"] + ms["C(p)"] - ms["Residual"]
    assert crossed_t(d).se == pytest.approx(sqrt(total / d.size))


@pytest.mark.parametrize(("seeds", "sd_seed", "sd_problem"), [(3, 0.5, 1.0), (5, 1.0, 0.2), (5, 0.0, 0.0)])
def test_crossed_t_covers(seeds: int, sd_seed: float, sd_problem: float) -> None:
    # 2,000 studies: the standard error of a 95 % coverage is 0.5 points; conservative is allowed, under 93.5
    # % is not. `crossed` is the same p-value for many studies at once (test_calibration).
    rng = np.random.default_rng(seeds)
    d = rng.normal(size=(2000, seeds, 12)) + sd_seed * rng.normal(size=(2000, seeds, 1))
    assert (crossed(d + sd_problem * rng.normal(size=(2000, 1, 12))) > 0.05).mean() > 0.935


@pytest.mark.parametrize(("seeds", "widest"), [(3, 1.35), (10, 1.05)])
def test_crossed_t_is_as_wide_as_the_problems_make_it(seeds: int, widest: float) -> None:
    """Known variances allow, if problems dominate, 1.96 sd of the mean; 3 seeds may cost a third more."""
    rng = np.random.default_rng(seeds)
    sd = sqrt(0.01**2 / seeds + 0.3**2 / 120 + 0.2**2 / (120 * seeds))
    halves, held = [], 0
    for _ in range(200):
        d = 0.2 * rng.normal(size=(seeds, 120)) + 0.3 * rng.normal(size=(1, 120))
        found = crossed_t(d + 0.01 * rng.normal(size=(seeds, 1)))
        halves.append((found.high - found.low) / 2)
        held += found.low <= 0 <= found.high
    assert 0.97 < np.median(halves) / (1.96 * sd) < widest
    assert held / 200 > 0.91  # 0.95 less 2.6 of its standard errors


@pytest.mark.parametrize(("seeds", "sd_problem"), [(3, 0.0), (3, 0.3), (5, 0.1)])
def test_crossed_t_agrees_with_a_million_draws(seeds: int, sd_problem: float) -> None:
    """The definition by brute force: P(|N(0, V)| >= |mean|) at either end of the interval is 0.05."""
    rng = np.random.default_rng(11)
    d = 0.2 * rng.normal(size=(seeds, 40)) + sd_problem * rng.normal(size=(1, 40))
    found = crossed_t(d)
    dfs = (seeds - 1, 39, (seeds - 1) * 39)
    row, column, error = (
        ms * df / rng.chisquare(df, 10**6) for ms, df in zip(mean_squares(d), dfs, strict=True)
    )
    variance = np.maximum(row + column - error, np.minimum(row, column)) / d.size
    beyond = np.abs(rng.normal(size=10**6)) * np.sqrt(variance) >= (found.high - found.low) / 2
    assert beyond.mean() == pytest.approx(0.05, abs=0.0015)


def test_crossed_t_needs_three_of_each() -> None:
    assert "2 seeds × 5 problems" in crossed_t(np.ones((2, 5))).reason


def test_memorisation_gap_is_paired_by_problem() -> None:
    train, perturbed = RNG.uniform(size=20), RNG.uniform(size=20)
    result = memorisation_gap(train, perturbed)
    assert result.p_value == pytest.approx(sps.ttest_rel(train, perturbed).pvalue)
    assert result.estimate == pytest.approx((train - perturbed).mean())
    with pytest.raises(ValueError, match="3 problems, first has 2"):
        memorisation_gap([1, 0], [1, 0, 1])


def test_interquartile_mean() -> None:
    # 1..8: drop two from each end, mean(3, 4, 5, 6) = 4.5; rliable is scipy's 25 % trimmed mean.
    assert interquartile_mean([8, 1, 2, 7, 3, 6, 4, 5]) == 4.5
    scores = RNG.normal(size=(5, 7))
    assert interquartile_mean(scores) == pytest.approx(sps.trim_mean(scores, 0.25, axis=None))


def test_probability_of_improvement() -> None:
    # (1, 3) against (2, 3): 1>2 no, 1>3 no, 3>2 yes, 3=3 half: 1.5 / 4.
    assert probability_of_improvement([1, 3], [2, 3]) == 0.375
    a, b = RNG.integers(0, 9, (5, 3)), RNG.integers(0, 9, (4, 3))
    u = [sps.mannwhitneyu(a[:, k], b[:, k]).statistic / 20 for k in range(3)]
    assert probability_of_improvement(a, b) == pytest.approx(np.mean(u))


def test_holm() -> None:
    # Sorted .01, .02, .04 times 3, 2, 1: .03, .04, .04.
    assert holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    multipletests = pytest.importorskip("statsmodels.stats.multitest").multipletests
    p = list(RNG.uniform(size=8) ** 3)
    assert holm(p) == pytest.approx(list(multipletests(p, method="holm")[1]))
    assert holm([]) == []
    with pytest.raises(ValueError, match="p_values"):
        holm([1.2])


def test_tost_agrees_with_statsmodels() -> None:
    weightstats = pytest.importorskip("statsmodels.stats.weightstats")
    d = RNG.normal(0.1, 0.5, 8)
    expected = weightstats.DescrStatsW(d).ttost_mean(-1, 1)[0]
    result = tost(d, margin=1.0)
    assert result.p_value == pytest.approx(expected)
    # Equivalence at alpha is the (1 − 2 alpha) interval lying inside the margin.
    for margin in (0.2, 0.4, 0.6, 0.9):
        result = tost(d, margin=margin)
        assert result.equivalent == (-margin < result.interval.low and result.interval.high < margin)
    assert not tost([0.0, 0.1], margin=1).equivalent
    with pytest.raises(ValueError, match="margin=0"):
        tost(d, margin=0)


def test_the_interval_of_tost_is_the_one_of_twice_its_alpha() -> None:
    # d = 1, 2, 3: mean 2, se 1/√3, t_{2, .95} = 2.919986: 2 ± 1.685854, the 90 % interval.
    interval = tost([1.0, 2.0, 3.0], margin=4.0).interval
    assert (interval.low, interval.high) == pytest.approx((0.314146, 3.685854), abs=1e-6)


def test_power_agrees_with_statsmodels() -> None:
    solver = pytest.importorskip("statsmodels.stats.power").TTestPower()
    for n, effect in [(3, 1.0), (5, 0.7), (10, 2.0), (40, 0.3)]:
        assert power(effect=effect, sd=1, num_seeds=n) == pytest.approx(
            solver.power(effect, n, 0.05), abs=1e-6
        )
    assert power(effect=0, sd=2, num_seeds=5) == pytest.approx(0.05)
    assert power(effect=1e4, sd=1, num_seeds=5) == 1.0


def test_planning_inverts_power() -> None:
    effect = smallest_detectable(sd=2.0, num_seeds=5)
    assert power(effect=effect, sd=2.0, num_seeds=5) == pytest.approx(0.8)
    n = seeds_needed(effect=3, sd=4)
    assert power(effect=3, sd=4, num_seeds=n) >= 0.8 > power(effect=3, sd=4, num_seeds=n - 1)
    assert seeds_needed(effect=100, sd=1) == 3
    with pytest.raises(ValueError, match="effect=0"):
        seeds_needed(effect=0, sd=1)
    with pytest.raises(ValueError, match="more than"):
        seeds_needed(effect=1e-6, sd=1)


def test_trend_is_t_on_slopes() -> None:
    y = RNG.normal(size=(6, 4)) + np.arange(4)
    slopes = [np.polyfit(range(4), row, 1)[0] for row in y]
    result = trend_test(y)
    assert result.estimate == pytest.approx(np.mean(slopes))
    assert result.p_value == pytest.approx(sps.ttest_1samp(slopes, 0).pvalue)
    with pytest.raises(ValueError, match="not all equal"):
        trend_test(y, x=[1, 1, 1, 1])


def test_loglinear_fit_agrees_with_linregress() -> None:
    x = np.array([0.2e6, 0.4e6, 2e6, 10e6] * 3)
    y = 10 + 7 * np.log10(x) + RNG.normal(size=12)
    result, theirs = loglinear_fit(x, y), sps.linregress(np.log10(x), y)
    assert (result.slope, result.intercept, result.r_squared) == pytest.approx(
        (theirs.slope, theirs.intercept, theirs.rvalue**2)
    )
    with pytest.raises(ValueError, match="x > 0"):
        loglinear_fit([0, 1, 2], [1, 2, 3])


def test_variance_components_are_unbiased() -> None:
    # True variances: bases 1, seeds 4, problems 9, base×problem 2.25, residual 1; large enough that none is
    # cut at 0.
    rng, found = np.random.default_rng(3), []
    for _ in range(1500):
        y = rng.normal(size=(6, 5, 10)) + 1.5 * rng.normal(size=(6, 1, 10)) + 3 * rng.normal(size=(1, 1, 10))
        y = y + 2 * rng.normal(size=(6, 5, 1)) + 1.5 * rng.normal(size=(6, 1, 1))
        v = variance_components(y)
        found.append((v.bases, v.seeds, v.problems, v.interactions))
    assert np.mean(found, axis=0) == pytest.approx((2.25, 4, 9, 3.25), rel=0.06)


def test_variance_components_by_hand() -> None:
    # One base, seed effects ±1, problem effects −2, 0, 2, no residual: sample variances 2 and 4, the
    # remainder 0.
    y = np.array([-1, 1])[None, :, None] + np.array([-2, 0, 2])[None, None, :]
    v = variance_components(y)
    assert (v.seeds, v.problems, v.interactions, v.bases) == (
        pytest.approx(2),
        pytest.approx(4),
        pytest.approx(0),
        None,
    )
    # Seeds 0, 0 and 2, 4 on two problems: mean 3/2, MS_S = 2·2·(3/2)² = 9, MS_P = 2·2·(1/2)² = 1, MS_E = 11 −
    # 9 − 1 = 1. Seeds (9 − 1)/2, problems (1 − 1)/2, the remainder 1.
    v = variance_components(np.array([[[0.0, 0.0], [2.0, 4.0]]]))
    assert (v.seeds, v.problems, v.interactions) == pytest.approx((4, 0, 1))
    # Cells of 1/2 with 4 samples: 1/4 / 3.
    assert variance_components(np.full((1, 2, 3), 0.5), num_samples=4).sampling == pytest.approx(1 / 12)
    assert variance_components(np.zeros((2, 1, 3))).seeds is None


def test_generalised_p_is_the_integral_over_each_chi_square() -> None:
    """By brute force: draw each mean square back from its chi-square, and a normal with that variance."""
    d = RNG.normal(size=(4, 30)) + 0.4 * RNG.normal(size=(4, 1)) + 0.3 * RNG.normal(size=(1, 30)) + 0.3
    result = crossed_t(d)
    rng, n = np.random.default_rng(4), 400_000
    mean_s, mean_p = d.mean(axis=1), d.mean(axis=0)
    ss = [30 * ((mean_s - d.mean()) ** 2).sum(), 4 * ((mean_p - d.mean()) ** 2).sum()]
    ss.append(((d - d.mean()) ** 2).sum() - sum(ss))
    a, b, c = (x / rng.chisquare(df, n) for x, df in zip(ss, (3, 29, 87), strict=True))
    draws = rng.normal(size=n) * np.sqrt(np.maximum(a + b - c, np.minimum(a, b)) / d.size)
    assert result.p_value == pytest.approx((np.abs(draws) >= abs(d.mean())).mean(), abs=0.004)
    assert result.high - result.estimate == pytest.approx(np.quantile(np.abs(draws), 0.95), rel=0.03)
    assert crossed_t(d) == result


def test_crossed_t_holds_its_error_where_seeds_matter() -> None:
    # A t with Satterthwaite's df rejects a null here at 0.0167 in about 5 % of studies (3 seeds).
    rng = np.random.default_rng(8)
    d = rng.normal(size=(2000, 3, 40)) + 0.3 * rng.normal(size=(2000, 3, 1))
    assert (crossed(d) <= 0.05 / 3).mean() < 0.0253  # 0.0167 and three of its standard errors
