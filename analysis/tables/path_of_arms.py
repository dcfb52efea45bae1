"""Contrasts beside the primary one: levels in an order, each against the one before; main effects."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.stats.inference import holm, tost
from analysis.stats.intervals import paired_t
from analysis.stats.text import interval_text, p_equals, p_text
from analysis.study.contrasts import METRICS, Primary, declared, final_rows, shared_seeds, what_varies
from analysis.study.headlines import main_effects
from analysis.study.load import Study
from analysis.tables.table import Table, to_frame

if TYPE_CHECKING:
    pass

COLUMNS = ["step", "against", "difference", "p (Holm)", "equivalent", "seeds"]


def path_table(study: Study, primary: Primary) -> Table:
    """Paired t on the differences between neighbours of the declared path, averaged over the other factors.

    Holm adjusts over the path, a family of its own; equivalence is TOST with the declared margin. Without a
    path the table is empty.
    """
    steps = _steps(study, primary)
    p_values = [s["p_value"] for s in steps if s["p_value"] is not None]
    adjusted = iter(holm(p_values))
    cells, raw = [], []
    for step in steps:
        p_holm = None if step["p_value"] is None else next(adjusted)
        cells.append(
            [
                step["step"],
                step["against"],
                interval_text(step.pop("interval"), signed=True),
                p_text(p_holm),
                step.pop("said"),
                str(step["seeds"]),
            ]
        )
        raw.append({**step, "p_holm": p_holm})
    margin = declared(study).get("margin")
    note = (
        f"{METRICS[primary.metric]} on {study.task_text(primary.task)}, points: each step minus the one "
        f"before it, paired by seed; what varies: {what_varies(study)}. Holm adjusts over these steps."
    )
    if margin is not None:
        note += f" Equivalent: two one-sided t tests at 0.05 within ±{100 * margin:g} points."
    return Table("path", "One step at a time", COLUMNS, cells, to_frame(raw), note)


def main_effects_table(study: Study, primary: Primary) -> Table:
    """Each factor's levels against its control level, averaged over the others; of one factor, empty."""
    cells, raw = [], []
    for h in main_effects(study, primary):
        d = h.difference
        assert d is not None
        shown = interval_text(d, signed=True)
        cells.append([h.factor, h.level, h.control, shown, p_text(h.p_holm), str(h.cells), str(d.n)])
        raw.append(
            {
                "factor": h.factor,
                "level": h.level,
                "control": h.control,
                "difference": d.estimate,
                "low": d.low,
                "high": d.high,
                "p_value": d.p_value,
                "p_holm": h.p_holm,
                "cells": h.cells,
                "seeds": d.n,
            }
        )
    note = (
        f"{METRICS[primary.metric]} on {study.task_text(primary.task)}, points: per seed the mean over the "
        f"settings of the other factors, then paired t; what varies: {what_varies(study)}. Holm adjusts over "
        "this table. Only the primary factor's contrast was declared; the others are secondary."
    )
    columns = ["factor", "level", "against", "difference", "p (Holm)", "settings", "seeds"]
    return Table("main_effects", "Main effects of every factor", columns, cells, to_frame(raw), note)


def _steps(study: Study, primary: Primary) -> list[dict[str, Any]]:
    path, factor = study.record.primary.get("path") or [], primary.factor
    margin, found = declared(study).get("margin"), []
    for before, level in pairwise(path):
        differences = _differences(study, primary, str(factor), before, level)
        interval = (
            paired_t(differences, level=primary.level, varies=what_varies(study)) if differences else None
        )
        verdict = tost(differences, margin=margin) if margin and len(differences) > 2 else None
        said = "—"
        if verdict is not None:
            said = f"{'yes' if verdict.equivalent else 'not shown'} ({p_equals(verdict.p_value)})"
        found.append(
            {
                "step": level,
                "against": before,
                "difference": interval.estimate if interval else None,
                "low": interval.low if interval else None,
                "high": interval.high if interval else None,
                "p_value": interval.p_value if interval else None,
                "tost_p": verdict.p_value if verdict else None,
                "seeds": len(differences),
                "interval": interval,
                "said": said,
            }
        )
    return found


def _differences(study: Study, primary: Primary, factor: str, before: str, level: str) -> list[float]:
    """Per seed that both have in every cell of the other factors: mean of level minus before."""
    arms = {tuple(sorted(a.levels.items())): a.label for a in study.record.arms}
    cells = []
    for arm in study.record.arms:
        other = arms.get(tuple(sorted({**arm.levels, factor: before}.items())))
        if arm.levels.get(factor) == level and other is not None:
            cells.append((final_rows(study, arm.label, primary.task), final_rows(study, other, primary.task)))
    if not cells:
        return []
    metric = primary.metric
    return [
        float(np.mean([a[s][metric] - b[s][metric] for a, b in cells])) for s in shared_seeds(cells, metric)
    ]
