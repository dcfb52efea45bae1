"""Heat map of single problems: accuracy of every arm and of the untrained base."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import numpy as np

from analysis.figures.figure import Figure
from analysis.figures.marks import label_axis, specification
from analysis.figures.values import Row, seeds_text, where
from analysis.study.bases import untrained_bases
from analysis.study.contrasts import ArmResult, Primary, Rows, final_rows
from analysis.study.draws import drawn_anew
from analysis.study.load import Study

MAX_PROBLEMS = 120  # columns; more would be thinner than 3 px on a telephone


def problems(study: Study, primary: Primary, results: Sequence[ArmResult]) -> Figure | None:
    """Accuracy on each problem, mean over seeds; problems ordered by the first base, easiest at the left."""
    found = {base.label: _per_problem(base.rows) for base in untrained_bases(study, primary.task)}
    found |= {r.label: _per_problem(final_rows(study, r.label, primary.task)) for r in results}
    found = {label: values for label, values in found.items() if values}
    if not found or "test problems" in drawn_anew(study):  # an id is another problem at each seed then
        return None
    first = next(iter(found.values()))
    order = sorted(first, key=lambda p: (-first[p], -sum(values.get(p, 0) for values in found.values()), p))
    cut = len(order) > MAX_PROBLEMS
    order = [order[i] for i in np.linspace(0, len(order) - 1, MAX_PROBLEMS).astype(int)] if cut else order
    rows: list[Row] = [
        {"label": label, "x": place, "value": values[p], "tip": f"{label}, {p}: {100 * values[p]:.0f}"}
        for label, values in found.items()
        for place, p in enumerate(order)
        if p in values
    ]
    caption = f"Share of right samples of each problem on {where(study, primary)}, mean over seeds."
    if cut:
        caption += f" {MAX_PROBLEMS} of {len(first)} problems, evenly spaced in difficulty."
    title = f"Accuracy problem by problem, {seeds_text(study)}; top: the untrained base"
    return Figure("problems", title, caption, _heat_map(rows, list(found), len(order)))


def _heat_map(rows: Sequence[Row], labels: Sequence[str], count: int) -> dict[str, object]:
    y = alt.Y("label:N", scale=alt.Scale(domain=list(labels), padding=0.08), title=None, axis=label_axis())
    x = alt.X("x:O", title=f"{count} problems, easiest at the left", scale=alt.Scale(padding=0))
    x = x.axis(labels=False, ticks=False, domain=False)
    legend = alt.Legend(title="share of right samples", gradientLength=140, format=".1f")
    colour = alt.Color("value:Q", scale=alt.Scale(scheme="cividis", domain=[0, 1]), legend=legend)
    cells = alt.Chart().mark_rect().encode(x=x, y=y, color=colour, description="tip:N")
    return specification(rows, [cells], height=alt.Step(26))


def _per_problem(evaluations: Rows) -> dict[str, float]:
    """Problem id -> accuracy, mean over the seeds that have it."""
    found: dict[str, list[float]] = {}
    for row in evaluations.values():
        for problem, value in zip(row["problem_ids"], row["per_problem"], strict=True):
            found.setdefault(problem, []).append(float(value))
    return {problem: float(np.mean(values)) for problem, values in found.items()}
