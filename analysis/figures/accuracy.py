"""Figures of the primary metric: differences to the control, checkpoints, an ordered factor, compute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from analysis.figures.figure import Figure
from analysis.figures.marks import curves, forest, linear_x, log_x
from analysis.figures.theme import BASE, GREY_BASE
from analysis.figures.values import (
    Row,
    base_rules,
    estimate_row,
    factors_text,
    measure,
    named,
    panels,
    seeds_text,
    side_by_side,
    split_names,
    spread_rows,
    where,
)
from analysis.stats.intervals import Interval
from analysis.stats.margins import Margin
from analysis.study.bases import untrained_bases
from analysis.study.contrasts import ArmResult, Primary, declared
from analysis.study.draws import method_text
from analysis.study.load import Study
from analysis.tables.trends import place


def differences(study: Study, primary: Primary, results: Sequence[ArmResult]) -> Figure | None:
    """Paired difference of each arm to its control, and of the untrained base to the same controls."""
    rows = [
        estimate_row("trained arm", r.difference, label=r.label) for r in results if r.difference is not None
    ]
    if not rows:
        return None
    controls = [r for r in results if r.label in {other.control for other in results}]
    for control in controls:
        if control.gain is not None:
            label = BASE if len(controls) == 1 else f"{BASE} against {control.label}"
            rows.append(estimate_row(BASE, _reversed(control.gain), label=label))
    wide = Margin.read(declared(study).get("margin"))
    margin = wide and wide.size(controls[0].gain if len(controls) == 1 else None)
    spec = forest(
        rows,
        title=f"{measure(study, primary)} minus the control's, points",
        labels=[row["label"] for row in rows],
        series=["trained arm", BASE] if rows[-1]["series"] == BASE else ["trained arm"],
        zero=True,
        margin=100 * margin if margin and margin > 0 else None,
    )
    against = f"{controls[0].label} (the line at 0)" if len(controls) == 1 else "its control (the line at 0)"
    caption = (
        f"Each arm against {against}, {method_text(study)}, {where(study, primary)}; bars are the table's "
        "intervals; an arm without one has too few seeds, or all seeds differ alike."
    )
    if wide and margin and margin > 0:
        name = controls[0].label if controls else "the control"
        caption += f" Shaded: the margin of equivalence, ±{wide.text(controls[0].gain, name)}."
    title = f"Difference to the control in {measure(study, primary)} on {split_names(study)[primary.task]}"
    title += f", {seeds_text(study)}; {GREY_BASE}"
    return Figure("differences", title, caption, spec)


def _reversed(gain: Interval) -> Interval:
    """Interval of base minus arm, from that of arm minus base."""
    low, high = (None if end is None else -end for end in (gain.high, gain.low))
    return replace(gain, estimate=-gain.estimate, low=low, high=high)


def checkpoints(study: Study, primary: Primary) -> Figure | None:
    """The primary metric at the base and at every evaluated checkpoint."""
    frame = study.evaluations
    frame = frame[(frame["task"] == primary.task) & (frame["status"] == "finished")]
    frame = frame[frame[primary.metric].notna()]
    if frame["step"].nunique() < 2:
        return None
    rows: list[Row] = []
    for arm in (a.label for a in study.record.arms):
        groups = frame[frame["arm"] == arm].groupby("step")[primary.metric]
        if len(groups):
            rows += spread_rows(groups, arm, scale=100, x="step")
    rows += base_rules(study, untrained_bases(study, primary.task), primary.metric, primary.level)
    rows, series, titles = panels(study, rows)
    spec = curves(
        rows,
        x=linear_x("step (0: the base)"),
        title=f"{measure(study, primary)}, points",
        series=series,
        panels=titles,
        spread="band",
        height=140 if titles else 260,
    )
    title = f"{named(study, primary)} by step and {factors_text(study)}, {seeds_text(study)}; {GREY_BASE}"
    caption = (
        f"On {where(study, primary)}: mean over seeds at evaluated checkpoints; bands from the lowest to the "
        "highest seed."
    )
    return Figure("checkpoints", title, caption, spec, (4, 2) if titles else (1, 1))


def ordered(study: Study, primary: Primary, results: Sequence[ArmResult]) -> Figure | None:
    """The primary metric against model size, else against the first factor with three numbers as levels."""
    factor, at = _ordered_factor(study, results)
    if factor is None:
        return None
    rows: list[Row] = []
    for r in sorted((r for r in results if r.label in at), key=lambda r: at[r.label]):
        assert r.estimate is not None
        rest = ", ".join(v for k, v in r.levels.items() if k != factor)
        series = rest or "trained"
        rows.append(estimate_row(series, r.estimate, x=at[r.label], label=r.label))
    rows = _with_bases(study, primary, rows, at)
    series_names = sorted(dict.fromkeys(row["series"] for row in rows), key=lambda s: s == BASE)
    log = min(at.values()) > 0
    what, axis = ("model size", "parameters without embeddings") if factor == "model" else (factor, factor)
    spec = curves(
        side_by_side(rows, series_names, log=log),
        x=log_x(axis, list(at.values())) if log else linear_x(axis),
        title=f"{measure(study, primary)}, points",
        series=series_names,
    )
    title = f"{named(study, primary)} by {what}, {seeds_text(study)}; {GREY_BASE}"
    caption = (
        f"On {where(study, primary)}. Bars are intervals over seeds; points at one place stand side by side."
    )
    return Figure("ordered", title, caption, spec)


def _ordered_factor(study: Study, results: Sequence[ArmResult]) -> tuple[str | None, dict[str, float]]:
    """The factor that orders the arms, and each arm's place on it; (None, {}) where none does."""
    for factor in ("model", *study.record.factors):
        places = {r.label: place(study, factor, r) for r in results if r.estimate is not None}
        at = {label: x for label, x in places.items() if x is not None}
        if factor != "replicate" and len(set(at.values())) >= (2 if factor == "model" else 3):
            return factor, at
    return None, {}


def _with_bases(study: Study, primary: Primary, rows: list[Row], at: dict[str, float]) -> list[Row]:
    """Rows and, at each x, the bases of the arms there: a line, each base once."""
    found = []
    for base in untrained_bases(study, primary.task):
        interval = base.estimate(study, primary.metric, primary.level)
        for x in sorted({at[arm] for arm in base.arms if arm in at}):
            if interval is not None:
                found.append(estimate_row(BASE, interval, x=x, label=base.label))
    return [*rows, *sorted(found, key=lambda row: row["x"])]


def compute(study: Study, primary: Primary, results: Sequence[ArmResult]) -> Figure | None:
    """The primary metric against FLOPs spent after pretraining, and the arms that no other one beats."""
    rows = [
        estimate_row(r.label, r.estimate, x=float(r.means["flops"] or 0))
        for r in results
        if r.estimate is not None and r.means["flops"]
    ]
    if len(rows) < 2:
        return None
    best, front = -np.inf, []
    for row in sorted(rows, key=lambda row: (row["x"], -row["value"])):
        if row["value"] > best:
            best = row["value"]
            front.append({"x": row["x"], "value": row["value"], "front": True})
    bases = base_rules(study, untrained_bases(study, primary.task), primary.metric, primary.level)
    series = [*(row["series"] for row in rows), *([BASE] if bases else [])]
    spec = curves(
        [*rows, *_plain(bases), *(front if len(front) > 1 else [])],
        x=log_x("FLOPs of a run, without pretraining", [row["x"] for row in rows]),
        title=f"{measure(study, primary)}, points",
        series=series,
        stairs=len(front) > 1,
    )
    caption = f"On {where(study, primary)}. Bars are intervals over seeds."
    if len(front) > 1:
        caption += (
            " Dashed steps: no arm to the left is better (the Pareto front of the means, noise included)."
        )
    else:
        highest = next(row["series"] for row in rows if row["value"] == best)
        caption += f" {highest} has the highest mean and costs least."
    title = f"{named(study, primary)} by compute, {seeds_text(study)}; {GREY_BASE}"
    return Figure("compute", title, caption, spec)


def _plain(rows: list[Row]) -> list[Row]:
    return [{k: v for k, v in row.items() if k != "arms"} for row in rows]
