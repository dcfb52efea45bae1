"""Contrasts beside the primary one: levels in an order, each against the one before; main effects."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from analysis.stats.inference import holm
from analysis.stats.margins import Margin
from analysis.stats.text import interval_text, p_equals, p_text
from analysis.study.contrasts import METRICS, Primary, declared, what_varies
from analysis.study.draws import method_text
from analysis.study.headlines import main_effects
from analysis.study.load import Study
from analysis.study.verdicts import judged_pairs
from analysis.tables.table import Table, to_frame

if TYPE_CHECKING:
    pass

COLUMNS = ["step", "against", "difference", "p (Holm)", "equivalent", "seeds"]


def path_table(study: Study, primary: Primary) -> Table:
    """Paired t on the differences between neighbours of the declared path, averaged over the other factors.

    Holm adjusts over the path, a family of its own; equivalence is TOST with the declared margin, a share
    being of the gain of the step before. Without a path the table is empty.
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
    margin = Margin.read(declared(study).get("margin"))
    note = (
        f"{METRICS[primary.metric]} on {study.task_text(primary.task)}, points: each step minus the one "
        f"before it, {method_text(study)}; what varies: {what_varies(study)}. Holm adjusts over these steps."
    )
    if margin is not None:
        note += (
            f" Equivalent: two one-sided t tests within {margin.text(None, 'the step before')}, and a step "
            "before that gains over its base by more than the margin."
        )
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
        f"settings of the other factors, then t ({method_text(study)}); what varies: "
        f"{what_varies(study)}. Holm adjusts over this table. Only the primary factor's contrast was "
        "declared; the others are secondary."
    )
    columns = ["factor", "level", "against", "difference", "p (Holm)", "settings", "seeds"]
    return Table("main_effects", "Main effects of every factor", columns, cells, to_frame(raw), note)


def _steps(study: Study, primary: Primary) -> list[dict[str, Any]]:
    path, factor = study.record.primary.get("path") or [], primary.factor
    found = []
    for before, level in pairwise(path):
        pairs = _pairs(study, str(factor), before, level)
        judged = judged_pairs(study, primary, pairs) if pairs else None
        interval = judged.evidence.difference if judged else None
        p = judged.evidence.margin_p if judged else None
        said = "—"
        if judged is not None and p is not None:
            said = f"{'yes' if judged.evidence.within else 'not shown'} ({p_equals(p)})"
        found.append(
            {
                "step": level,
                "against": before,
                "difference": interval.estimate if interval else None,
                "low": interval.low if interval else None,
                "high": interval.high if interval else None,
                "p_value": interval.p_value if interval else None,
                "tost_p": p,
                "seeds": interval.n if interval else 0,
                "interval": interval,
                "said": said,
            }
        )
    return found


def _pairs(study: Study, factor: str, before: str, level: str) -> list[tuple[str, str]]:
    """Arms at `level` and at `before`, at each setting of the other factors."""
    arms = {tuple(sorted(a.levels.items())): a.label for a in study.record.arms}
    others = {
        a.label: arms.get(tuple(sorted({**a.levels, factor: before}.items())))
        for a in study.record.arms
        if a.levels.get(factor) == level
    }
    return [(label, other) for label, other in others.items() if other is not None]
