"""Effects by family of problems, and with families as the random unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.stats.intervals import MIN_SEEDS, Interval, _finite, paired_t

FAMILIES = "families of problems; the trained models are fixed"
HALF = 0.5  # of the effect: what a family makes that carries it
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
        """True if it makes more than half and the effect without it is not told from 0.

        The interval is over seeds, as the verdict's own is: it asks whether these other problems show the
        effect at all. Families as the unit ask about new families; with five left they rarely tell.
        """
        if self.rest is None:
            return True
        if self.rest.low is None or self.rest.high is None:
            return self.share > HALF and abs(self.rest.estimate) < 1e-12
        return self.share > HALF and self.rest.low <= 0 <= self.rest.high


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
    """Effect on a new family of problems: t over the family means, F − 1 df; each family counts once.

    Varies: families; the trained models are fixed. It is exact for normal family effects. Six families have 5
    df and tell little: that is what six families can tell. Fewer than 3 give no interval.
    """
    d, names = _checked(effects, families)
    means = [float(d[:, names == name].mean()) for name in sorted(set(names))]
    interval = replace(paired_t(means, level=level, varies=FAMILIES), method="t over families")
    if len(means) < MIN_SEEDS:
        kinds = "family" if len(means) == 1 else "families"
        return replace(interval, reason=f"{len(means)} {kinds}: 3 are needed for an interval")
    if interval.low is None:
        return replace(interval, reason="no spread between families: an interval is not estimable")
    return interval


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
