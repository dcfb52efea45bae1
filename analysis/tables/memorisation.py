"""Accuracy on problems minus on their twins with other numbers: before training, after it, and the change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from analysis.stats.intervals import Interval, memorisation_gap
from analysis.stats.text import interval_text
from analysis.study.contrasts import Rows, evaluated_tasks, final_rows, what_varies
from analysis.study.draws import t_over_seeds
from analysis.study.load import Study
from analysis.tables.table import Table, to_frame

if TYPE_CHECKING:
    pass


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


COLUMNS = [
    "arm",
    "problems",
    "their twins",
    "gap",
    "gap of the base",
    "change by training",
    "first seed, over problem pairs",
    "seeds",
]


def memorisation_table(study: Study, *, level: float = 0.95) -> Table:
    """A row per arm and pair of tasks. The change by training does not depend on how hard the twins are."""
    cells, raw = [], []
    for task, twin in twin_tasks(study):
        for arm in study.record.arms:
            pair = (task, twin)
            after, before = (_final_gaps(study, arm.label, pair, base, level) for base in (False, True))
            if not after:
                continue
            shown = _summaries(study, after, before, level)
            texts = [interval_text(shown[name], signed=True) for name in ("gap", "base", "change", "one_run")]
            cells.append([arm.label, study.task_text(task), study.task_text(twin), *texts, str(len(after))])
            numbers = {f"{n}{end}": value for n, i in shown.items() for end, value in _numbers(i)}
            raw.append({"arm": arm.label, "problems": task, "twins": twin, **numbers})
    note = (
        "Points: accuracy on problems minus on the same problems with other numbers, paired by problem. t "
        f"over per-seed gaps; what varies: {what_varies(study)}. First seed: t over problem pairs, run "
        "fixed. A gap above 0 speaks of memorised answers or of numbers that are harder; the change by "
        "training is free of the latter."
    )
    return Table("memorisation", "Memorisation gap", COLUMNS, cells, to_frame(raw), note)


def _final_gaps(
    study: Study, label: str, tasks: tuple[str, str], base: bool, level: float
) -> dict[str, Interval]:
    """Per-seed gaps of an arm, or of its base, between a task and its twins'."""
    problems, twins = (final_rows(study, label, task, base=base) for task in tasks)
    return gaps(problems, twins, level=level)


def _summaries(
    study: Study, after: Mapping[str, Interval], before: Mapping[str, Interval], level: float
) -> dict[str, Interval | None]:
    """Gap after training, the base's, their change (t over seeds), and the first seed's (t over pairs)."""
    both = [seed for seed in after if seed in before]
    return {
        "gap": t_over_seeds(study, [g.estimate for g in after.values()], level),
        "base": t_over_seeds(study, [before[s].estimate for s in both], level),
        "change": t_over_seeds(study, [after[s].estimate - before[s].estimate for s in both], level),
        "one_run": next(iter(after.values())),
    }


def _numbers(interval: Interval | None) -> list[tuple[str, Any]]:
    parts = ("low", "high", "se", "df", "p_value")
    values = [None if interval is None else getattr(interval, part) for part in ("estimate", *parts)]
    return list(zip(("", *(f"_{part}" for part in parts)), values, strict=True))
