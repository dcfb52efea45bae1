"""Small multiples: of many arms' curves, one panel an arm with its control in grey behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from analysis.figures.chart import FEW_ARMS, Chart, Series
from analysis.study.contrasts import control_of
from analysis.study.load import Study

BASE = ": base"  # ends the label of an arm's base


def controls(study: Study) -> dict[str, str | None]:
    """Each arm's control by the primary factor; None for a control itself, and where it was not run."""
    factor = study.record.primary.get("factor") or next(iter(study.record.factors), None)
    return {arm.label: control_of(study, arm.levels, factor) for arm in study.record.arms}


def apart(chart: Chart, control: Mapping[str, str | None]) -> Chart:
    """The chart with a panel for each arm, all on one scale, where its one panel holds too many.

    A control has no panel of its own: it stands behind the arms that are compared with it. An arm's base
    stands with it.
    """
    (panel,) = chart.panels
    by_label = {s.label: s for s in panel.series if not s.label.endswith(BASE)}
    if len(by_label) <= FEW_ARMS:
        return chart
    base = {s.label.removesuffix(BASE): s for s in panel.series if s.label.endswith(BASE)}
    behind = {label for label in control.values() if label in by_label}
    shown = [s for s in by_label.values() if s.label not in behind] or list(by_label.values())
    span = _span(panel.series)
    panels = [
        replace(
            panel,
            y_label="",
            title=s.label,
            y_range=span,
            series=[
                *(replace(c, colour=-1, key=False) for c in [by_label.get(control.get(s.label) or "")] if c),
                *(replace(b, colour=0) for b in [base.get(s.label)] if b),
                replace(s, colour=0, key=False),
            ],
        )
        for s in shown
    ]
    caption = chart.caption
    if behind:
        what = f"the control, {next(iter(behind))}" if len(behind) == 1 else "each arm's control"
        caption += f" Grey: {what}."
    said = panel.y_label if panel.y_label.startswith(chart.title) else f"{chart.title}: {panel.y_label}"
    return replace(chart, title=said, caption=caption, panels=panels, small=True)


def _span(series: Sequence[Series]) -> tuple[float, float]:
    """From the lowest to the highest value with its spread, and a little more."""
    low = min(v for s in series for v in (s.low or s.y))
    high = max(v for s in series for v in (s.high or s.y))
    pad = 0.04 * (high - low) or 0.5
    return low - pad, high + pad
