"""Fieller's interval against test inversion on a grid, and where it has no ends."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats as sps

from analysis.stats.ratio import ratio_of_means


def kept(a: np.ndarray, g: np.ndarray, level: float, grid: np.ndarray) -> np.ndarray:
    """Ratios on the grid that a t test of mean(a − ρ g) = 0 does not reject."""
    return np.array([r for r in grid if sps.ttest_1samp(a - r * g, 0).pvalue > 1 - level])


@pytest.mark.parametrize(("seed", "level"), [(0, 0.95), (1, 0.9), (2, 0.95)])
def test_it_is_the_set_that_the_t_test_does_not_reject(seed: int, level: float) -> None:
    rng = np.random.default_rng(seed)
    g = rng.normal(5, 1.2, 6)
    a = 0.8 * g + rng.normal(0, 0.8, 6)
    found = ratio_of_means(a, g, level)
    grid = np.linspace(-1, 3, 40_001)  # steps of 1e-4
    inside = kept(a, g, level, grid)
    assert found.low == pytest.approx(inside[0], abs=1.1e-4)
    assert found.high == pytest.approx(inside[-1], abs=1.1e-4)
    assert len(inside) == round((inside[-1] - inside[0]) / 1e-4) + 1  # one piece
    assert found.estimate == pytest.approx(a.mean() / g.mean()) and not found.unbounded


def test_a_denominator_that_may_be_0_leaves_no_finite_interval() -> None:
    g, a = np.array([3.0, -1.0, 2.0, 0.5]), np.array([1.0, 0.4, 2.0, 1.0])
    assert sps.ttest_1samp(g, 0).pvalue > 0.05
    found = ratio_of_means(a, g)
    assert found.unbounded and (found.low, found.high) == (None, None)
    assert "holds 0" in (found.reason or "") and found.estimate == pytest.approx(1.1 / 1.125)
    # The set reaches as far as one looks: on one side at least.
    inside = kept(a, g, 0.95, np.array([-1e6, 1e6]))
    assert len(inside) >= 1


def test_few_seeds_no_spread_and_unequal_lists() -> None:
    assert ratio_of_means([1, 2], [2, 2]).reason == "2 seeds: 3 are needed for an interval"
    even = ratio_of_means([5.0, 5.5, 6.0], [10.0, 11.0, 12.0])  # a = g / 2 at each seed: no spread in a − ρ g
    assert even.estimate == 0.5 and even.low is None and "no spread" in (even.reason or "")
    assert ratio_of_means([1.0, 2.0, 3.0], [1.0, -2.0, 1.0]).estimate is None
    with pytest.raises(ValueError, match="denominators: 2 values, numerators has 3"):
        ratio_of_means([1, 2, 3], [1, 2])
