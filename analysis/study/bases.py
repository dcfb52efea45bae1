"""The untrained bases of a study: which arms share one, and their evaluations by seed.

Two arms share a base where, at each seed, they are trained from the same weights and evaluated on the same
problems. Arms whose held-out families differ share weights, but no evaluation of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis.stats.intervals import Interval
from analysis.study.configs import problems_of
from analysis.study.contrasts import Rows, final_rows, has
from analysis.study.draws import t_over_seeds
from analysis.study.load import Study

if TYPE_CHECKING:
    import pandas as pd

BASE = "untrained base"
BASE_BEST = f"{BASE} at its own best"  # temperature and top-p


@dataclass(frozen=True)
class UntrainedBase:
    """A base on one set of problems, the arms that are compared with it, and its evaluations by seed."""

    label: str
    arms: list[str]
    rows: Rows

    def estimate(self, study: Study, metric: str, level: float) -> Interval | None:
        """Mean over seeds of a metric of its evaluations, with the interval."""
        return over_seeds(study, self.rows, metric, level)


def untrained_bases(study: Study, task: str) -> list[UntrainedBase]:
    """Every base that was evaluated on a task, once for each set of problems that it was evaluated on.

    Where there are several, the levels that its arms share name it: `untrained base, model=xs`.
    """
    runs = study.finished[study.finished["arm"].notna()]
    base_ids = dict(zip(zip(runs["arm"], runs["seed"], strict=True), runs["base_id"], strict=True))
    evaluated: dict[str, dict[str, Any]] = {}  # arm -> seed -> its base and the base's problems
    for arm in (arm.label for arm in study.record.arms):
        if rows := final_rows(study, arm, task, base=True):
            evaluated[arm] = {s: (base_ids[arm, s], problems_of(row)) for s, row in rows.items()}
    return [
        UntrainedBase(f"{BASE}, {name}" if name else BASE, arms, _most_seeds(study, arms, task))
        for name, arms in named_groups(study, evaluated)
    ]


def base_names(study: Study, task: str) -> dict[str, str]:
    """Arm -> name of its base in tables: `base`, or `base, model=xs` where the task has several.

    A base that was not evaluated on the task is `base of ARM`.
    """
    names = {arm.label: f"base of {arm.label}" for arm in study.record.arms}
    for base in untrained_bases(study, task):
        names |= dict.fromkeys(base.arms, base.label.removeprefix("untrained "))
    return names


def named_groups(study: Study, values: Mapping[str, Mapping[Any, Any]]) -> list[tuple[str, list[str]]]:
    """Arms with the same values at each key that they share, and the levels that tell a group from others.

    The name is "" for a single group. Arms without a common key are apart.
    """
    groups: list[tuple[dict[Any, Any], list[str]]] = []
    for arm, own in values.items():
        for known, arms in groups:
            shared = known.keys() & own.keys()
            if shared and all(known[key] == own[key] for key in shared):
                known.update(own)
                arms.append(arm)
                break
        else:
            groups.append((dict(own), [arm]))
    return [(_levels_of(study, arms) if len(groups) > 1 else "", arms) for _, arms in groups]


def _most_seeds(study: Study, arms: Sequence[str], task: str) -> Rows:
    """Evaluations of the arms' common base, of every seed that any of them has."""
    found: dict[str, pd.Series[Any]] = {}
    for arm in arms:
        found = {**final_rows(study, arm, task, base=True), **found}
    return found


def _levels_of(study: Study, arms: Sequence[str]) -> str:
    """Levels that all of these arms share, without those that every arm of the study has."""
    levels = {arm.label: list(arm.levels.items()) for arm in study.record.arms}
    shared = [item for item in levels[arms[0]] if all(item in levels[arm] for arm in arms)]
    common = [item for item in shared if not all(item in found for found in levels.values())]
    return ", ".join(f"{k}={v}" for k, v in sorted(common)) or arms[0]


def over_seeds(study: Study, rows: Rows, metric: str, level: float) -> Interval | None:
    """`t_over_seeds` of a metric of the rows."""
    return t_over_seeds(study, [float(r[metric]) for r in rows.values() if has(r, metric)], level)
