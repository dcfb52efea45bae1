"""Margins of equivalence: in points, or as a share of the control's gain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from analysis.stats.inference import tost, tost_p
from analysis.stats.intervals import Interval, _finite, paired_t, welch_t
from analysis.stats.text import points

SHARES = {0.25: "a quarter", 0.5: "half"}


@dataclass(frozen=True, slots=True)
class Margin:
    """`value` is a difference in accuracy, or with `of_gain` a share of the control's gain."""

    value: float
    of_gain: bool = False

    @classmethod
    def read(cls, declared: Any) -> Margin | None:
        """A declared margin: a number, `{"share": number}`, or None."""
        if declared is None:
            return None
        if isinstance(declared, Mapping):
            return cls(float(declared["share"]), of_gain=True)
        return cls(float(declared))

    def size(self, control_gain: Interval | None) -> float | None:
        """The margin in accuracy, at the control's estimated gain; None where that is not known."""
        if not self.of_gain:
            return self.value
        return None if control_gain is None else self.value * control_gain.estimate

    def text(self, control_gain: Interval | None, control: str) -> str:
        """`3.0 points`, `1.4 points, a quarter of sft's gain`."""
        size = self.size(control_gain)
        if not self.of_gain:
            return f"{points(self.value)} points"
        share = f"{SHARES.get(self.value, f'{100 * self.value:g} %')} of {control}'s gain"
        return share if size is None or size <= 0 else f"{points(size)} points, {share}"


def size_of(declared: Any, control_gains: Sequence[float]) -> float | None:
    """A declared margin in accuracy, at the mean gain of the control's seeds; None where one is missing."""
    margin = Margin.read(declared)
    return None if margin is None else margin.size(paired_t(control_gains) if control_gains else None)


def tost_share(differences: ArrayLike, control_gains: ArrayLike, *, share: float) -> float | None:
    """P-value of two one-sided t tests that |mean d| < share · mean g, from per-seed d and g.

    H₀: mean(d + s g) ≤ 0 or mean(d − s g) ≥ 0; p is the larger of the two one-sided p, n − 1 df. Testing the
    linear combinations counts the uncertainty of the control's gain g and its correlation with d (the two
    hold the same runs of the control); a margin held at s · ḡ counts neither. As in Pigeot et al. 2003
    (Statistics in Medicine 22:883) for the retained share of a reference's effect. Varies: seeds. None below
    3 seeds or without spread. Raises ValueError for lists of unequal length.
    """
    from scipy.special import stdtr

    d, g = _finite("differences", differences, ndim=1), _finite("control_gains", control_gains, ndim=1)
    if len(d) != len(g):
        raise ValueError(f"control_gains: {len(g)} values, differences has {len(d)}; give one of each a seed")
    above, below = paired_t(d + share * g), paired_t(d - share * g)
    if above.se is None or below.se is None or above.df is None:
        return None
    return float(max(stdtr(above.df, -above.estimate / above.se), stdtr(above.df, below.estimate / below.se)))


def margin_p(differences: ArrayLike, control_gains: ArrayLike | None, margin: Margin) -> float | None:
    """P-value of equivalence within `margin`; None where it needs gains that are not known."""
    if not margin.of_gain:
        return tost(differences, margin=margin.value).p_value
    return None if control_gains is None else tost_share(differences, control_gains, share=margin.value)


def margin_p_unpaired(
    difference: Interval, arm_gains: ArrayLike, control_gains: ArrayLike, *, margin: Margin
) -> float | None:
    """P-value of equivalence where seeds do not pair: Welch's t on the same combinations as `tost_share`.

    With a = the arm's gain and g = the control's, d + s g = a − (1 − s) g and d − s g = a − (1 + s) g, each a
    difference of two independent samples. None below 3 seeds on a side or without spread.
    """
    from scipy.special import stdtr

    if not margin.of_gain:
        return tost_p(difference, margin=margin.value)
    a, g = (np.asarray(values, dtype=float) for values in (arm_gains, control_gains))
    if not (len(a) and len(g)):
        return None
    above, below = welch_t(a, (1 - margin.value) * g), welch_t(a, (1 + margin.value) * g)
    if above.se is None or below.se is None or above.df is None or below.df is None:
        return None
    return float(max(stdtr(above.df, -above.estimate / above.se), stdtr(below.df, below.estimate / below.se)))


def base_p(control_gains: ArrayLike, margin: Margin) -> float | None:
    """P-value of the same test of equivalence for the untrained base against the control.

    Assay sensitivity (ICH E10, §1.5): a study whose test also passes for what had no treatment cannot show
    that two treatments are alike.
    """
    gains = _finite("control_gains", control_gains, ndim=1)
    return margin_p(-gains, gains, margin)
