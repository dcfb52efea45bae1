"""Intervals and p-values of a t after looks that decided whether to add seeds.

Two rules, each declared before the first look, at numbers of seeds n_1 < ... < n_K (the cap):

- **Until a verdict**: stopping looks at the difference itself. Looked at nine times (4, 6, ..., 20 seeds), a
  t that is never adjusted finds a difference that is not there in 18 % of studies. Here look k spends what is
  left of alpha (n_k/n_K)^2 (Lan & DeMets 1983; power family of Kim & DeMets 1987). The repeated confidence
  intervals of Jennison & Turnbull (1989) hold at every look together, so that whatever stopped the study, the
  last one covers.
- **Until a half width**: stopping looks at the spread alone, of which the mean of normal differences is
  independent. A spread that looks small by chance stops too early: the plain t covers 91.6 % at worst. Its
  level is raised so far that 95 % are left at the worst ratio of spread to half width.

Either rule maps a level alpha to the *nominal* level of a plain interval at the same look, and a plain p back
to an adjusted one. So every estimator stays as it is, paired or Welch, and TOST too: its p is one-sided, half
of a two-sided one. The map is exact for paired normal differences; for Welch's t, whose degrees of freedom
are more, it is the significance-level approach (Jennison & Turnbull 2000, ch. 4) and errs by less.

Why spending: a confidence sequence needs no cap and pays for it. Lai's (1976, Ann. Stat. 4:265) for the t is
1.77 times as wide as the plain t at 8 to 20 seeds; these are 1.74 times at 8, 1.43 at 12, 1.15 at 20.
An exponent of 3, which is near O'Brien & Fleming's, gives 2.00, 1.51 and 1.10.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log, sqrt

import numpy as np
from numpy.typing import NDArray

from analysis.stats.intervals import Interval, student_p, student_quantile
from analysis.stats.stopping import verdict_levels, width_levels

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Looks:
    """A declared rule and the looks made by it, as numbers of seeds.

    `schedule` has every planned look, the cap last; `counts` those made. `by_width`: stopping by the half
    width of the interval of level 1 − `alpha`; else by the verdict.
    """

    schedule: tuple[int, ...]
    counts: tuple[int, ...] = ()
    by_width: bool = False
    alpha: float = 0.05

    def nominal(self, alpha: float, n: int) -> float:
        """Level of the plain two-sided test whose interval at `n` seeds keeps 1 − alpha over all looks."""
        alphas, levels = self._table(n)
        if alpha <= alphas[0]:
            return float(alpha * levels[0] / alphas[0])
        return float(np.exp(np.interp(log(alpha), np.log(alphas), np.log(levels))))

    def p_value(self, p: float, n: int) -> float:
        """Adjusted two-sided p at `n` seeds: the alpha whose nominal level is `p`. At most 1."""
        alphas, levels = self._table(n)
        if p <= levels[0]:
            return float(p * alphas[0] / levels[0])
        return float(min(1.0, np.exp(np.interp(log(p), np.log(levels), np.log(alphas)))))

    def one_sided(self, p: float | None, n: int) -> float | None:
        """Adjusted p of a one-sided test, such as each of TOST's two."""
        return None if p is None else min(1.0, self.p_value(min(1.0, 2 * p), n) / 2)

    def adjusted(self, interval: Interval) -> Interval:
        """The interval and p that hold after the looks, from plain ones; as it is without a standard error.

        Its level is still the stated one, and `interval.n` seeds are its look.
        """
        if interval.se is None or interval.df is None or interval.p_value is None:
            return interval
        nominal = self.nominal(1 - interval.level, interval.n)
        half = student_quantile(interval.df, 1 - nominal / 2) * interval.se
        return replace(
            interval,
            low=interval.estimate - half,
            high=interval.estimate + half,
            p_value=self.p_value(interval.p_value, interval.n),
        )

    def plain_level(self, level: float, n: int) -> float:
        """Level at which an estimator computes an interval that keeps `level` over the looks."""
        return 1 - self.nominal(1 - level, n)

    def restated(self, interval: Interval, level: float) -> Interval:
        """An interval that was computed at `plain_level`, with the level and p that hold after the looks."""
        p = interval.p_value
        return replace(interval, level=level, p_value=None if p is None else self.p_value(p, interval.n))

    def _table(self, n: int) -> tuple[Array, Array]:
        """Levels alpha and the nominal ones at `n` seeds, ascending; beyond the cap, those of the cap."""
        if self.by_width:
            return width_levels(self.schedule, self.alpha)
        at = max(2, min(n, self.schedule[-1]))
        return verdict_levels((*(c for c in self.counts if c < at), at), self.schedule[-1])

    def seeds_for_width(self, interval: Interval, half_width: float) -> int | None:
        """Seeds at which the half width would be reached if the spread stays; None beyond 10,000."""
        if interval.se is None or interval.df is None:
            return None
        nominal = self.nominal(1 - interval.level, interval.n)
        for n in self._later(interval.n, at_most=10_000):
            df = interval.df * (n - 1) / (interval.n - 1)
            half = student_quantile(df, 1 - nominal / 2) * interval.se * sqrt(interval.n / n)
            if half <= half_width:
                return n
        return None

    def seeds_for_p(self, p: float | None, df: float | None, n: int, *, alpha: float) -> int | None:
        """Seeds at which a plain p of `n` seeds would be found, if estimate and spread stay.

        The t statistic grows with the root of the number of seeds. None: not by the cap.
        """
        if p is None or df is None or not 0 < p < 1:
            return None
        t = student_quantile(df, 1 - p / 2)
        for later in self._later(n, at_most=self.schedule[-1]):
            grown = student_p(t * sqrt(later / n), df * (later - 1) / (n - 1))
            planned = replace(self, counts=tuple(c for c in self.schedule if c < later))
            if planned.p_value(grown, later) <= alpha:
                return later
        return None

    def _later(self, n: int, *, at_most: int) -> list[int]:
        """Planned looks at `n` seeds or more and, beyond the cap, every further number of seeds."""
        cap = self.schedule[-1]
        return [c for c in self.schedule if c >= n] + list(range(max(n, cap + 1), at_most + 1))


def schedule(first: int, step: int, cap: int) -> tuple[int, ...]:
    """Plan looks at `first` seeds, every `step` more, and the cap. Raises ValueError for cap < first."""
    if not 2 <= first <= cap or step < 1:
        raise ValueError(
            f"first={first}, step={step}, cap={cap}: need 2 <= first <= cap and a step of 1 or more"
        )
    return (*range(first, cap, step), cap)
