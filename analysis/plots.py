"""Figures by matplotlib's Agg: PNG on white, and SVG that takes the page's text colour.

Bands over seeds run from the lowest to the highest; what a bar is stands in each caption.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.contrasts import METRICS, ArmResult, Primary
from analysis.load import Study
from analysis.table import compact

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe–Ito without black and yellow: told apart by colour-blind readers, on white and on near-black.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7f7f7f", "#8c6bb1")
INK = "#010203"  # stands for the page's text colour until the SVG is written
DIAGNOSTICS = {
    "reward": "reward", "entropy": "entropy (nats)", "kl": "KL to the base (nats)",
    "kept_kl_reverse": "KL to the base on kept text (nats)", "kept_loss": "loss on base text (nats)",
    "clip_frac": "clip fraction", "completion_length": "completion length (tokens)", "truncated": "truncated",
    "zero_variance_groups": "groups without reward variance", "grad_norm": "gradient norm",
}  # fmt: skip


@dataclass(frozen=True)
class Drawing:
    """A figure in both formats. `svg` is inline-ready: no XML prolog, text kept as text."""

    name: str
    title: str
    caption: str
    svg: str
    png: bytes


def all_drawings(study: Study, primary: Primary, results: Sequence[ArmResult]) -> list[Drawing]:
    """Every figure that the study has data for, in the report's order."""
    makers: list[Callable[[], Drawing | None]] = [
        lambda: differences(primary, results),
        lambda: learning_curves(study),
        lambda: checkpoints(study, primary),
        lambda: pass_curves(study, primary),
        lambda: diagnostics(study),
        lambda: compute(primary, results),
    ]
    return [drawing for make in makers if (drawing := make()) is not None]


def differences(primary: Primary, results: Sequence[ArmResult]) -> Drawing | None:
    """Forest plot: each arm's paired difference to its control, in points."""
    shown = [r for r in results if r.difference is not None][::-1]
    if not shown:
        return None
    figure, axes = _figure(height=1.1 + 0.45 * len(shown))
    for y, r in enumerate(shown):
        assert r.difference is not None
        d, colour = r.difference, COLOURS[0]
        if d.low is not None and d.high is not None:
            axes.plot([100 * d.low, 100 * d.high], [y, y], color=colour, lw=2, solid_capstyle="round")
        axes.plot(100 * d.estimate, y, "o", color=colour, ms=6)
    axes.axvline(0, color=INK, lw=1, alpha=0.6)
    axes.set_yticks(range(len(shown)), [r.label for r in shown])
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.set_xlabel(f"{METRICS[primary.metric]} minus the control's, points")
    caption = "Paired differences to the control; a bar is the table's interval, none means too few seeds."
    return _drawing(figure, "differences", "Differences to the control", caption)


def learning_curves(study: Study) -> Drawing | None:
    """Accuracy of the training rollouts against steps: mean over seeds, band from lowest to highest."""
    if "accuracy" not in study.steps:
        return None
    figure, axes = _figure()
    _curves(axes, study, "accuracy", scale=100)
    axes.set(xlabel="step", ylabel="accuracy of training rollouts, points")
    _legend(axes)
    caption = "Mean over seeds; the band runs from the lowest seed to the highest. Training problems."
    return _drawing(figure, "learning_curves", "Learning curves", caption)


def checkpoints(study: Study, primary: Primary) -> Drawing | None:
    """The primary metric at the base and every evaluated checkpoint."""
    frame = study.evaluations
    frame = frame[(frame["task"] == primary.task) & (frame["status"] == "finished")]
    frame = frame[frame[primary.metric].notna()]
    if frame["step"].nunique() < 2:
        return None
    figure, axes = _figure()
    for i, arm in enumerate(a.label for a in study.record.arms):
        groups = frame[frame["arm"] == arm].groupby("step")[primary.metric]
        if not len(groups):
            continue
        mean, low, high = (100 * getattr(groups, f)().astype(float) for f in ("mean", "min", "max"))
        spread = np.array([mean - low, high - mean]).clip(min=0)
        axes.errorbar(mean.index, mean, yerr=spread, color=_colour(i), marker="o", ms=4, capsize=2, label=arm)
    axes.set(xlabel="step (0: the base)", ylabel=f"{METRICS[primary.metric]} on {primary.task}, points")
    _legend(axes)
    caption = "Mean over seeds at evaluated checkpoints; the bar runs from the lowest seed to the highest."
    return _drawing(figure, "checkpoints", "Accuracy against steps", caption)


def pass_curves(study: Study, primary: Primary) -> Drawing | None:
    """pass@k of the last checkpoint and of the base (dashed), mean over seeds."""
    frame = study.evaluations
    frame = frame[(frame["task"] == primary.task) & (frame["status"] == "finished")]
    if frame.empty or frame["k"].min() < 2:
        return None
    figure, axes = _figure()
    for i, arm in enumerate(a.label for a in study.record.arms):
        rows = frame[frame["arm"] == arm]
        for base in (True, False):
            part = rows[rows["step"] == 0] if base else rows[rows["step"] == rows["step"].max()]
            curves = list(part["pass_curve"])
            if not curves:
                continue
            ks = sorted(set.intersection(*(set(c) for c in curves)))
            values = [100 * float(np.mean([c[k] for c in curves])) for k in ks]
            style = {"ls": "--", "lw": 1, "alpha": 0.7} if base else {"marker": "o", "ms": 4, "label": arm}
            axes.plot(ks, values, color=_colour(i), **style)
    axes.set_xscale("log", base=2)
    _ticks(axes, sorted({k for curve in frame["pass_curve"] for k in curve}))
    axes.set(xlabel="k", ylabel=f"pass@k on {primary.task}, points")
    _legend(axes)
    caption = (
        "Unbiased pass@k, mean over seeds; dashed: the base. Curves that meet at large k tell of sharpening."
    )
    return _drawing(figure, "pass_at_k", "pass@k", caption)


def diagnostics(study: Study) -> Drawing | None:
    """Small multiples of what the optimiser did."""
    names = [n for n in DIAGNOSTICS if n in study.steps and study.steps[n].notna().any()]
    if not names:
        return None
    figure, grid = _figure(rows=-(-len(names) // 2), columns=2, height=2.1 * -(-len(names) // 2))
    flat = np.ravel(grid)
    for axes, name in zip(flat, names, strict=False):
        _curves(axes, study, name)
        axes.set_title(DIAGNOSTICS[name], fontsize=9, color=INK)
    for axes in flat[len(names) :]:
        axes.axis("off")
    handles, labels = flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", frameon=False, fontsize=8, labelcolor=INK)
    caption = "Means over seeds against steps, bands from the lowest seed to the highest."
    return _drawing(figure, "diagnostics", "Reward, entropy, length and what was kept", caption)


def compute(primary: Primary, results: Sequence[ArmResult]) -> Drawing | None:
    """The primary metric against FLOPs spent after pretraining."""
    shown = [(i, r) for i, r in enumerate(results) if r.estimate is not None and r.means["flops"]]
    if len(shown) < 2:
        return None
    figure, axes = _figure()
    for i, r in shown:
        assert r.estimate is not None
        e, x = r.estimate, r.means["flops"]
        if e.low is not None and e.high is not None:
            axes.plot([x, x], [100 * e.low, 100 * e.high], color=_colour(i), lw=1.5)
        axes.plot(x, 100 * e.estimate, "o", color=_colour(i), ms=6, label=r.label)
    axes.set_xscale("log")
    _ticks(axes, sorted({float(r.means["flops"] or 0) for _, r in shown}))
    axes.set(xlabel="FLOPs per run, without pretraining", ylabel=f"{METRICS[primary.metric]}, points")
    _legend(axes)
    return _drawing(figure, "compute", "Accuracy against compute", "Bars: intervals over seeds.")


def _curves(axes: Any, study: Study, column: str, *, scale: float = 1.0) -> None:
    steps = study.steps
    for i, arm in enumerate(a.label for a in study.record.arms):
        groups = steps[(steps["arm"] == arm) & steps[column].notna()].groupby("step")[column]
        if not len(groups):
            continue
        mean, low, high = (scale * getattr(groups, f)().astype(float) for f in ("mean", "min", "max"))
        axes.plot(mean.index, mean, color=_colour(i), lw=1.6, label=arm)
        axes.fill_between(mean.index, low, high, color=_colour(i), alpha=0.18, lw=0)


def _figure(*, rows: int = 1, columns: int = 1, height: float = 3.4) -> tuple[Figure, Any]:
    """A figure apart from pyplot's global state, without the top and right spines."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, height), layout="constrained")
    grid = figure.subplots(rows, columns)
    for axes in np.ravel(np.array(grid, dtype=object)):
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(INK)
        axes.tick_params(colors=INK, labelsize=8)
        axes.xaxis.label.set(color=INK, fontsize=9)
        axes.yaxis.label.set(color=INK, fontsize=9)
        axes.grid(alpha=0.15, color=INK, lw=0.6)
    return figure, grid


def _ticks(axes: Any, values: Sequence[float]) -> None:
    """Ticks at the values themselves: a log axis names powers in mathtext, which is off for user labels."""
    from matplotlib.ticker import NullFormatter

    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xticks(values, [compact(v) for v in values])


def _legend(axes: Any) -> None:
    axes.legend(frameon=False, fontsize=8, labelcolor=INK)


def _colour(i: int) -> str:
    return COLOURS[i % len(COLOURS)]


def _drawing(figure: Figure, name: str, title: str, caption: str) -> Drawing:
    import matplotlib

    png, svg = io.BytesIO(), io.StringIO()
    with matplotlib.rc_context({"text.parse_math": False}):
        figure.savefig(png, format="png", dpi=150, facecolor="white")
    figure.set_layout_engine("none")  # laid out once; the SVG repeats the PNG
    # A salt a figure keeps ids apart when several are inlined in one page; no date, so bytes repeat.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "text.parse_math": False}):
        figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = svg.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    for size in ("width", "height"):  # the page sets them; the viewBox keeps the proportions
        text = re.sub(rf'(<svg[^>]*?) {size}="[^"]*"', r"\1", text, count=1)
    return Drawing(name, title, caption, text, png.getvalue())
