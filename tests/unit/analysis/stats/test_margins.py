"""Equivalence within a share of the control's gain: against scipy's t tests, by simulation, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats as sps

from analysis.stats.inference import tost
from analysis.stats.intervals import paired_t
from analysis.stats.margins import Margin, base_p, margin_p, tost_share


def reference(d: np.ndarray, g: np.ndarray, share: float) -> float:
    above = sps.ttest_1samp(d + share * g, 0, alternative="greater").pvalue
    below = sps.ttest_1samp(d - share * g, 0, alternative="less").pvalue
    return float(max(above, below))


def test_it_is_the_larger_of_two_one_sided_t_tests() -> None:
    rng = np.random.default_rng(5)
    for _ in range(5):
        g = rng.normal(5, 1, 6)
        d = rng.normal(-0.4, 0.5, 6) - 0.1 * g
        assert tost_share(d, g, share=0.25) == pytest.approx(reference(d, g, 0.25), rel=1e-9)
    # By hand: g = 4 always and share 0.25, so the margin is 1: d + 1 has mean 1.2, sd 0.2 and se 0.1 of four,
    # t 12; d − 1 has mean −0.8, t −8, which decides: P(T₃ < −8) = 0.00204.
    d = np.array([0.2, 0.2, 0.2, 0.2]) + 0.2 * np.sqrt(0.75) * np.array([1, 1, -1, -1])
    assert tost_share(d, [4.0] * 4, share=0.25) == pytest.approx(sps.t.sf(8, 3), rel=1e-9)
    assert sps.t.sf(8, 3) == pytest.approx(0.00204, abs=1e-5)


def test_its_size_is_5_percent_at_the_margin_where_a_margin_held_fixed_is_not() -> None:
    """True d = −0.25 · gain, seeds' gains and differences independent: the fixed margin passes too often."""
    rng = np.random.default_rng(11)
    n, runs = 6, 4000
    g = rng.normal(4, 3.0, (runs, n))
    d = rng.normal(-1, 0.4, (runs, n))
    passed = np.mean([(tost_share(a, b, share=0.25) or 1) <= 0.05 for a, b in zip(d, g, strict=True)])
    fixed = np.mean(
        [(tost(a, margin=abs(0.25 * b.mean())).p_value or 1) <= 0.05 for a, b in zip(d, g, strict=True)]
    )
    assert passed == pytest.approx(0.05, abs=0.012)  # three standard errors of 4,000 runs
    assert fixed > 0.1


def test_a_control_that_does_not_gain_can_show_nothing_alike() -> None:
    d = np.array([0.001, -0.001, 0.002, -0.002])
    assert (tost_share(d, [0.01, -0.01, 0.012, -0.013], share=0.25) or 0) > 0.4
    assert (tost_share(d, [-0.1, -0.11, -0.12, -0.09], share=0.25) or 0) > 0.99
    assert tost_share([0.1, 0.1, 0.1], [1.0, 1.0, 1.0], share=0.25) is None  # no spread
    with pytest.raises(ValueError, match="control_gains: 1 values"):
        tost_share([0.1, 0.2, 0.3], [1.0], share=0.25)


def test_an_absolute_margin_is_tost_and_the_base_takes_the_same_test() -> None:
    d, g = np.array([0.01, 0.0, 0.02, 0.01]), np.array([0.02, 0.03, 0.01, 0.02])
    assert margin_p(d, None, Margin(0.03)) == tost(d, margin=0.03).p_value
    assert margin_p(d, None, Margin(0.25, of_gain=True)) is None
    assert base_p(g, Margin(0.03)) == pytest.approx(tost(-g, margin=0.03).p_value)
    # d = −g, so d + s g = −(1 − s) g: by a share below 1 a base that the control beats never passes.
    assert base_p(g, Margin(0.25, of_gain=True)) == pytest.approx(
        sps.ttest_1samp(-0.75 * g, 0, alternative="greater").pvalue
    )


def test_a_margin_is_read_and_told() -> None:
    gain = paired_t([0.05, 0.06, 0.07])
    assert Margin.read(None) is None and Margin.read(0.03) == Margin(0.03)
    quarter = Margin.read({"share": 0.25})
    assert quarter == Margin(0.25, of_gain=True) and quarter.size(gain) == pytest.approx(0.015)
    assert quarter.text(gain, "sft") == "1.5 points, a quarter of sft's gain"
    assert quarter.text(paired_t([-0.1, -0.2, -0.1]), "sft") == "a quarter of sft's gain"
    assert Margin(0.2, of_gain=True).text(None, "sft") == "20 % of sft's gain"
    assert Margin(0.03).text(gain, "sft") == "3.0 points" and quarter.size(None) is None
