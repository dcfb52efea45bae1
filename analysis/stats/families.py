"""Effects by family of problems, and with families as the random unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, comb, hypot, log2, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.stats.intervals import (
    MIN_SEEDS,
    Interval,
    _bare,
    _finite,
    mean_squares,
    paired_t,
    student_quantile,
)

FAMILIES = "families of problems and seeds"
METHOD = "median of families"
HALF = 0.5  # of the effect: what a family makes that carries it
OF_TWO = 0.75  # the same of two families, of which one always makes half
UNNAMED = "unnamed"


@dataclass(frozen=True, slots=True)
class FamilyEffect:
    """Effect on one family. `interval` is over seeds; `share` is its part of the effect on all problems."""

    family: str
    num_problems: int
    interval: Interval
    share: float | None


@dataclass(frozen=True, slots=True)
class Largest:
    """The family with the largest part of an effect, and the effect on the other families (over seeds)."""

    family: str
    share: float
    num_families: int
    rest: Interval | None

    @property
    def carries(self) -> bool:
        """True if it makes more than half (of two: three quarters) and the effect without it may be 0.

        The interval is over seeds, as the verdict's own is: it asks whether these other problems show the
        effect at all. Families as the unit ask about new families; with five left they rarely tell.
        """
        if self.rest is None:
            return True
        much = self.share > (OF_TWO if self.num_families == 2 else HALF)
        if self.rest.low is None or self.rest.high is None:
            return much and abs(self.rest.estimate) < 1e-12
        return much and self.rest.low <= 0 <= self.rest.high


def by_family(effects: ArrayLike, families: Sequence[str | None], level: float = 0.95) -> list[FamilyEffect]:
    """Mean effect on each family, from per-seed, per-problem effects [S, P]; families by name.

    `interval`: t over the seeds' means on that family. `share`: n_f · mean_f / (P · mean), which sums to 1
    and lies outside [0, 1] where families differ in sign; None where the whole effect is 0. Raises ValueError
    for another number of families than of problems.
    """
    d, names = _checked(effects, families)
    whole, found = float(d.mean()), []
    for name in sorted(set(names)):
        mine = d[:, names == name]
        part = None if whole == 0 else float(mine.sum() / d.sum())
        found.append(FamilyEffect(str(name), mine.shape[1], paired_t(mine.mean(axis=1), level=level), part))
    return found


def over_families(effects: ArrayLike, families: Sequence[str | None], level: float = 0.95) -> Interval:
    """Median effect over new families and new seeds, from effects [S, P]; each family counts once.

    Families: the interval of order statistics that inverts the sign test, interpolated to `level`
    (Hettmansperger & Sheather 1986), on the F family means. It holds for any form of the family effects. A t
    for their mean does not: it covers 67 % at six families of which one in six carries the effect, and 90 %
    at 24. Seeds: what moves all families of a seed alike has a variance (MS_S − MS_SF) / (S F) by the two-way
    mean squares, and h = t_{S−1} times its root widens both sides by the method of variance estimates
    recovery (Zou & Donner 2008):

        [m − sqrt((m − l)² + h²),  m + sqrt((u − m)² + h²)]

    There is no p-value. Varies: families and seeds. Fewer than six families (at 95 %), fewer than 3 seeds, or
    no spread at all give no interval.
    """
    d, names = _checked(effects, families)
    by_family = np.stack([d[:, names == name].mean(axis=1) for name in sorted(set(names))], axis=1)  # [S, F]
    (seeds, count), means = by_family.shape, by_family.mean(axis=0)
    estimate, needed = float(np.median(means)), families_needed(level)
    if count < needed:
        kinds = "family" if count == 1 else "families"
        reason = f"{count} {kinds}: {needed} are needed for an interval"
    elif seeds < MIN_SEEDS:
        reason = f"{seeds} seed{'s' * (seeds > 1)}: {MIN_SEEDS} are needed for an interval"
    elif float(np.ptp(by_family)) <= 1e-12 * max(1.0, abs(estimate)):
        reason = "no spread between families: an interval is not estimable"
    else:
        low, high = _sign_interval(np.sort(means), level)
        h = student_quantile(seeds - 1, (1 + level) / 2) * _seed_error(by_family)
        bare = _bare(estimate, count, level, METHOD, FAMILIES, "")
        return replace(
            bare,
            low=estimate - hypot(estimate - low, h),
            high=estimate + hypot(high - estimate, h),
            reason=None,
        )
    return _bare(estimate, count, level, METHOD, FAMILIES, reason)


def families_needed(level: float) -> int:
    """Fewest families whose smallest and largest effect hold the median with probability `level`."""
    return ceil(log2(2 / (1 - level)))  # 1 − 2 · 2^−F ≥ level


def _sign_interval(ordered: NDArray[np.float64], level: float) -> tuple[float, float]:
    """Ends between the d-th and (d + 1)-th order statistics from each side, of which d alone covers `level`.

    With γ(d) = 1 − 2 P(B < d), B ~ Bin(F, ½), and I = (γ(d) − level) / (γ(d) − γ(d + 1)), the d-th has the
    weight 1 − λ and the (d + 1)-th λ = (F − d) I / (d + (F − 2 d) I).
    """
    n = len(ordered)
    below = np.cumsum([comb(n, x) for x in range(n)]) / 2**n
    covers = [1 - 2 * below[d - 1] for d in range(1, n // 2 + 1)]  # γ at d = 1, 2, ..
    d = sum(value >= level - 1e-12 for value in covers)
    following = covers[d] if d < len(covers) else 0.0
    share = (covers[d - 1] - level) / (covers[d - 1] - following)
    weight = (n - d) * share / (d + (n - 2 * d) * share)
    low, high = ((1 - weight) * values[d - 1] + weight * values[d] for values in (ordered, ordered[::-1]))
    return float(low), float(high)


def _seed_error(by_family: NDArray[np.float64]) -> float:
    """Standard error of the mean that seeds alone make, from [S, F]; 0 where they show nothing."""
    seeds, count = by_family.shape
    ms_seeds, _, ms_both = mean_squares(by_family)
    return sqrt(max(0.0, ms_seeds - ms_both) / (seeds * count))


def largest_family(effects: ArrayLike, families: Sequence[str | None], level: float = 0.95) -> Largest | None:
    """The family that makes most of the effect; None for an effect of 0 or problems of unknown families."""
    if not any(families):
        return None
    d, names = _checked(effects, families)
    parts = by_family(d, families, level)
    if parts[0].share is None:
        return None
    most = max(parts, key=lambda part: part.share or 0.0)
    others = d[:, names != most.family]
    rest = paired_t(others.mean(axis=1), level=level) if others.size else None
    return Largest(most.family, most.share or 0.0, len(parts), rest)


def _checked(
    effects: ArrayLike, families: Sequence[str | None]
) -> tuple[NDArray[np.float64], NDArray[np.str_]]:
    d = _finite("effects", effects, ndim=2)
    if d.shape[1] != len(families):
        raise ValueError(f"families: {len(families)} for {d.shape[1]} problems; give one a problem")
    return d, np.array([UNNAMED if name is None else str(name) for name in families])
