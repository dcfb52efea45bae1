"""Interactions: how much an effect of the primary factor depends on the level of another factor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.stats.inference import holm
from analysis.stats.intervals import Interval, paired_t
from analysis.study.contrasts import Primary, Rows, contrast, final_rows, shared_seeds, what_varies
from analysis.study.headlines import contrast_pairs
from analysis.study.load import Study


@dataclass(frozen=True)
class Interaction:
    """A level's effect against its control where `other` is at `at`, and where it is at its control level.

    `difference`: the first less the second, in each seed, then t over seeds; accuracies in [0, 1]. `settings`
    of the remaining factors are averaged. `p_holm` is over all interactions of the study.
    """

    level: str
    control: str
    other: str
    at: str
    other_control: str
    here: Interval | None
    there: Interval | None
    difference: Interval
    settings: int
    p_holm: float | None = None


def interactions(study: Study, primary: Primary) -> list[Interaction]:
    """Every level of the primary factor by every level of every other one; of one factor, none."""
    if primary.factor is None or primary.factor not in study.record.control:
        return []
    found = list(_interactions(study, primary, primary.factor))
    tested = {i: x.difference.p_value for i, x in enumerate(found) if x.difference.p_value is not None}
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True))
    return [replace(x, p_holm=adjusted.get(i)) for i, x in enumerate(found)]


def _interactions(study: Study, primary: Primary, factor: str) -> Iterator[Interaction]:
    control, factors = study.record.control, study.record.factors
    others = {name: levels for name, levels in factors.items() if name != factor and name in control}
    for level in (name for name in factors.get(factor, []) if name != control[factor]):
        for other, levels in others.items():
            for at in (name for name in levels if name != control[other]):
                sides = [_cells(study, primary, factor, level, other, x) for x in (at, control[other])]
                shared = [rest for rest in sides[0] if rest in sides[1]]
                here, there = ([side[rest] for rest in shared] for side in sides)
                if (difference := _difference(study, primary, here, there)) is not None:
                    yield Interaction(
                        level,
                        control[factor],
                        other,
                        at,
                        control[other],
                        contrast(study, here, primary.metric, level=primary.level),
                        contrast(study, there, primary.metric, level=primary.level),
                        difference,
                        settings=len(shared),
                    )


def _cells(
    study: Study, primary: Primary, factor: str, level: str, other: str, at: str
) -> dict[tuple[tuple[str, str], ...], tuple[Rows, Rows]]:
    """Rows of the arm and of its control where `other` is at a level, by the levels of what remains."""
    levels = {arm.label: arm.levels for arm in study.record.arms}
    found: dict[tuple[tuple[str, str], ...], tuple[Rows, Rows]] = {}
    for arm, control in contrast_pairs(study, factor, level):
        if levels[arm].get(other) == at:
            rest = tuple(sorted((f, x) for f, x in levels[arm].items() if f not in (factor, other)))
            rows = (final_rows(study, label, primary.task) for label in (arm, control))
            found[rest] = (next(rows), next(rows))
    return found


def _difference(
    study: Study, primary: Primary, here: Sequence[tuple[Rows, Rows]], there: Sequence[tuple[Rows, Rows]]
) -> Interval | None:
    """Difference of the two effects in each seed that all cells have, t over seeds; None without a seed."""
    metric = primary.metric
    seeds = shared_seeds([*here, *there], metric) if here else []
    if not seeds:
        return None

    def effect(cells: Sequence[tuple[Rows, Rows]], seed: str) -> float:
        return float(np.mean([a[seed][metric] - c[seed][metric] for a, c in cells]))

    values = [effect(here, seed) - effect(there, seed) for seed in seeds]
    found = paired_t(values, level=primary.level, varies=what_varies(study))
    return found if study.looks is None else study.looks.adjusted(found)
