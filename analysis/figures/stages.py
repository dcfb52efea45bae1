"""Accuracy after each stage of a pipeline, from the untrained base on."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.figures.figure import Figure
from analysis.figures.marks import curves, linear_x
from analysis.figures.values import Row, estimate_row, seeds_text, side_by_side, tip, where
from analysis.study.bases import over_seeds
from analysis.study.contrasts import METRICS, ArmResult, Primary, Rows, final_rows
from analysis.study.load import Study
from analysis.study.stages import stage_rows, stages_of
from analysis.tables.stages import MEASURES, comparable

SPREAD = 0.7  # of the way to the next stage: what arms after as many stages take


def stages(study: Study, primary: Primary, results: Sequence[ArmResult]) -> Figure | None:
    """avg@k, greedy and pass@k after each stage of every arm; None without an arm of two stages."""
    rows: list[Row] = []
    several = False
    for label in (r.label for r in results):
        found = [stage for stage in stages_of(study, label) if not stage.is_teachers]
        several |= len(found) > 1
        last = final_rows(study, label, primary.task)
        places: list[tuple[str, Rows]] = []
        if found:
            places.append(("the untrained base", final_rows(study, label, primary.task, base=True)))
        places += [(s.name, comparable(stage_rows(study, s, primary.task), last)) for s in found]
        rows += _rows(study, primary, label, places)
    if not several:
        return None
    shown = [METRICS[m] for m in MEASURES if any(row["panel"] == METRICS[m] for row in rows)]
    series = list(dict.fromkeys(row["series"] for row in rows))
    spec = curves(
        side_by_side(rows, series, log=False, step=SPREAD / len(series)),
        x=linear_x("stages trained"),
        title="accuracy, points",
        series=series,
        panels=shown,
        height=200,
    )
    title = f"Accuracy after each stage, {seeds_text(study)}; 0: the untrained base"
    caption = (
        f"On {where(study, primary)}. Bars are intervals over seeds; points after the same number of stages "
        "stand side by side; the table names the stages."
    )
    return Figure("stages", title, caption, spec, (len(shown), 1))


def _rows(study: Study, primary: Primary, label: str, places: Sequence[tuple[str, Rows]]) -> list[Row]:
    rows = []
    for index, (name, evaluations) in enumerate(places):
        for measure in MEASURES:
            interval = over_seeds(study, evaluations, measure, primary.level)
            if interval is None:
                continue
            row = estimate_row(label, interval, x=float(index), panel=METRICS[measure])
            rows.append({**row, "tip": tip(label, row["value"], row["low"], row["high"], at=name)})
    return rows
