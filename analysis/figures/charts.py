"""What each figure of a report shows, before anything is drawn: `plots` draws it still, `interactive` alive.

Values are in the unit of the axis label. An interval or a spread is `low` and `high` beside `y`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from analysis.figures.chart import FEW_ARMS, FEW_POINTS, MAX_POINTS, Chart, Panel, Series
from analysis.study.contrasts import METRICS, ArmResult, Primary
from analysis.study.load import Study
from analysis.tables.trends import place

if TYPE_CHECKING:
    import pandas as pd

CURVES = {
    "reward": "reward", "kl": "KL to the base (nats)",
    "kept_kl_reverse": "KL to the base on kept text (nats)", "kept_loss": "loss on base text (nats)",
    "entropy": "entropy (nats)",
    "completion_length": "completion length (tokens)", "truncated": "truncated", "clip_frac": "clip fraction",
    "zero_variance_groups": "groups without reward variance", "grad_norm": "gradient norm",
    "kl_coef": "KL coefficient",
}  # fmt: skip


def all_charts(study: Study, primary: Primary, results: Sequence[ArmResult]) -> list[Chart]:
    """Every figure that the study has data for, in the report's order."""
    from analysis.figures.multiples import apart, controls
    from analysis.figures.outcome_charts import outcome_charts

    control = controls(study)
    split = lambda chart: chart and apart(chart, control)  # noqa: E731
    makers: list[Callable[[], Chart | None]] = [
        lambda: differences(primary, results),
        lambda: split(learning_rates(study)),
        lambda: split(learning_curves(study)),
        lambda: split(checkpoints(study, primary)),
        lambda: ordered(study, primary, results),
        lambda: diagnostics(study),
        lambda: compute(primary, results),
    ]
    made = [chart for make in makers if (chart := make()) is not None]
    rest = outcome_charts(study, primary, results)
    return made + [apart(chart, control) if chart.name == "pass_at_k" else chart for chart in rest]


def differences(primary: Primary, results: Sequence[ArmResult]) -> Chart | None:
    """Forest plot: each arm's paired difference to its control, in points."""
    shown = [r for r in results if r.difference is not None][::-1]
    if not shown:
        return None
    found = [r.difference for r in shown if r.difference is not None]
    series = Series(
        "difference", [100 * d.estimate for d in found], list(map(float, range(len(found)))),
        low=[100 * (d.low if d.low is not None else d.estimate) for d in found],
        high=[100 * (d.high if d.high is not None else d.estimate) for d in found],
        mark="points", key=False,
    )  # fmt: skip
    panel = Panel(f"{METRICS[primary.metric]} minus the control's, points", "", [series],
                  names=[r.label for r in shown], flat=True, zero=True)  # fmt: skip
    caption = "Paired differences to the control; a bar is the table's interval, none means too few seeds."
    return Chart("differences", "Differences to the control", caption, [panel])


def learning_rates(study: Study) -> Chart | None:
    """The pilot's validation accuracy against the learning rate: how sensitive each arm is to it."""
    series = []
    for i, choice in enumerate(study.record.pilot):
        tried = sorted(
            (float(rate), list(seeds.values())) for rate, seeds in choice["tried"].items() if seeds
        )
        if len(tried) < 2:
            continue
        xs, values = [rate for rate, _ in tried], [[100 * v for v in found] for _, found in tried]
        series.append(Series(str(choice["arm"]), xs, [float(np.mean(v)) for v in values],
                             [min(v) for v in values], [max(v) for v in values], i, "both"))  # fmt: skip
    if not series:
        return None
    panel = Panel("learning rate", "avg@k on validation, points", series, log=10)
    caption = "The pilot: mean over its seeds, which nothing else shows; bars from the lowest to the highest."
    return Chart("learning_rates", "Sensitivity to the learning rate", caption, [panel])


def learning_curves(study: Study) -> Chart | None:
    """Accuracy of the training rollouts against steps: mean over seeds, band from lowest to highest."""
    series = curves(study, "accuracy", scale=100)
    if not series:
        return None
    panel = Panel("step", "accuracy of training rollouts, points", series, band=True)
    caption = "Mean over seeds; the band runs from the lowest seed to the highest. Training problems."
    return Chart("learning_curves", "Learning curves", caption + _thinned(study), [panel])


def checkpoints(study: Study, primary: Primary) -> Chart | None:
    """The primary metric at the base and every evaluated checkpoint."""
    frame = study.evaluations
    frame = frame[(frame["task"] == primary.task) & (frame["status"] == "finished")]
    frame = frame[frame[primary.metric].notna()]
    if frame["step"].nunique() < 2:
        return None
    series = []
    for i, arm in enumerate(a.label for a in study.record.arms):
        groups = frame[frame["arm"] == arm].groupby("step")[primary.metric]
        if len(groups):
            series.append(_spread(groups, arm, i, scale=100, mark="both"))
    panel = Panel("step (0: the base)", f"{METRICS[primary.metric]}, points", series)
    caption = (
        f"On {study.task_text(primary.task)}: mean over seeds at evaluated checkpoints; the bar runs from "
        "the lowest seed to the highest."
    )
    return Chart("checkpoints", "Accuracy against steps", caption, [panel])


def ordered(study: Study, primary: Primary, results: Sequence[ArmResult]) -> Chart | None:
    """The primary metric against model size, else against a factor of three numbers; dashed: the bases."""
    for factor in ("model", *study.record.factors):
        at = {
            r.label: x
            for r in results
            if r.estimate is not None and (x := place(study, factor, r)) is not None
        }
        if factor != "replicate" and len(set(at.values())) >= (2 if factor == "model" else 3):
            break
    else:
        return None
    lines: dict[str, list[ArmResult]] = {}
    for r in sorted((r for r in results if r.label in at), key=lambda r: at[r.label]):
        rest = [v for k, v in r.levels.items() if k != factor]
        lines.setdefault(", ".join(rest) or METRICS[primary.metric], []).append(r)
    series = []
    for i, (label, arms) in enumerate(lines.items()):
        xs = [at[r.label] for r in arms]
        series.append(_intervals(label, xs, arms, i))
        if all(r.base is not None for r in arms):
            base = [100 * float(r.base or 0) for r in arms]
            series.append(Series(f"{label}: base", xs, base, colour=i, dashed=True, key=False))
    what, axis = ("model size", "parameters without embeddings") if factor == "model" else (factor, factor)
    log = 10 if min(at.values()) > 0 else None
    panel = Panel(axis, f"{METRICS[primary.metric]}, points", series, log=log)
    caption = "Bars: intervals over seeds; dashed: the bases."
    return Chart("ordered", f"Accuracy against {what}", caption, [panel])


def diagnostics(study: Study) -> Chart | None:
    """Small multiples of what the optimiser did."""
    many = len(study.record.arms) > FEW_ARMS  # bands on bands hide the lines
    panels = [
        Panel("step", "", _bare(series) if many else series, title=title,
              band=any(len(s.x) > 1 for s in series))
        for name, title in CURVES.items()
        if (series := curves(study, name))
    ]  # fmt: skip
    if not panels:
        return None
    caption = "Means over seeds against steps"
    caption += "." if many else ", bands from the lowest seed to the highest."
    title = "Reward, KL to the base, entropy, length and clipping"
    return Chart("diagnostics", title, caption + _thinned(study), panels)


def compute(primary: Primary, results: Sequence[ArmResult]) -> Chart | None:
    """The primary metric against FLOPs spent after pretraining, and the arms that no other one beats."""
    shown = [(i, r) for i, r in enumerate(results) if r.estimate is not None and r.means["flops"]]
    if len(shown) < 2:
        return None
    series = []
    for i, r in shown:
        series.append(_intervals(r.label, [float(r.means["flops"] or 0)], [r], i, mark="points"))
    best, front = -np.inf, []
    for s in sorted(series, key=lambda s: (s.x[0], -s.y[0])):
        if s.y[0] > best:
            best = s.y[0]
            front.append(s)
    if len(front) > 1:
        series.append(Series("no arm is better for less", [s.x[0] for s in front], [s.y[0] for s in front],
                             colour=-1, mark="stairs", dashed=True))  # fmt: skip
    panel = Panel("FLOPs per run, without pretraining", f"{METRICS[primary.metric]}, points", series, log=10)
    caption = "Bars: intervals over seeds." + (
        " Dashed: the Pareto front of the means; its steps may be noise." if len(front) > 1
        else f" Of the means {front[0].label}'s is the highest and costs least."
    )  # fmt: skip
    return Chart("compute", "Accuracy against compute", caption, [panel])


def curves(study: Study, column: str, *, scale: float = 1.0) -> list[Series]:
    """Mean over seeds of a logged metric, with the lowest and the highest seed; long curves in bins."""
    steps = study.steps
    if column not in steps or not steps[column].notna().any():
        return []
    width = _bin(study)
    series = []
    for i, arm in enumerate(a.label for a in study.record.arms):
        mine = steps[(steps["arm"] == arm) & steps[column].notna()]
        if not len(mine):
            continue
        place = ((mine["step"] - 1) // width) * width + (1 + width) / 2 if width > 1 else mine["step"]
        seeds = mine.groupby([place.rename("place"), mine["run_id"].astype(str)])[column].mean()
        few = place.nunique() <= FEW_POINTS
        series.append(_spread(seeds.groupby("place"), arm, i, scale=scale, mark="both" if few else "line"))
    return series


def _bare(series: list[Series]) -> list[Series]:
    return [replace(s, low=None, high=None) for s in series]


def _bin(study: Study) -> int:
    return max(1, -(-int(study.steps["step"].max()) // MAX_POINTS)) if len(study.steps) else 1


def _thinned(study: Study) -> str:
    return f" Averaged over {_bin(study)} steps at a time." if _bin(study) > 1 else ""


def _spread(groups: pd.api.typing.SeriesGroupBy, label: str, colour: int, *, scale: float,
            mark: Literal["line", "both"] = "line") -> Series:  # fmt: skip
    mean, low, high = (scale * getattr(groups, f)().astype(float) for f in ("mean", "min", "max"))
    return Series(
        label, [float(x) for x in mean.index], mean.tolist(), low.tolist(), high.tolist(), colour, mark
    )


def _intervals(label: str, xs: list[float], arms: Sequence[ArmResult], colour: int,
               mark: Literal["both", "points"] = "both") -> Series:  # fmt: skip
    found = [r.estimate for r in arms if r.estimate is not None]
    return Series(
        label, xs, [100 * e.estimate for e in found],
        low=[100 * (e.low if e.low is not None else e.estimate) for e in found],
        high=[100 * (e.high if e.high is not None else e.estimate) for e in found],
        colour=colour, mark=mark,
    )  # fmt: skip
