"""Tasks of lm-eval before and after training: what was kept, and what it cost elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from analysis.stats.text import number_text
from analysis.study.contrasts import ArmResult, what_varies
from analysis.study.draws import t_over_seeds
from analysis.study.lm_eval import TaskScores, lm_eval_scores
from analysis.study.load import Study
from analysis.tables.arms import interval_columns
from analysis.tables.table import Table, to_frame

COLUMNS = ["task", "metric", "arm", "base", "after", "change", "change minus control's", "documents", "seeds"]


def lm_eval_table(study: Study, results: Sequence[ArmResult], *, level: float = 0.95) -> Table:
    """A row a task, metric and arm: base, after, change, and the change minus the control's, by seed."""
    cells, raw = [], []
    for scores in lm_eval_scores(study):
        for result in results:
            if result.label in scores.after:
                row = _row(study, scores, result, level)
                raw.append(row[1])
                cells.append(row[0])
    note = (
        f"lm-eval's own metrics, prompts and graders, {study.checkpoint_text}; a metric is named as there, "
        "with its filter. Brackets: t over seeds, changes paired with the same seed's base; what varies: "
        f"{what_varies(study)}. ↓: lower is better. Not adjusted for the number of rows."
    )
    return Table("lm_eval", "Tasks of lm-eval", COLUMNS, cells, to_frame(raw), note)


def _row(
    study: Study, scores: TaskScores, result: ArmResult, level: float
) -> tuple[list[str], dict[str, Any]]:
    after, base = scores.after[result.label], scores.base.get(result.label, {})
    changes = {seed: value - base[seed] for seed, value in after.items() if seed in base}
    theirs = _changes(scores, result.control)
    apart = [value - theirs[seed] for seed, value in changes.items() if seed in theirs]
    intervals = {
        "base": t_over_seeds(study, list(base.values()), level),
        "after": t_over_seeds(study, list(after.values()), level),
        "change": t_over_seeds(study, list(changes.values()), level),
        "difference": t_over_seeds(study, apart, level),
    }
    cells = [
        scores.task,
        scores.metric + (" ↓" if scores.higher_is_better is False else ""),
        result.label,
        *(number_text(intervals[name]) for name in ("base", "after")),
        number_text(intervals["change"], signed=True),
        number_text(intervals["difference"], signed=True) if result.control else "control",
        str(scores.num_documents),
        str(len(after)),
    ]
    row: dict[str, Any] = {"task": scores.task, "metric": scores.metric, "arm": result.label}
    for name, interval in intervals.items():
        row |= interval_columns(name, interval)
    return cells, row | {"documents": scores.num_documents, "seeds": len(after)}


def _changes(scores: TaskScores, arm: str | None) -> dict[str, float]:
    """Seed -> change over its base, of an arm."""
    base = scores.base.get(arm or "", {})
    return {s: value - base[s] for s, value in scores.after.get(arm or "", {}).items() if s in base}
