"""The saturation curve of a run, R = R0 + (A - R0) / (1 + (M / x)^B), and what its beginning forecasts.

ScaleRL, arXiv:2510.13786 eq. 1: asymptote A, midpoint M (where half of the rise is done) and slope B over
compute x; R0 is the untrained base's score, which is measured and not fitted.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

MIN_POINTS = 4  # one more than the parameters
SLOPES = (0.25, 8.0)
MIDPOINTS = 4.0  # searched from the first x / 4 to the last x × 4
REACHED = 0.8  # part of the rise that the last point must have made
_GRID, _ROUNDS = 41, 7  # each round searches a quarter of the last one's width around its best


@dataclass(frozen=True, slots=True)
class Sigmoid:
    """A fitted curve; scores in the unit of y, `midpoint` in that of x, `rmse` of the points fitted.

    `reached`: the last point has made 80 % of the fitted rise and the slope lies inside what is searched.
    Otherwise the asymptote is extrapolated and no number to rely on.
    """

    start: float
    asymptote: float
    midpoint: float
    slope: float
    rmse: float
    reached: bool

    def at(self, x: ArrayLike) -> np.ndarray:
        """The curve's scores at x > 0."""
        share = 1 / (1 + (self.midpoint / np.asarray(x, dtype=float)) ** self.slope)
        return self.start + (self.asymptote - self.start) * share


@dataclass(frozen=True, slots=True)
class Forecast:
    """The score at x by the curve through the points up to a share of x, and by holding their last one."""

    x: float
    predicted: float
    held: float
    observed: float

    @property
    def error(self) -> float:
        """Predicted minus observed."""
        return self.predicted - self.observed

    @property
    def held_error(self) -> float:
        """The last point fitted minus the observed one: what a forecast has to beat."""
        return self.held - self.observed


def fit_sigmoid(x: ArrayLike, y: ArrayLike, *, start: float) -> Sigmoid:
    """Least squares over A in [0, 1], M and B, by a grid that is refined around its best point.

    For given M and B the best A is linear least squares, so the grid has two dimensions. Deterministic.
    Raises ValueError for fewer than four points, or x that do not increase from above 0.
    """
    xs, ys = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    _check(xs, ys, start)
    low = np.log([xs[0] / MIDPOINTS, SLOPES[0]])
    high = np.log([xs[-1] * MIDPOINTS, SLOPES[1]])
    centre, width = (low + high) / 2, high - low
    for _ in range(_ROUNDS):
        sides = [
            np.clip(c + w * np.linspace(-0.5, 0.5, _GRID), lo, hi)
            for c, w, lo, hi in zip(centre, width, low, high, strict=True)
        ]
        log_m, log_b = (side.ravel() for side in np.meshgrid(*sides, indexing="ij"))
        rise, sse = _best_rises(xs, ys - start, np.exp(log_m), np.exp(log_b), (-start, 1 - start))
        best = int(np.argmin(sse))
        centre, width = np.array([log_m[best], log_b[best]]), width / 4
    midpoint, slope = (float(v) for v in np.exp(centre))
    share = 1 / (1 + (midpoint / xs[-1]) ** slope)
    inside = bool(low[1] + 1e-6 < centre[1] < high[1] - 1e-6)
    return Sigmoid(
        start=start,
        asymptote=start + float(rise[best]),
        midpoint=midpoint,
        slope=slope,
        rmse=float(np.sqrt(sse[best] / len(xs))),
        reached=bool(share >= REACHED) and inside,
    )


def forecast(x: ArrayLike, y: ArrayLike, *, start: float, share: float = 0.25) -> Forecast | None:
    """The last point, forecast from those up to `share` of its x; None where these are fewer than four."""
    xs, ys = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    _check(xs, ys, start)
    first = xs <= share * xs[-1]
    if first.sum() < MIN_POINTS:
        return None
    curve = fit_sigmoid(xs[first], ys[first], start=start)
    predicted = float(curve.at(xs[-1]))
    return Forecast(float(xs[-1]), predicted, float(ys[first][-1]), float(ys[-1]))


def _best_rises(
    x: np.ndarray, risen: np.ndarray, midpoints: np.ndarray, slopes: np.ndarray, bounds: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """(rise A - R0, sum of squares) of each (midpoint, slope) [C], by least squares within `bounds`."""
    with np.errstate(over="ignore"):
        shares = 1 / (1 + (midpoints[:, None] / x[None, :]) ** slopes[:, None])  # [C, points]
    weight = np.maximum((shares**2).sum(axis=1), 1e-300)
    rise = np.clip((shares @ risen) / weight, *bounds)
    return rise, ((risen[None, :] - rise[:, None] * shares) ** 2).sum(axis=1)


def _check(x: np.ndarray, y: np.ndarray, start: float) -> None:
    if len(x) != len(y) or len(x) < MIN_POINTS:
        raise ValueError(f"x, y: {len(x)} and {len(y)} points; give as many of each, {MIN_POINTS} or more")
    if x[0] <= 0 or any(a >= b for a, b in pairwise(x)):
        raise ValueError("x: must increase from above 0; the base is `start`")
    if not (np.isfinite(y).all() and np.isfinite(start)):
        raise ValueError("y, start: must be finite; leave out what was not measured")
