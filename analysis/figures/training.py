"""Figures of training: the response to the learning rate, learning curves, what the optimiser did."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

from analysis.figures.figure import Figure
from analysis.figures.marks import curves, linear_x, log_x
from analysis.figures.theme import BASE, GREY_BASE
from analysis.figures.values import (
    FEW_ARMS,
    Row,
    base_rules,
    estimate_row,
    factors_text,
    measure,
    named,
    panels,
    seeds_text,
    spread_rows,
    tip,
)
from analysis.study.bases import untrained_bases
from analysis.study.contrasts import Primary, evaluated_tasks
from analysis.study.load import Study
from analysis.study.response import pilot_values, study_responses
from analysis.tables.process_rewards import MEASURES
from analysis.tables.rates import where_tried

MAX_POINTS = 80  # of one curve; longer runs are averaged in bins of steps, which keeps the page small
FEW_POINTS = 12  # a curve of no more shows each, since a measure taken at checkpoints may have a single one
CURVES = {
    "reward": "reward",
    "kl": "KL to the base, nats/token",
    "kept_kl_reverse": "KL to the base on kept text, nats/token",
    "kept_loss": "loss on base text, nats/token",
    "entropy": "entropy, nats/token",
    "completion_length": "completion length, tokens",
    "truncated": "truncated, share",
    "clip_frac": "clipped tokens, share",
    "zero_variance_groups": "groups without reward variance, share",
    "grad_norm": "gradient norm",
    "kl_coef": "KL coefficient",
}


def learning_rates(study: Study, primary: Primary) -> Figure | None:
    """The primary metric at each learning rate of a grid, or a pilot's avg@k: how sensitive each arm is."""
    rows = _grid_rows(study, primary) if study.choices else _pilot_rows(study)
    if not rows:
        return None
    rates = [row["x"] for row in rows]
    rows += _base_on(study, primary, None if study.choices else "validation")
    rows, series, titles = panels(study, rows)
    spec = curves(
        rows,
        x=log_x("learning rate", rates, "~e"),
        title=f"{measure(study, primary) if study.choices else 'avg@k'}, points",
        series=series,
        panels=titles,
        spread="band",
        height=150 if titles else 260,
    )
    title = f"{named(study, primary) if study.choices else 'Validation accuracy'} by learning rate"
    title += f", {seeds_text(study)}" if study.choices else " in the pilot"
    bands = "t intervals over seeds" if study.choices else "from the lowest to the highest seed"
    caption = f"Mean of {where_tried(study, primary)}; bands: {bands}."
    if BASE in series:
        title += f"; {GREY_BASE}"
        caption += " The base's line is its mean over the study's seeds."
    return Figure("learning_rates", title, caption, spec, (4, 2) if titles else (1, 1))


def _grid_rows(study: Study, primary: Primary) -> list[Row]:
    """A row for each arm and rate of a grid, with its interval over seeds."""
    rows = []
    for response in study_responses(study, primary):
        for rate, interval in response.cells.items():
            row = estimate_row(response.arm, interval, x=rate)
            said = tip(response.arm, row["value"], row["low"], row["high"], at=f"learning rate {rate:g}")
            rows.append(row | {"tip": said})
    return rows


def _pilot_rows(study: Study) -> list[Row]:
    """A row for each arm and rate of a pilot, whose few seeds give no interval: lowest and highest seed."""
    rows = []
    for arm, tried in pilot_values(study.record.pilot).items():
        for rate in sorted(tried) if len(tried) > 1 else ():
            values = list(tried[rate].values())
            value, low, high = (100 * float(f(values)) for f in (fmean, min, max))
            said = tip(arm, value, low, high, at=f"learning rate {rate:g}")
            ends = {"value": value, "low": low, "high": high, "tip": said}
            rows.append({"series": arm, "x": rate, **ends})
    return rows


def learning_curves(study: Study, primary: Primary) -> Figure | None:
    """Accuracy of the training rollouts against steps: mean over seeds, band from lowest to highest."""
    rows = step_rows(study, "accuracy", scale=100)
    if not rows:
        return None
    points = _has_few_points(rows)
    rows, series, titles = panels(study, [*rows, *_base_on(study, primary, "train")])
    spec = curves(
        rows,
        x=linear_x("step"),
        title="accuracy, points",
        series=series,
        panels=titles,
        spread="band",
        points=points,
        height=140 if titles else 260,
    )
    title = f"Accuracy of training rollouts by {factors_text(study)}, {seeds_text(study)}"
    caption = "On training problems: mean over seeds; bands from the lowest to the highest seed."
    if BASE in series:
        title += f"; {GREY_BASE}"
        caption += " The base's line is its avg@k on the train split."
    return Figure("learning_curves", title, caption + _binned(study), spec, (4, 2) if titles else (1, 1))


def _base_on(study: Study, primary: Primary, split: str | None) -> list[Row]:
    """A line for each base's avg@k on the first task of a split, if it was evaluated there.

    `split` None: the primary task and metric.
    """
    if split is None:
        return base_rules(study, untrained_bases(study, primary.task), primary.metric, primary.level)
    task = next((task for task, s in evaluated_tasks(study).items() if s == split), None)
    if task is None:
        return []
    return base_rules(study, untrained_bases(study, task), "avg", primary.level)


def diagnostics(study: Study) -> Figure | None:
    """Small multiples of what the optimiser did, each on its own scale."""
    title = f"What training did: reward, KL, entropy, length and clipping by step, {seeds_text(study)}"
    return _multiples(study, "diagnostics", title, CURVES)


def process_rewards(study: Study) -> Figure | None:
    """What a learned process reward pays by step, and what derivations become beside it."""
    title = f"Derivations during training: pay, truth, length and padding by step, {seeds_text(study)}"
    return _multiples(study, "process_rewards", title, MEASURES)


def _multiples(study: Study, name: str, title: str, curves_of: Mapping[str, str]) -> Figure | None:
    """A panel for each logged metric that some run has."""
    arms = [arm.label for arm in study.record.arms]
    rows: list[Row] = []
    for column, panel in curves_of.items():
        rows += [{**row, "panel": panel} for row in step_rows(study, column)]
    if not rows:
        return None
    many = len(arms) > FEW_ARMS  # bands on bands hide the lines
    if many:
        rows = [{**row, "low": None, "high": None} for row in rows]
    shown = {row["panel"] for row in rows}
    spec = curves(
        rows,
        x=linear_x("step"),
        title=None,
        series=[arm for arm in arms if any(row["series"] == arm for row in rows)],
        panels=[panel for panel in curves_of.values() if panel in shown],
        spread="band",
        points=False,
        height=130,
        shared=False,
    )
    caption = "Mean over seeds" + ("." if many else "; bands from the lowest to the highest seed.")
    caption += " Step 1 is sampled from the untrained base."
    return Figure(name, title, caption + _binned(study), spec, (3, 2))


def step_rows(study: Study, column: str, *, scale: float = 1.0) -> list[Row]:
    """Mean over seeds of a logged metric by arm and step, with the lowest and the highest seed.

    Runs of more than MAX_POINTS steps are averaged in bins, first within each seed.
    """
    steps = study.steps
    if column not in steps or not steps[column].notna().any():
        return []
    width = _bin(study)
    rows: list[Row] = []
    for arm in (a.label for a in study.record.arms):
        mine = steps[(steps["arm"] == arm) & steps[column].notna()]
        if not len(mine):
            continue
        place = ((mine["step"] - 1) // width) * width + (1 + width) / 2 if width > 1 else mine["step"]
        seeds = mine.groupby([place.rename("place"), mine["run_id"].astype(str)])[column].mean()
        rows += spread_rows(seeds.groupby("place"), arm, scale=scale, x="step")
    return rows


def _has_few_points(rows: list[Row]) -> bool:
    return len({row["x"] for row in rows}) <= FEW_POINTS


def _bin(study: Study) -> int:
    return max(1, -(-int(study.steps["step"].max()) // MAX_POINTS)) if len(study.steps) else 1


def _binned(study: Study) -> str:
    return f" Averaged over {_bin(study)} steps at a time." if _bin(study) > 1 else ""
