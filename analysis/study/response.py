"""The response to the learning rate, over seeds: accuracy at each rate, the area under it, effects on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import isnan, log10, nan
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

from analysis.stats.intervals import Interval, paired_t
from analysis.stats.margins import Margin, margin_p
from analysis.study.contrasts import Primary, control_of, what_varies
from analysis.study.load import Study

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Response:
    """How an arm answers to the learning rate, on one task and metric; accuracies in [0, 1].

    `cells` and `gains` are intervals over seeds at each rate. `areas` is each seed's mean accuracy over the
    grid, `area` their interval, `difference` the paired one to the control's. `usable` are the rates whose
    gain over the base lies above 0 by its interval; None where gains are not known.
    """

    arm: str
    control: str | None
    cells: dict[float, Interval]
    gains: dict[float, Interval]
    areas: dict[str, float]
    area: Interval | None
    difference: Interval | None
    usable: list[float] | None


def area_under(values: Mapping[float, float]) -> float:
    """Area under accuracy against log10(rate) by the trapezoid rule, divided by the range of log10(rate).

    It is the mean accuracy over the grid: sum_i (x_{i+1} − x_i)(y_i + y_{i+1}) / 2 / (x_n − x_1). Raises
    ValueError for fewer than two rates.
    """
    points = sorted((log10(rate), value) for rate, value in values.items())
    if len(points) < 2:
        raise ValueError(f"{len(points)} learning rate: an area needs two")
    whole = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(points))
    return whole / (points[-1][0] - points[0][0])


Values = Mapping[float, Mapping[str, float]]  # rate -> seed -> accuracy


def responses(
    values: Mapping[str, Values],
    bases: Mapping[str, Values],
    controls: Mapping[str, str | None],
    *,
    level: float,
    varies: str,
) -> list[Response]:
    """Response of each arm from accuracies by rate and seed, and those of the same runs' bases.

    A seed without a value at every rate is in no area, but in the cells that it has.
    """
    areas = {arm: _areas(by_rate) for arm, by_rate in values.items()}

    def interval(found: Sequence[float]) -> Interval | None:
        return paired_t(found, level=level, varies=varies) if found else None

    found = []
    for arm, by_rate in values.items():
        control, mine = controls.get(arm), areas[arm]
        theirs = areas.get(control or "", {})
        cells = {r: i for r in sorted(by_rate) if (i := interval(list(by_rate[r].values())))}
        gains = {}
        for rate, own in sorted(by_rate.items()):
            base = bases.get(arm, {}).get(rate, {})
            if gain := interval([own[s] - base[s] for s in own if s in base]):
                gains[rate] = gain
        same = control is not None and set(by_rate) == set(values.get(control, {}))
        shared = [mine[s] - theirs[s] for s in mine if s in theirs] if same else []
        usable = [rate for rate, gain in gains.items() if gain.low is not None and gain.low > 0]
        found.append(
            Response(
                arm=arm,
                control=control,
                cells=cells,
                gains=gains,
                areas=mine,
                area=interval(list(mine.values())),
                difference=interval(shared),
                usable=usable if gains else None,
            )
        )
    return found


class AreaEffect(NamedTuple):
    """A level's area less that of its factor's control level, over seeds that have both.

    `where`: the levels of the other factors, "" for the mean over their settings. `within_p`: the p-value of
    equivalence within the margin, a share of what the control level gains over its base at each seed's chosen
    rate; None without a margin, or where that gain is not told from 0.
    """

    factor: str
    level: str
    against: str
    where: str
    difference: Interval
    within_p: float | None = None


def area_effects(
    areas: Mapping[str, Mapping[str, float]],
    arms: Mapping[str, Mapping[str, str]],
    control: Mapping[str, str],
    *,
    level: float,
    varies: str,
    margin: Margin | None = None,
    gains: Mapping[str, Mapping[str, float]] | None = None,
) -> list[AreaEffect]:
    """Effects of each factor on the area under the response, in each setting of the others and on average.

    `areas`: by arm and seed; `arms`: level of each factor, by arm; `gains`: over the base, by arm and seed.
    Empty with fewer than two factors of several levels. The mean is over settings, seed by seed, of the seeds
    that are in all of them.
    """
    factors = [f for f in control if len({levels[f] for levels in arms.values()}) > 1]
    # (factor, level) -> setting -> seed -> (difference, the control's gain)
    pairs: dict[tuple[str, str], dict[str, dict[str, tuple[float, float]]]] = {}
    for arm, levels in arms.items():
        for factor in factors if len(factors) > 1 else []:
            plain = {**levels, factor: control[factor]}
            other = next((name for name, own in arms.items() if own == plain and name != arm), None)
            if other is not None:
                mine, theirs = areas.get(arm, {}), areas.get(other, {})
                where = ", ".join(f"{f}={levels[f]}" for f in factors if f != factor)
                settings = pairs.setdefault((factor, levels[factor]), {})
                gain = (gains or {}).get(other, {})
                settings[where] = {s: (mine[s] - theirs[s], gain.get(s, nan)) for s in mine if s in theirs}
    for settings in pairs.values():
        if len(settings) > 1:
            shared = [s for s in next(iter(settings.values())) if all(s in d for d in settings.values())]
            settings[""] = {
                s: (fmean(d[s][0] for d in settings.values()), fmean(d[s][1] for d in settings.values()))
                for s in shared
            }
    return [
        AreaEffect(
            factor,
            name,
            control[factor],
            where,
            paired_t([d for d, _ in seeds.values()], level=level, varies=varies),
            _within(list(seeds.values()), margin),
        )
        for (factor, name), settings in sorted(pairs.items(), key=lambda pair: factors.index(pair[0][0]))
        for where, seeds in settings.items()
        if seeds
    ]


def _within(seeds: Sequence[tuple[float, float]], margin: Margin | None) -> float | None:
    """P-value of equivalence of (difference, the control's gain) by seed; None where it cannot be claimed."""
    if margin is None or any(isnan(gain) for _, gain in seeds):
        return None
    differences, gains = ([pair[i] for pair in seeds] for i in (0, 1))
    told = paired_t(gains).low
    return margin_p(differences, gains, margin) if told is not None and told > 0 else None


def _areas(by_rate: Values) -> dict[str, float]:
    """Area of each seed that has a value at every rate of the arm."""
    if len(by_rate) < 2:
        return {}
    seeds = [s for s in next(iter(by_rate.values())) if all(s in own for own in by_rate.values())]
    return {s: area_under({rate: own[s] for rate, own in by_rate.items()}) for s in seeds}


def grid_values(
    evaluations: pd.DataFrame, runs: pd.DataFrame, task: str, metric: str
) -> tuple[dict[str, Values], dict[str, Values]]:
    """Accuracies of a grid's runs by arm, rate and seed: of the judged checkpoint and of the base."""
    judged = runs[runs["status"] == "finished"].set_index("run_id")["checkpoint"]
    rows = evaluations[(evaluations["task"] == task) & evaluations["tried_by"].notna()]
    rows = rows[rows["run_id"].isin(judged.index) & rows[metric].notna()]
    step = rows["run_id"].map(judged)
    return _by_rate(rows[rows["step"] == step], metric), _by_rate(rows[rows["step"] == 0], metric)


def _by_rate(rows: pd.DataFrame, metric: str) -> dict[str, Values]:
    found: dict[str, Any] = {}
    for arm, rate, seed, value in zip(rows["tried_by"], rows["lr"], rows["seed"], rows[metric], strict=True):
        found.setdefault(str(arm), {}).setdefault(float(rate), {})[str(seed)] = float(value)
    return {arm: dict(sorted(by.items())) for arm, by in found.items()}


def pilot_values(pilot: Sequence[Mapping[str, Any]]) -> dict[str, Values]:
    """Validation accuracies of a pilot by arm, rate and its own seeds; rates without a run are left out."""
    return {
        str(row["arm"]): {float(rate): dict(seeds) for rate, seeds in row["tried"].items() if seeds}
        for row in pilot
    }


@lru_cache(maxsize=1)  # one report asks in its tables, its figure and for each contrast
def study_responses(study: Study, primary: Primary) -> list[Response]:
    """Response of each arm: of a grid on the primary task and metric, of a pilot avg@k on its validation.

    Empty where one rate was given to each arm.
    """
    if study.choices:
        values, bases = grid_values(study.evaluations, study.runs, primary.task, primary.metric)
    else:
        values, bases = pilot_values(study.record.pilot), {}
    controls = {arm.label: control_of(study, arm.levels, primary.factor) for arm in study.record.arms}
    return responses(values, bases, controls, level=primary.level, varies=what_varies(study))
