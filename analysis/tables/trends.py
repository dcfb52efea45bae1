"""Slopes over ordered factors: of accuracy, of the gain over the base, of the difference to the control."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import log10
from typing import TYPE_CHECKING

import numpy as np

from analysis.stats.inference import loglinear_fit, trend_test
from analysis.stats.text import compact, interval_text, p_text
from analysis.study.configs import problems_of
from analysis.study.contrasts import METRICS, ArmResult, Primary, Rows, final_rows, has, shared_seeds
from analysis.study.load import Study
from analysis.tables.table import Table, to_frame

if TYPE_CHECKING:
    pass

GAIN, DIFFERENCE = "gain over the base", "difference to the control"
ALONE = "—"  # at no setting of another factor
COLUMNS = ["ordered factor", "of", "at", "levels", "slope, points", "p", "seeds", "R² of the fit"]


@dataclass(frozen=True)
class Grid:
    """Scores [seeds, levels] of one measure over one factor, at one setting of the others."""

    factor: str
    measure: str
    where: str
    xs: list[float]
    scores: np.ndarray


def trend_table(study: Study, primary: Primary, results: Sequence[ArmResult]) -> Table:
    """Slope over each ordered factor of at least three levels: numbers, model sizes, checkpoints' steps."""
    cells, raw = [], []
    for grid in (*_factor_grids(study, primary, results), *_step_grids(study, primary, results)):
        line, row = _trend(grid, primary.level)
        cells.append(line)
        raw.append(row)
    note = (
        f"{METRICS[primary.metric]} on {study.task_text(primary.task)}. Each seed's least-squares slope, "
        "then Student's t over seeds (linear contrast); p is not adjusted. R²: of a + b·log10(x) over all "
        "runs. Where a level brings its own base, a slope of accuracy holds that of the bases; the gain's "
        "does not."
    )
    return Table("trends", "Trends over ordered factors", COLUMNS, cells, to_frame(raw), note)


def _trend(g: Grid, level: float) -> tuple[list[str], dict[str, object]]:
    """One grid's slope over seeds, and R² of one line through all its runs; in log10 where all x > 0."""
    log = min(g.xs) > 0
    trend = trend_test(g.scores, x=[log10(v) for v in g.xs] if log else g.xs, level=level)
    fit = loglinear_fit(np.tile(g.xs, len(g.scores)), np.ravel(g.scores)) if log else None
    unit = "per factor of ten" if log else "per unit"
    cells = [
        g.factor,
        g.measure,
        g.where,
        ", ".join(map(_place_text, g.xs)),
        f"{interval_text(trend, signed=True)} {unit}",
        p_text(trend.p_value),
        str(len(g.scores)),
        "—" if fit is None else f"{fit.r_squared:.2f}",
    ]
    row = {
        "factor": g.factor,
        "of": g.measure,
        "at": g.where,
        "levels": " ".join(map(str, g.xs)),
        "log10": log,
        "slope": trend.estimate,
        "low": trend.low,
        "high": trend.high,
        "p_value": trend.p_value,
        "seeds": len(g.scores),
        "fit_slope": fit and fit.slope,
        "r_squared": fit and fit.r_squared,
    }
    return cells, row


def trend_sentences(table: Table) -> list[str]:
    """`trend of avg@k over steps, points per factor of ten: sft +3.5 [+0.3, +6.7], grpo +4.6 [..]`.

    Accuracy is left out where the gain stands beside it: there bases differ as well.
    """
    gains = {(row[0], row[2]) for row in table.cells if row[1] == GAIN}
    by_measure: dict[str, list[str]] = {}
    for factor, what, where, _, slope, *_ in table.cells:
        if what in (GAIN, DIFFERENCE) or (factor, where) not in gains:
            value, unit = slope.split(" per ")
            slopes = by_measure.setdefault(f"trend of {what} over {factor}, points per {unit}", [])
            slopes.append(value if where == ALONE else f"{where} {value}")
    return [f"{what}: {', '.join(slopes)}" for what, slopes in by_measure.items()]


def _factor_grids(study: Study, primary: Primary, results: Sequence[ArmResult]) -> Iterator[Grid]:
    """Over the levels of each factor that has an order, at each setting of the other factors."""
    for factor, levels in study.record.factors.items():
        places: dict[tuple[tuple[str, str], ...], dict[float, ArmResult]] = {}
        for r in results:
            x = place(study, factor, r)
            if x is not None and factor in r.levels:
                rest = tuple((k, v) for k, v in r.levels.items() if k != factor)
                places.setdefault(rest, {})[x] = r
        for rest, arms in places.items():
            if len(arms) == len(levels) >= 3 and factor != "replicate":
                yield from _measures(study, primary, factor, ", ".join(v for _, v in rest) or ALONE, arms)


def _measures(
    study: Study, primary: Primary, factor: str, where: str, arms: Mapping[float, ArmResult]
) -> Iterator[Grid]:
    """Accuracy; the gain where the levels' bases differ; the difference where every level has a control."""
    xs, metric = sorted(arms), primary.metric
    after = [final_rows(study, arms[x].label, primary.task) for x in xs]
    before = [final_rows(study, arms[x].label, primary.task, base=True) for x in xs]
    what = f"{factor} (parameters)" if factor == "model" else factor
    measures: dict[str, Sequence[Rows] | None] = {METRICS[metric]: None}
    if np.ptp(_levels(before, metric), axis=1).any():
        measures[GAIN] = before
    if factor != primary.factor and all(arms[x].control for x in xs):
        measures[DIFFERENCE] = [final_rows(study, str(arms[x].control), primary.task) for x in xs]
    for measure, less in measures.items():
        scores = _levels(after, metric, less)
        if len(scores):
            yield Grid(what, measure, where, xs, scores)


def _levels(rows: Sequence[Rows], metric: str, less: Sequence[Rows] | None = None) -> np.ndarray:
    """[seeds, levels] over seeds that every level has on the same problems; minus `less`, where given."""
    needed = [*rows, *(less or [])]
    seeds = [
        s
        for s in rows[0]
        if all(s in found and has(found[s], metric) for found in needed)
        and len({problems_of(found[s]) for found in needed}) == 1
    ]

    def scores(of: Sequence[Rows]) -> np.ndarray:
        return np.array([[float(found[s][metric]) for found in of] for s in seeds]).reshape(-1, len(of))

    return scores(rows) if less is None else scores(rows) - scores(less)


def place(study: Study, factor: str, result: ArmResult) -> float | None:
    """Position of a level on its factor's axis, None if the factor has no order."""
    if factor == "model":
        sizes = study.runs[study.runs["arm"] == result.label].get("parameters")
        known = [] if sizes is None else [float(s) for s in sizes.dropna()]
        return known[0] if known else None
    try:
        return float(result.levels.get(factor, ""))
    except ValueError:
        return None


def _step_grids(study: Study, primary: Primary, results: Sequence[ArmResult]) -> Iterator[Grid]:
    """Over the evaluated checkpoints of each arm's runs, the base (step 0) apart."""
    frame = study.evaluations
    frame = frame[(frame["task"] == primary.task) & (frame["status"] == "finished") & (frame["step"] > 0)]
    wide = {
        r.label: frame[(frame["arm"] == r.label) & frame[primary.metric].notna()]
        .pivot_table(index="seed", columns="step", values=primary.metric, observed=True)
        .dropna()
        for r in results
    }
    for r in results:
        ours = wide[r.label]
        measures = {METRICS[primary.metric]: ours}
        if r.control in wide:
            # Seeds and steps that both have, on the same problems: elsewhere the difference is NaN.
            both = (ours - wide[r.control]).dropna(axis=1, how="all").dropna()
            rows = [final_rows(study, str(label), primary.task) for label in (r.label, r.control)]
            same = shared_seeds([(rows[0], rows[1])], primary.metric)
            measures[DIFFERENCE] = both[both.index.isin(same)]
        for measure, scores in measures.items():
            if scores.shape[1] >= 3 and len(scores):
                xs = [float(step) for step in scores.columns]
                yield Grid("steps (checkpoints)", measure, r.label, xs, scores.to_numpy(dtype=float))


def _place_text(x: float) -> str:
    """1.97M, and as it is where it is small."""
    return compact(x) if x >= 10_000 else f"{x:g}"
