"""Fieller's interval against the test that it inverts, its coverage, and where no interval exists."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats as sps

from analysis.stats.ratio import UNBOUNDED, ratio_of_means, share_of_gain


def accepted(x: np.ndarray, y: np.ndarray, rho: float, level: float = 0.95) -> bool:
    """Whether the t test of mean(x − ρ y) = 0 does not reject ρ."""
    return bool(sps.ttest_1samp(x - rho * y, 0).pvalue >= 1 - level)


@pytest.mark.parametrize("seed", range(6))
def test_the_ends_are_where_the_t_test_begins_to_reject(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = rng.normal(5.0, 1.0, 6)
    x = 0.5 * y + rng.normal(0, 1.0, 6)
    found = ratio_of_means(x, y)
    assert found is not None and found.low is not None and found.high is not None
    assert found.estimate == pytest.approx(x.mean() / y.mean()) and found.low < found.estimate < found.high
    step = 1e-6
    assert accepted(x, y, found.low + step) and not accepted(x, y, found.low - step)
    assert accepted(x, y, found.high - step) and not accepted(x, y, found.high + step)
    assert found.p_value == pytest.approx(sps.ttest_1samp(x, 0).pvalue)
    wider = ratio_of_means(x, y, level=0.99)
    assert wider is not None and wider.low < found.low and wider.high > found.high


def test_it_covers_the_ratio_of_correlated_means() -> None:
    """True ratio 0.4; 2,000 studies of 5 seeds: 95 % within three standard errors of 0.5 points."""
    rng = np.random.default_rng(7)
    hits = 0
    for _ in range(2000):
        y = rng.normal(5.0, 1.5, 5)
        x = 0.8 * (y - 5.0) + 2.0 + rng.normal(0, 1.0, 5)
        found = ratio_of_means(x, y)
        # Unbounded sets belong to the method's coverage: ask the test itself.
        inside = accepted(x, y, 0.4) if found.low is None else found.low <= 0.4 <= found.high
        hits += inside
    assert abs(hits / 2000 - 0.95) < 0.015


def test_a_denominator_that_is_not_told_from_0_has_no_interval() -> None:
    x, y = np.array([1.0, 2.0, 3.0]), np.array([-1.0, 2.0, 0.5])
    assert sps.ttest_1samp(y, 0).pvalue > 0.05
    found = ratio_of_means(x, y)
    assert found is not None and (found.low, found.high, found.reason) == (None, None, UNBOUNDED)
    assert found.estimate == pytest.approx(4.0)  # 2 / 0.5


def test_what_has_no_ratio_or_no_spread() -> None:
    assert ratio_of_means([1.0, 2.0], [1.0, -1.0]) is None
    two = ratio_of_means([1.0, 2.0], [2.0, 4.0])
    assert two is not None and two.estimate == 0.5 and two.low is None and two.reason.startswith("2 seeds")
    exact = ratio_of_means([1.0, 2.0, 3.0], [2.0, 4.0, 6.0])
    assert exact is not None and exact.estimate == 0.5 and exact.low is None and "no spread" in exact.reason
    with pytest.raises(ValueError, match="denominators: 1 values, numerators have 2"):
        ratio_of_means([1.0, 2.0], [1.0])


def test_a_share_of_a_loss_is_none() -> None:
    parts, gains = [2.0, 3.0, 2.5], [4.0, 6.5, 5.0]
    assert share_of_gain(parts, gains) == ratio_of_means(parts, gains)
    lost, losses = [-2.0, -3.0, -2.5], [-4.0, -6.5, -5.0]  # their ratio is that of the gains: 7.5 / 15.5
    ratio = ratio_of_means(lost, losses)
    assert ratio is not None and ratio.estimate == pytest.approx(7.5 / 15.5) and ratio.low is not None
    assert share_of_gain(lost, losses) is None
