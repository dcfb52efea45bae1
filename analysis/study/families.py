"""Effects problem by problem, with the family of each problem."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from analysis.stats.families import Largest, largest_family, over_families
from analysis.stats.intervals import Interval, paired_t
from analysis.study.contrasts import Primary, Rows, final_rows, shared_seeds, what_varies
from analysis.study.load import Study

if TYPE_CHECKING:
    import pandas as pd

Cells = Sequence[tuple[Rows, Rows]]  # what is subtracted from what, at each setting of the other factors


@dataclass(frozen=True)
class FamilyGain:
    """A gain over the base: before and after, over seeds, by its largest family, and for new families."""

    label: str
    before: float
    after: float
    gain: Interval
    largest: Largest | None
    new_families: Interval | None


def over_base(study: Study, labels: Sequence[str], task: str) -> Cells:
    """(checkpoint, untrained base) of each arm."""
    return [(final_rows(study, a, task), final_rows(study, a, task, base=True)) for a in labels]


def by_seed(cells: Cells, metric: str) -> dict[str, float]:
    """Seed -> first minus second, mean over the cells, over seeds that all cells have."""
    seeds = shared_seeds(cells, metric)
    return {s: float(np.mean([a[s][metric] - b[s][metric] for a, b in cells])) for s in seeds}


def problem_scores(row: pd.Series[Any], metric: str) -> NDArray[np.float64] | None:
    """Score on each problem: right share of its samples, greedy answer, any right; None for maj@k."""
    if metric == "avg":
        return np.array(row["per_problem"], dtype=float)
    if metric == "pass":
        return np.array([float(value > 0) for value in row["per_problem"]])
    if metric == "greedy" and len(row["greedy_problems"]):
        return np.array(row["greedy_problems"], dtype=float)
    return None


def problem_effects(
    cells: Cells, metric: str, *, groups: str = "families"
) -> tuple[NDArray[np.float64] | None, list[str | None]]:
    """First minus second by seed and problem [S, P], mean over cells; and the problems' families.

    None where a measure has no score a problem, or seeds or arms differ in problems.
    """
    seeds = shared_seeds(cells, metric)
    rows = [side[s] for pair in cells for side in pair for s in seeds]
    if not rows or len({row["problem_ids"] for row in rows}) != 1:
        return None, []
    scores = [problem_scores(row, metric) for row in rows]
    known = [score for score in scores if score is not None]
    if len(known) < len(rows):
        return None, []
    sides = np.array(known).reshape(len(cells), 2, len(seeds), -1)  # [cells, 2, S, P]
    return (sides[:, 0] - sides[:, 1]).mean(axis=0), list(rows[0][groups])


def family_gain(study: Study, primary: Primary, labels: Sequence[str], name: str) -> FamilyGain | None:
    """Mean gain of some arms over their bases in the primary measure; None without a shared seed."""
    cells, metric, level = over_base(study, labels, primary.task), primary.metric, primary.level
    seeds = shared_seeds(cells, metric)
    if not seeds:
        return None
    after, before = (float(np.mean([pair[i][s][metric] for pair in cells for s in seeds])) for i in (0, 1))
    gain = paired_t(list(by_seed(cells, metric).values()), level=level, varies=what_varies(study))
    effects, families = problem_effects(cells, metric)
    if effects is None or not any(families):
        return FamilyGain(name, before, after, gain, None, None)
    largest = largest_family(effects, families, level)
    return FamilyGain(name, before, after, gain, largest, over_families(effects, families, level))
