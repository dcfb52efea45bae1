"""Tables beside the primary one: what the design could find, equivalence, other views, trends, variance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log10, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.contrasts import METRICS, ArmResult, Primary, declared, final_rows
from analysis.load import Study
from analysis.stats import (
    Interval,
    bootstrap_interval,
    crossed_bootstrap,
    interquartile_mean,
    loglinear_fit,
    probability_of_improvement,
    seeds_needed,
    smallest_detectable,
    tost,
    trend_test,
    two_sample_bootstrap,
    variance_components,
)
from analysis.table import Table, interval_text, p_equals, p_text, points

if TYPE_CHECKING:
    import pandas as pd

EFFECT = 0.03  # of accuracy: what power is planned for where a study declares no margin
SEED = 20250122  # of every bootstrap here


def finding_table(study: Study, primary: Primary, results: Sequence[ArmResult]) -> Table:
    """Per difference: is it equivalent to none, how small a one could be found, how many seeds are wanted."""
    margin = declared(study).get("margin")
    effect = float(margin or EFFECT)
    cells, raw = [], []
    for r in results:
        d = _paired(study, primary, r)
        if r.control is None or len(d) < 2 or np.std(d) == 0:
            continue
        sd = float(np.std(d, ddof=1))
        smallest = smallest_detectable(sd=sd, num_seeds=len(d))
        verdict = tost(d, margin=effect) if margin and len(d) > 2 else None
        try:
            needed = str(seeds_needed(effect=effect, sd=sd))
        except ValueError:
            needed = "over 10,000"
        said = "no margin declared" if margin is None else "—"
        if verdict is not None:
            said = f"{'yes' if verdict.equivalent else 'not shown'} ({p_equals(verdict.p_value)})"
        cells.append([r.label, interval_text(r.difference, signed=True), points(sd), points(smallest),
                      needed, said])  # fmt: skip
        raw.append({"arm": r.label, "sd_of_differences": sd, "smallest_detectable": smallest,
                    "effect": effect, "seeds_needed": needed, "margin": margin, "seeds": len(d),
                    "tost_p": verdict.p_value if verdict else None,
                    "equivalent": verdict.equivalent if verdict else None})  # fmt: skip
    within = f"within ±{points(effect)}" if margin else "equivalent"
    columns = ["arm", "difference to control", "sd of per-seed differences", "smallest difference found",
               f"seeds for {points(effect)} points", within]  # fmt: skip
    note = (
        "Points. Smallest difference found: with power 0.8 at this many seeds, two-sided 0.05, if the sd is "
        "as observed, which few seeds know badly. Equivalence: two one-sided t tests at 0.05 (TOST) with the "
        "margin that the study declared beforehand; “not shown” is no proof of a difference."
    )
    return Table("finding", "What this design can and cannot find", columns, cells, _frame(raw), note)


def views_table(study: Study, primary: Primary, results: Sequence[ArmResult]) -> Table:
    """The same differences by other means: crossed with problems, bootstraps, rliable's measures."""
    cells, raw = [], []
    for r in results:
        if r.control is None or r.difference is None:
            continue
        ours, theirs = (_values(study, primary, label) for label in (r.label, r.control))
        level = primary.level
        views: dict[str, Interval | None] = {
            "paired t": r.difference,
            "crossed t": r.crossed,
            "bootstrap": bootstrap_interval(_paired(study, primary, r), seed=SEED, level=level),
            "crossed bootstrap": _crossed_bootstrap(study, primary, r),
            "IQM difference": two_sample_bootstrap(ours, theirs, statistic=_iqm_difference, seed=SEED,
                                                   level=level),
            "P(improvement)": two_sample_bootstrap(ours, theirs, statistic=probability_of_improvement,
                                                   seed=SEED, level=level),
        }  # fmt: skip
        shown = [interval_text(v, signed=name != "P(improvement)") for name, v in views.items()]
        cells.append([r.label, *shown])
        raw += [{"arm": r.label, "view": name, "estimate": v.estimate, "low": v.low, "high": v.high,
                 "df": v.df, "method": v.method, "varies": v.varies}
                for name, v in views.items() if v is not None]  # fmt: skip
    columns = ["arm", "paired t (primary)", "crossed t: new problems too", "bootstrap over seeds",
               "bootstrap, seeds × problems", "IQM difference", "P(improvement), %"]  # fmt: skip
    note = (
        "Differences to the control, points. The primary interval and the first bootstrap hold the problems "
        "fixed; the crossed t and the pigeonhole bootstrap draw problems anew, for avg@k. "
        "IQM: mean of the middle half of runs; P(improvement): a run beats one of the control; both as "
        "rliable, runs resampled. Percentile bootstraps are too narrow at 3–5 seeds: secondary views, "
        "never the claim."
    )
    return Table("views", "The same differences by other means", columns, cells, _frame(raw), note)


def trend_table(study: Study, primary: Primary, results: Sequence[ArmResult]) -> Table:
    """Slope over each ordered factor (three levels or more): numbers, model sizes, checkpoints' steps."""
    cells, raw = [], []
    for what, where, xs, scores in [*_factor_grids(study, primary, results), *_step_grids(study, primary)]:
        log = min(xs) > 0
        unit = "per factor of ten" if log else "per unit"
        x = [log10(v) for v in xs] if log else xs
        trend = trend_test(scores, x=x, level=primary.level)
        fit = loglinear_fit(np.tile(xs, len(scores)), np.ravel(scores), level=primary.level) if log else None
        cells.append([what, where, ", ".join(f"{v:g}" for v in xs),
                      f"{interval_text(trend, signed=True)} {unit}", p_text(trend.p_value), str(len(scores)),
                      "—" if fit is None else f"{fit.r_squared:.2f}"])  # fmt: skip
        raw.append({"factor": what, "at": where, "levels": " ".join(map(str, xs)), "log10": log,
                    "slope": trend.estimate, "low": trend.low, "high": trend.high, "p_value": trend.p_value,
                    "seeds": len(scores), "fit_slope": fit and fit.slope.estimate,
                    "fit_low": fit and fit.slope.low, "fit_high": fit and fit.slope.high,
                    "r_squared": fit and fit.r_squared})  # fmt: skip
    columns = ["ordered factor", "at", "levels", "slope, points", "p", "seeds", "R² of the fit"]
    note = (
        f"{METRICS[primary.metric]} on {study.task_text(primary.task)}. Each seed's least-squares slope, "
        "then Student's t over seeds (linear contrast); p is not adjusted. R²: of accuracy = a + b·log10(x) "
        "over all runs."
    )
    return Table("trends", "Trends over ordered factors", columns, cells, _frame(raw), note)


def variance_table(study: Study, primary: Primary, results: Sequence[ArmResult]) -> Table:
    """How much of one run's avg@k each source would move: samples, problems, seeds, bases."""
    cells, raw = [], []
    for r in results:
        rows = final_rows(study, r.label, primary.task)
        if len(rows) < 2 or len({row["problem_ids"] for row in rows.values()}) != 1:
            continue
        grid = np.array([row["per_problem"] for row in rows.values()])  # [S, P]
        if grid.shape[1] < 2:
            continue
        k = min(int(row["k"]) for row in rows.values())
        scores = grid[None] if study.record.shared_base else grid[:, None]
        found = variance_components(scores, num_samples=k)
        problems = grid.shape[1]
        parts = {"samples": _sd(found.sampling, problems), "problems": _sd(found.problems, problems),
                 "seeds": _sd(found.seeds), "bases": _sd(found.bases),
                 "rest": _sd(max(0.0, found.interactions - (found.sampling or 0.0)), problems)}  # fmt: skip
        cells.append([r.label, *(points(v) for v in parts.values()), str(len(rows))])
        raw.append({"arm": r.label, **parts, "runs": len(rows), "problems_n": problems, "k": k})
    bases = "the shared base's own effect cannot be told" if study.record.shared_base else (
        "a base and its seed change together, so “bases” holds both"
    )  # fmt: skip
    columns = ["arm", "samples", "problems", "seeds", "bases", "seeds × problems", "runs"]
    note = (
        f"Standard deviation of one run's avg@k on {primary.task} that each source alone would cause, points "
        "(method of moments; negative components count as 0). Problems cancel in paired differences; "
        f"{bases}."
    )
    return Table("variance", "Where the variance comes from", columns, cells, _frame(raw), note)


def pilot_table(study: Study) -> Table:
    """Learning rates that each arm tried on validation, and the one it got."""
    pilot: list[Mapping[str, Any]] = getattr(study.record, "pilot", None) or []
    rates = sorted({rate for choice in pilot for rate in choice["tried"]}, key=float)
    cells, raw = [], []
    for choice in pilot:
        means = {
            rate: float(np.mean(list(seeds.values()))) for rate, seeds in choice["tried"].items() if seeds
        }
        chosen = f"{choice['chosen']:g}"
        cells.append([str(choice["arm"]), chosen + (" (edge of the grid)" if choice.get("edge") else ""),
                      *(points(means.get(rate)) for rate in rates)])  # fmt: skip
        raw += [{"arm": choice["arm"], "lr": float(rate), "seed": seed, "validation_avg": value,
                 "chosen": float(rate) == float(choice["chosen"])}
                for rate, seeds in choice["tried"].items() for seed, value in seeds.items()]  # fmt: skip
    note = (
        "avg@k on the validation split, mean over the pilot's seeds, which no other table shows; points. "
        "Every arm had the same grid: objectives differ in gradient scale, which must not pass for an effect."
    )
    title = "Learning rate, chosen on validation"
    return Table("learning_rates", title, ["arm", "chosen", *rates], cells, _frame(raw), note)


def _values(study: Study, primary: Primary, label: str) -> np.ndarray:
    rows = final_rows(study, label, primary.task).values()
    return np.array([row[primary.metric] for row in rows if row[primary.metric] is not None], dtype=float)


def _paired(study: Study, primary: Primary, result: ArmResult) -> np.ndarray:
    """Per-seed differences to the control, over the seeds that both have."""
    if result.control is None:
        return np.array([])
    ours, theirs = (final_rows(study, label, primary.task) for label in (result.label, result.control))
    metric = primary.metric
    pairs = [(ours[s][metric], theirs[s][metric]) for s in ours if s in theirs]
    return np.array([a - b for a, b in pairs if a is not None and b is not None], dtype=float)


def _crossed_bootstrap(study: Study, primary: Primary, result: ArmResult) -> Interval | None:
    if result.crossed is None or result.control is None:
        return None
    ours, theirs = (final_rows(study, label, primary.task) for label in (result.label, result.control))
    grid = [np.subtract(ours[s]["per_problem"], theirs[s]["per_problem"]) for s in ours if s in theirs]
    return crossed_bootstrap(np.array(grid), seed=SEED, level=primary.level)


def _iqm_difference(first: np.ndarray, second: np.ndarray) -> float:
    return interquartile_mean(first) - interquartile_mean(second)


Grid = tuple[str, str, list[float], np.ndarray]  # what, where, x of each level, scores [seeds, levels]


def _factor_grids(study: Study, primary: Primary, results: Sequence[ArmResult]) -> list[Grid]:
    """Scores over the levels of each factor that has an order, at each setting of the other factors."""
    grids: list[Grid] = []
    for factor, levels in study.record.factors.items():
        places: dict[tuple[tuple[str, str], ...], dict[float, ArmResult]] = {}
        for r in results:
            x = _place(study, factor, r)
            if x is not None and factor in r.levels:
                rest = tuple((k, v) for k, v in r.levels.items() if k != factor)
                places.setdefault(rest, {})[x] = r
        for rest, arms in places.items():
            if len(arms) == len(levels) >= 3 and factor != "replicate":
                xs = sorted(arms)
                what = f"{factor} (parameters)" if factor == "model" else factor
                grids += _grid(
                    study, primary, what, ", ".join(v for _, v in rest) or "—", xs, [arms[x] for x in xs]
                )
    return grids


def _place(study: Study, factor: str, result: ArmResult) -> float | None:
    """Where a level stands on its factor's axis; None where it has no order."""
    if factor == "model":
        sizes = study.runs[study.runs["arm"] == result.label].get("parameters")
        known = [] if sizes is None else [float(s) for s in sizes.dropna()]
        return known[0] if known else None
    try:
        return float(result.levels.get(factor, ""))
    except ValueError:
        return None


def _grid(study: Study, primary: Primary, what: str, where: str, xs: list[float],
          arms: Sequence[ArmResult]) -> list[Grid]:  # fmt: skip
    rows = [final_rows(study, r.label, primary.task) for r in arms]
    seeds = [s for s in rows[0] if all(s in row and row[s][primary.metric] is not None for row in rows)]
    if not seeds:
        return []
    scores = np.array([[float(row[s][primary.metric]) for row in rows] for s in seeds])
    return [(what, where, xs, scores)]


def _step_grids(study: Study, primary: Primary) -> list[Grid]:
    """Scores over the evaluated checkpoints of each arm's runs, the base (step 0) apart."""
    frame = study.evaluations
    frame = frame[(frame["task"] == primary.task) & (frame["status"] == "finished") & (frame["step"] > 0)]
    grids: list[Grid] = []
    for arm in study.record.arms:
        mine = frame[(frame["arm"] == arm.label) & frame[primary.metric].notna()]
        wide = mine.pivot_table(index="seed", columns="step", values=primary.metric, observed=True).dropna()
        if wide.shape[1] >= 3 and len(wide):
            xs = [float(step) for step in wide.columns]
            grids.append(("steps (checkpoints)", arm.label, xs, wide.to_numpy(dtype=float)))
    return grids


def _sd(variance: float | None, count: int = 1) -> float | None:
    return None if variance is None else sqrt(variance / count)


def _frame(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(list(rows))
