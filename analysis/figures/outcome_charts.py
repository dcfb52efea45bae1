"""Figures of evaluations: pass@k, where the gain comes from, splits, derivations, single problems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from analysis.figures.chart import Chart, Heat, Panel, Series
from analysis.stats.intervals import Interval
from analysis.study.contrasts import (
    METRICS,
    ArmResult,
    Primary,
    base_name,
    evaluated_tasks,
    final_rows,
    paired,
    what_varies,
)
from analysis.study.load import Study
from analysis.tables.retention import retention_values

MAX_PROBLEMS = 240  # columns of the heat map
MAX_BARS = 8  # side by side: as many as there are colours


def outcome_charts(study: Study, primary: Primary, results: Sequence[ArmResult]) -> list[Chart]:
    """Every figure that the evaluations have data for."""
    made = [pass_curves(study, primary), decomposition(results), splits(study, primary, results),
            kept(study, primary, results), derivations(study, primary, results),
            problems(study, primary, results)]  # fmt: skip
    return [chart for chart in made if chart is not None]


def pass_curves(study: Study, primary: Primary) -> Chart | None:
    """pass@k of the last checkpoint and of the base (dashed), mean over seeds."""
    series = []
    for i, arm in enumerate(a.label for a in study.record.arms):
        for base in (True, False):
            rows = final_rows(study, arm, primary.task, base=base)
            found = [dict(row["pass_curve"]) for row in rows.values()]
            ks = sorted(set.intersection(*map(set, found))) if found else []
            if len(ks) < 2:
                continue
            ys = [100 * float(np.mean([curve[k] for curve in found])) for k in ks]
            name = f"{arm}: base" if base else arm
            series.append(Series(name, [float(k) for k in ks], ys, colour=i, dashed=base, key=not base,
                                 mark="line" if base else "both"))  # fmt: skip
    if not series:
        return None
    panel = Panel("k", "pass@k, points", series, log=2)
    caption = (
        f"Unbiased pass@k on {study.task_text(primary.task)}, mean over seeds; dashed: the base. Curves that "
        "meet at large k: sharpening."
    )
    return Chart("pass_at_k", "pass@k", caption, [panel])


def decomposition(results: Sequence[ArmResult]) -> Chart | None:
    """Gain over the base by choosing to derive and by accuracy given the kind, with intervals over seeds."""
    shown = [r for r in results if r.choice is not None and r.skill is not None]
    if not shown:
        return None
    parts = (("from choosing to derive", [r.choice for r in shown]),
             ("from accuracy given the kind", [r.skill for r in shown]))  # fmt: skip
    series = [_bars(label, found, i) for i, (label, found) in enumerate(parts)]
    panel = Panel("", "points", series, names=[r.label for r in shown], zero=True)
    caption = (
        "The two parts of the gain in avg@k over the base; they add up to it. Bars: intervals over seeds."
    )
    return Chart("decomposition", "Where the gain comes from", caption, [panel])


def splits(study: Study, primary: Primary, results: Sequence[ArmResult]) -> Chart | None:
    """Gain over the base on every split or task: does it generalise."""
    tasks = evaluated_tasks(study)
    if len(tasks) < 2:
        return None
    names = [s if list(tasks.values()).count(s) == 1 else t for t, s in tasks.items()]
    gains: dict[str, list[Interval | None]] = {}
    for r in results:
        gains[r.label] = []
        for task in tasks:
            rows, base = final_rows(study, r.label, task), final_rows(study, r.label, task, base=True)
            gain = paired(rows, base, primary.metric, level=primary.level, varies=what_varies(study))
            gains[r.label].append(gain)
    shown = [(i, r.label) for i, r in enumerate(results) if any(gains[r.label])]
    if not shown:
        return None
    label = f"gain in {METRICS[primary.metric]}, points"
    caption = "Gain over the base on each split; bars are intervals over seeds, paired by seed."
    if len(shown) <= MAX_BARS:
        series = [_bars(arm, gains[arm], i) for i, arm in shown]
        return Chart("splits", "Gain by split", caption, [Panel("", label, series, names=names, zero=True)])
    arms = [arm for _, arm in shown][::-1]
    panels = [_forest(label, arms, [gains[arm][i] for arm in arms], name) for i, name in enumerate(names)]
    ends = [v for p in panels for s in p.series for v in (*(s.low or s.x), *(s.high or s.x), 0) if v == v]
    pad = 0.04 * (max(ends) - min(ends)) or 0.5
    span = (min(ends) - pad, max(ends) + pad)
    return Chart("splits", "Gain by split", caption, [replace(panel, x_range=span) for panel in panels])


def _forest(label: str, arms: list[str], found: list[Interval | None], title: str) -> Panel:
    """Arms below each other: of many, bars side by side are too thin and their colours come twice."""
    bars = _bars("gain", found, 0)
    series = Series("gain", bars.y, bars.x, bars.low, bars.high, mark="points", key=False)
    return Panel(label, "", [series], title=title, names=arms, flat=True, zero=True)


def kept(study: Study, primary: Primary, results: Sequence[ArmResult]) -> Chart | None:
    """Gain against how far the policy moved on text of the base's own kind."""
    moved = {
        arm: float(np.mean(list(found.values())))
        for arm, found in retention_values(study, "kept_kl_reverse").items()
    }
    series = []
    for i, r in enumerate(results):
        if r.gain is not None and r.label in moved:
            point = _bars(r.label, [r.gain], i)
            series.append(Series(r.label, [moved[r.label]], point.y, point.low, point.high, i, "points"))
    if len(series) < 2:
        return None
    label = f"gain in {METRICS[primary.metric]}, points"
    panel = Panel("KL(policy‖base) on kept text, nats", label, series, zero=True)
    caption = (
        "What a gain cost: how far the policy has moved on fixed text of the base's own kind. Bars: over "
        "seeds."
    )
    return Chart("kept", "Gain against what was kept", caption, [panel])


def derivations(study: Study, primary: Primary, results: Sequence[ArmResult]) -> Chart | None:
    """Are the derivations right: before (the base) and after."""
    measures = {"step_validity": "valid steps", "sound": "right answers by right steps alone",
                "share_stepped": "answers with steps"}  # fmt: skip
    panels: list[Panel] = []
    for name, title in measures.items():
        after = [_mean(final_rows(study, r.label, primary.task), name) for r in results]
        before = [_mean(final_rows(study, r.label, primary.task, base=True), name) for r in results]
        shown = [i for i, value in enumerate(after) if value is not None]
        if not shown:
            continue
        bars = [
            Series(label, list(map(float, range(len(shown)))),
                   [100 * value if (value := values[i]) is not None else float("nan") for i in shown],
                   colour=colour, mark="bar", key=not panels)
            for label, values, colour in (("base", before, -1), ("after training", after, 0))
            if any(values[i] is not None for i in shown)
        ]  # fmt: skip
        panels.append(Panel("", "points", bars, title=title, names=[results[i].label for i in shown]))
    if not panels:
        return None
    caption = (
        "Means over seeds, points. A step is an arithmetic statement that can be checked; right answers by "
        "right steps alone: share of right answers with steps whose every step is right."
    )
    return Chart("derivations", "Is the derivation right, or only the answer", caption, panels)


def problems(study: Study, primary: Primary, results: Sequence[ArmResult]) -> Chart | None:
    """Accuracy on each problem, mean over seeds; problems ordered by the first arm's base."""
    rows: list[tuple[str, dict[str, float]]] = []
    for i, r in enumerate(results):
        if i == 0 and (base := _per_problem(final_rows(study, r.label, primary.task, base=True))):
            rows.append((base_name(study, r.label), base))
        if found := _per_problem(final_rows(study, r.label, primary.task)):
            rows.append((r.label, found))
    if not rows:
        return None
    first = rows[0][1]
    order = sorted(first, key=lambda p: (-first[p], -sum(values.get(p, 0) for _, values in rows), p))
    cut = len(order) > MAX_PROBLEMS
    order = [order[i] for i in np.linspace(0, len(order) - 1, MAX_PROBLEMS).astype(int)] if cut else order
    heat = Heat([label for label, _ in rows], order, [[v.get(p) for p in order] for _, v in rows], "accuracy")
    caption = (
        f"Share of right samples of each problem on {study.task_text(primary.task)}, mean over seeds; "
        "easiest at the left."
    )
    if cut:
        caption += f" {MAX_PROBLEMS} of {len(first)} problems, evenly spaced in difficulty."
    return Chart("problems", "Problem by problem", caption, heat=heat)


def _per_problem(rows: dict[str, Any]) -> dict[str, float]:
    """Problem id -> accuracy, mean over the seeds that have it."""
    found: dict[str, list[float]] = {}
    for row in rows.values():
        for problem, value in zip(row["problem_ids"], row["per_problem"], strict=True):
            found.setdefault(problem, []).append(float(value))
    return {problem: float(np.mean(values)) for problem, values in found.items()}


def _mean(rows: dict[str, Any], name: str) -> float | None:
    values = [float(row[name]) for row in rows.values() if row[name] is not None and row[name] == row[name]]
    return float(np.mean(values)) if values else None


def _bars(label: str, found: Sequence[Interval | None], colour: int) -> Series:
    nan = float("nan")
    ys = [100 * d.estimate if d else nan for d in found]
    lows = [100 * d.low if d and d.low is not None else y for d, y in zip(found, ys, strict=True)]
    highs = [100 * d.high if d and d.high is not None else y for d, y in zip(found, ys, strict=True)]
    return Series(label, list(map(float, range(len(ys)))), ys, lows, highs, colour, "bar")
