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
    """Score on each problem: right share of its samples, greedy answer, any right, chains; None for maj@k."""
    if metric == "avg":
        return np.array(row["per_problem"], dtype=float)
    if metric == "pass":
        return np.array([float(value > 0) for value in row["per_problem"]])
    chains = row["by_problem"].chains
    if metric in ("chain", "chain_pass") and chains is not None:
        return np.array(chains.mean(axis=1) if metric == "chain" else chains.any(axis=1), dtype=float)
    if metric == "greedy" and len(row["greedy_problems"]):
        return np.array(row["greedy_problems"], dtype=float)
    return None


def problem_effects(
    cells: Cells, metric: str, *, groups: str = "families"
) -> tuple[NDArray[np.float64] | None, list[str | None]]:
    """First minus second by seed and problem [S, P], mean over cells; and the problems' families.

    Where each seed has problems of its own, column i holds a problem of the same family in every seed. None
    where a measure has no score a problem, where cells differ in problems at a seed, or where seeds differ in
    the number of problems of a family.
    """
    seeds = shared_seeds(cells, metric)
    rows = {s: [side[s] for pair in cells for side in pair] for s in seeds}
    if not rows or any(len({row["problem_ids"] for row in own}) > 1 for own in rows.values()):
        return None, []
    orders = _orders({s: own[0] for s, own in rows.items()}, groups)
    scores = [[problem_scores(row, metric) for row in own] for own in rows.values()]
    if orders is None or any(score is None for own in scores for score in own):
        return None, []
    effects = [_effect(own, order) for own, order in zip(scores, orders, strict=True)]
    first = rows[seeds[0]][0]
    return np.array(effects), [first[groups][i] for i in orders[0]]


def _effect(scores: Sequence[NDArray[np.float64] | None], order: Sequence[int]) -> NDArray[np.float64]:
    """First minus second by problem [P], mean over cells; `scores` are those of first, second, first, ..."""
    sides = np.array(scores).reshape(-1, 2, len(order))[:, :, order]  # [cells, 2, P]
    return (sides[:, 0] - sides[:, 1]).mean(axis=0)


def _orders(rows: Rows, groups: str) -> list[list[int]] | None:
    """For each seed an order of its problems with the same groups in every seed; None if there is none."""
    firsts = list(rows.values())
    if len({row["problem_ids"] for row in firsts}) == 1:
        return [list(range(len(firsts[0]["problem_ids"]))) for _ in firsts]
    names = [[str(name) for name in row[groups]] for row in firsts]
    orders = [sorted(range(len(own)), key=own.__getitem__) for own in names]
    sorted_names = {tuple(own[i] for i in order) for own, order in zip(names, orders, strict=True)}
    return orders if len(sorted_names) == 1 else None


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
