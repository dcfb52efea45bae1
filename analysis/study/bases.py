"""The untrained bases of a study: which arms share one, and their evaluations by seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis.stats.intervals import Interval, paired_t
from analysis.study.contrasts import Rows, final_rows, has, what_varies
from analysis.study.load import Study

if TYPE_CHECKING:
    import pandas as pd

BASE = "untrained base"
BASE_BEST = f"{BASE} at its own best"  # temperature and top-p


@dataclass(frozen=True)
class UntrainedBase:
    """A base, the arms that are trained from it, and its evaluations by seed."""

    label: str
    arms: list[str]
    rows: Rows

    def estimate(self, study: Study, metric: str, level: float) -> Interval | None:
        """Mean over seeds of a metric of its evaluations, with the interval."""
        return over_seeds(study, self.rows, metric, level)


def untrained_bases(study: Study, task: str) -> list[UntrainedBase]:
    """Every base that was evaluated on a task. Where there are several, the levels that its arms share name
    it: `untrained base, model=xs`."""
    groups: list[tuple[dict[str, str], list[str]]] = []
    runs = study.finished[study.finished["arm"].notna()]
    for arm in study.record.arms:
        mine = runs[runs["arm"] == arm.label]
        ids = dict(zip(mine["seed"], mine["base_id"], strict=True))
        if not final_rows(study, arm.label, task, base=True):
            continue
        for known, arms in groups:
            shared = known.keys() & ids.keys()
            if shared and all(known[seed] == ids[seed] for seed in shared):
                known.update(ids)
                arms.append(arm.label)
                break
        else:
            groups.append((ids, [arm.label]))
    names = [_levels_of(study, arms) if len(groups) > 1 else "" for _, arms in groups]
    return [
        UntrainedBase(f"{BASE}, {name}" if name else BASE, arms, _most_seeds(study, arms, task))
        for name, (_, arms) in zip(names, groups, strict=True)
    ]


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
    """Mean over seeds with Student's t interval; None without a value."""
    values = [float(r[metric]) for r in rows.values() if has(r, metric)]
    return paired_t(values, level=level, varies=what_varies(study)) if values else None
