"""Accuracy on problems minus on their twins with other numbers: before training, after it, and the change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analysis.stats.intervals import Interval, memorisation_gap, paired_t
from analysis.stats.text import interval_text
from analysis.study.contrasts import Rows, evaluated_tasks, final_rows, what_varies
from analysis.study.load import Study
from analysis.tables.table import Table

if TYPE_CHECKING:
    import pandas as pd


def twin_tasks(study: Study) -> list[tuple[str, str]]:
    """(task, task of its twins): wherever evaluated problems are changed forms of other evaluated ones."""
    frame = study.evaluations.drop_duplicates("task") if not study.evaluations.empty else study.evaluations
    tasks = evaluated_tasks(study)
    rows = {row["task"]: row for _, row in frame.iterrows() if row["task"] in tasks}
    return [
        (task, twin)
        for twin, changed in rows.items()
        for task, row in rows.items()
        if task != twin and {p for p in changed["pair_ids"] if p} & set(row["problem_ids"])
    ]


def gaps(problems: Rows, twins: Rows, *, level: float = 0.95) -> dict[str, Interval]:
    """Per seed: accuracy on problems minus on their twins, over the pairs that both hold; t over pairs."""
    found = {}
    for seed in problems:
        if seed not in twins:
            continue
        known = dict(zip(problems[seed]["problem_ids"], problems[seed]["per_problem"], strict=True))
        pairs = zip(twins[seed]["pair_ids"], twins[seed]["per_problem"], strict=True)
        held = [(known[p], x) for p, x in pairs if p in known]
        if held:
            found[seed] = memorisation_gap([a for a, _ in held], [b for _, b in held], level=level)
    return found


def memorisation_table(study: Study, *, level: float = 0.95) -> Table:
    """A row an arm and pair of tasks. The change by training is free of how hard the new numbers are."""
    columns = [
        "arm",
        "problems",
        "their twins",
        "gap",
        "gap of the base",
        "change by training",
        "first seed, over problem pairs",
        "seeds",
    ]
    cells, raw = [], []
    for task, twin in twin_tasks(study):
        for arm in study.record.arms:
            after, before = (
                gaps(
                    final_rows(study, arm.label, task, base=base),
                    final_rows(study, arm.label, twin, base=base),
                    level=level,
                )
                for base in (False, True)
            )
            if not after:
                continue
            both = [seed for seed in after if seed in before]
            over = {
                "gap": [g.estimate for g in after.values()],
                "base": [before[s].estimate for s in both],
                "change": [after[s].estimate - before[s].estimate for s in both],
            }
            shown = {name: _over_seeds(study, d, level) for name, d in over.items()}
            one = next(iter(after.values()))
            texts = [interval_text(i, signed=True) for i in (*shown.values(), one)]
            cells.append([arm.label, study.task_text(task), study.task_text(twin), *texts, str(len(after))])
            numbers = {
                f"{n}{end}": value
                for n, i in (*shown.items(), ("one_run", one))
                for end, value in _numbers(i)
            }
            raw.append({"arm": arm.label, "problems": task, "twins": twin, **numbers})
    note = (
        "Points: accuracy on problems minus on the same problems with other numbers, paired by problem. t "
        f"over per-seed gaps; what varies: {what_varies(study)}. First seed: t over problem pairs, run "
        "fixed. A gap above 0 speaks of memorised answers or of numbers that are harder; the change by "
        "training is free of the latter."
    )
    return Table("memorisation", "Memorisation gap", columns, cells, _frame(raw), note)


def _over_seeds(study: Study, values: list[float], level: float) -> Interval | None:
    return paired_t(values, level=level, varies=what_varies(study)) if values else None


def _numbers(interval: Interval | None) -> list[tuple[str, Any]]:
    parts = ("low", "high", "se", "df", "p_value")
    values = [None if interval is None else getattr(interval, part) for part in ("estimate", *parts)]
    return list(zip(("", *(f"_{part}" for part in parts)), values, strict=True))


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(rows)
