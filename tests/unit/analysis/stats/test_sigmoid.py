"""Saturation curves of known truth: what is fitted, forecast, and left unclaimed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import curve_fit

from analysis.stats.intervals import paired_t
from analysis.stats.sigmoid import Sigmoid, fit_sigmoid, forecast

STEPS = np.array([12, 24, 36, 48, 72, 96, 144, 192, 288, 384, 576, 768], dtype=float)


def curve(asymptote: float, midpoint: float, slope: float, *, start: float = 0.14) -> Sigmoid:
    return Sigmoid(start, asymptote, midpoint, slope, 0.0, True)


def test_the_curve_by_hand() -> None:
    # Half of the rise at the midpoint; at three times it, slope 2: 1 / (1 + 1/9) = .9
    found = curve(0.5, 100.0, 2.0, start=0.1)
    assert found.at([100.0, 300.0, 1e9]).tolist() == pytest.approx([0.3, 0.1 + 0.4 * 0.9, 0.5])


@pytest.mark.parametrize(
    ("asymptote", "midpoint", "slope"),
    [(0.36, 90.0, 1.3), (0.9, 30.0, 0.7), (0.2, 200.0, 4.0), (0.05, 60.0, 1.5)],
    ids=["usual", "early and slow", "late and steep", "a fall"],
)
def test_a_curve_without_noise_is_found(asymptote: float, midpoint: float, slope: float) -> None:
    truth = curve(asymptote, midpoint, slope)
    found = fit_sigmoid(STEPS, truth.at(STEPS), start=0.14)
    assert found.asymptote == pytest.approx(asymptote, abs=1e-4)
    assert found.midpoint == pytest.approx(midpoint, rel=1e-3)
    assert found.slope == pytest.approx(slope, rel=1e-3)
    assert found.rmse < 1e-5
    # The last point has made 1 / (1 + (M / 768)^B) of the rise.
    assert found.reached == (1 / (1 + (midpoint / 768) ** slope) >= 0.8)


@pytest.mark.parametrize("seed", range(5))
def test_it_fits_no_worse_than_scipys_least_squares(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = curve(0.36, 90.0, 1.3).at(STEPS) + rng.normal(0, 0.01, len(STEPS))

    def model(x: np.ndarray, a: float, log_m: float, log_b: float) -> np.ndarray:
        return 0.14 + (a - 0.14) / (1 + (np.exp(log_m) / x) ** np.exp(log_b))

    parameters, _ = curve_fit(model, STEPS, y, p0=[0.36, np.log(90), np.log(1.3)], maxfev=10_000)
    theirs = np.sqrt(np.mean((model(STEPS, *parameters) - y) ** 2))
    found = fit_sigmoid(STEPS, y, start=0.14)
    assert found.rmse <= theirs * (1 + 1e-6)
    assert found.asymptote == pytest.approx(parameters[0], abs=1e-4)


def test_the_interval_of_asymptotes_over_seeds_covers_the_truth() -> None:
    """120 studies of 5 seeds, asymptotes 36 ± 2 points, scores off by 0.8: 95 %, ± 3 Monte-Carlo SE."""
    rng, covered, errors = np.random.default_rng(1), 0, []
    for _ in range(120):
        found = []
        for true in rng.normal(0.36, 0.02, 5):
            y = curve(float(true), 90.0, 1.3).at(STEPS) + rng.normal(0, 0.008, len(STEPS))
            found.append(fit_sigmoid(STEPS, y, start=0.14).asymptote)
        interval = paired_t(found)
        assert interval.low is not None and interval.high is not None
        covered += interval.low <= 0.36 <= interval.high
        errors.append(interval.estimate - 0.36)
    assert covered / 120 == pytest.approx(0.95, abs=0.06)
    assert abs(np.mean(errors)) < 0.004


def test_a_curve_that_has_not_bent_is_not_called_reached() -> None:
    """Half of the rise lies behind the last point: at most one run in ten may pass for one that ends."""
    rng = np.random.default_rng(2)
    late = [
        fit_sigmoid(STEPS, curve(0.5, 768.0, 1.3).at(STEPS) + rng.normal(0, 0.008, 12), start=0.14)
        for _ in range(60)
    ]
    assert sum(fit.reached for fit in late) <= 6
    done = [
        fit_sigmoid(STEPS, curve(0.36, 60.0, 1.3).at(STEPS) + rng.normal(0, 0.008, 12), start=0.14)
        for _ in range(60)
    ]
    assert sum(fit.reached for fit in done) >= 54


def test_the_forecast_reads_the_first_quarter_alone() -> None:
    truth = curve(0.36, 40.0, 1.5)
    y = truth.at(STEPS)
    found = forecast(STEPS, y, start=0.14)
    assert found is not None
    # 768 / 4 = 192, so eight points; the score held is that of step 192.
    assert (found.x, found.held, found.observed) == (768.0, y[7], y[-1])
    assert found.error == pytest.approx(0.0, abs=1e-4)
    assert found.held_error == pytest.approx(truth.at([192.0])[0] - truth.at([768.0])[0])
    changed = y.copy()
    changed[8:] = 0.9  # behind the quarter
    other = forecast(STEPS, changed, start=0.14)
    assert other is not None and other.predicted == found.predicted
    assert other.error == pytest.approx(found.predicted - 0.9)


def test_the_forecast_beats_holding_where_the_curve_goes_on_rising() -> None:
    rng, errors, held = np.random.default_rng(3), [], []
    for _ in range(60):
        y = curve(0.36, 150.0, 1.8).at(STEPS) + rng.normal(0, 0.002, 12)
        found = forecast(STEPS, y, start=0.14)
        assert found is not None
        errors.append(found.error)
        held.append(found.held_error)
    assert np.sqrt(np.mean(np.square(errors))) < 0.6 * np.sqrt(np.mean(np.square(held)))


def test_too_few_points_give_no_forecast_and_nonsense_is_refused() -> None:
    few = np.array([100.0, 200.0, 300.0, 400.0, 800.0])
    assert forecast(few, few / 1000, start=0.1) is None
    with pytest.raises(ValueError, match="3 and 3 points; give as many of each, 4 or more"):
        fit_sigmoid(few[:3], few[:3], start=0.1)
    with pytest.raises(ValueError, match="must increase from above 0"):
        fit_sigmoid(few - 100, few / 1000, start=0.1)
    with pytest.raises(ValueError, match="must increase from above 0"):
        fit_sigmoid(few[::-1], few / 1000, start=0.1)
    with pytest.raises(ValueError, match="must be finite"):
        fit_sigmoid(few, few * np.nan, start=0.1)


def test_an_asymptote_stays_an_accuracy() -> None:
    rising = fit_sigmoid(STEPS, STEPS / 800, start=0.0)
    falling = fit_sigmoid(STEPS, 0.5 - STEPS / 1600, start=0.5)
    assert rising.asymptote <= 1.0 and falling.asymptote >= 0.0
