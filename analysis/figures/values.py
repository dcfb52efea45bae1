"""What figures show, as rows for their marks: estimates, spreads over seeds, the untrained bases, words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from analysis.figures.theme import BASE, BASE_BEST
from analysis.stats.intervals import Interval
from analysis.study.bases import UntrainedBase
from analysis.study.contrasts import CHAINS, METRICS, Primary, control_of, evaluated_tasks
from analysis.study.load import Study

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]
BASES = (BASE, BASE_BEST)
FEW_ARMS = 5  # more curves in one panel hide each other
OWN, CONTROL = "this arm", "its control"


def estimate_row(series: str, interval: Interval, **place: Any) -> Row:
    """Row of an estimate in percent with its interval; `place` holds label, x, panel."""
    value = 100 * interval.estimate
    # No interval: a bar without length.
    low, high = (value if end is None else 100 * end for end in (interval.low, interval.high))
    return {
        "series": series,
        "value": value,
        "low": low,
        "high": high,
        "tip": tip(place.get("label") or series, value, low, high),
    } | place


def tip(name: str, value: float, low: float, high: float, *, at: str = "") -> str:
    """`grpo, step 6: 45.2 [40.1, 50.3]`."""
    ends = f" [{_short(low)}, {_short(high)}]" if low < high else ""
    return f"{name}{', ' + at if at else ''}: {_short(value)}{ends}"


def _short(value: float) -> str:
    return (f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}").replace("-", "−")


def spread_rows(
    groups: pd.api.typing.SeriesGroupBy, series: str, *, scale: float, x: str, **place: Any
) -> list[Row]:
    """A row for each group's key on the x axis: mean over seeds, lowest and highest seed."""
    table = groups.agg(["mean", "min", "max"]).astype(float)
    return [
        {
            "series": series,
            "x": float(at),
            "value": scale * m,
            "low": scale * lo,
            "high": scale * hi,
            "tip": tip(series, scale * m, scale * lo, scale * hi, at=f"{x} {at:g}"),
        }
        | place
        for at, m, lo, hi in table.itertuples()
    ]


def base_rules(study: Study, bases: Iterable[UntrainedBase], metric: str, level: float) -> list[Row]:
    """A horizontal line for each base, in points."""
    found = [(base, base.estimate(study, metric, level)) for base in bases]
    return [
        estimate_row(BASE, interval, label=base.label, detail=base.label, arms=base.arms, rule=True)
        for base, interval in found
        if interval is not None
    ]


def panels(study: Study, rows: Sequence[Row]) -> tuple[list[Row], list[str], list[str]]:
    """Rows, series and panels of curves: one panel for up to FEW_ARMS arms, else one for each arm.

    An arm's panel also shows its control, which has no panel of its own, and its base. Rows of a base list
    the `arms` trained from it.
    """
    names = list(dict.fromkeys(r["series"] for r in rows))
    arms, based = [n for n in names if n not in BASES], [n for n in BASES if n in names]
    if len(arms) <= FEW_ARMS:
        return [_without_arms(row) for row in rows], [*arms, *based], []
    control = _controls(study)
    behind = [c for c in arms if c in control.values()]
    shown = [arm for arm in arms if arm not in behind] or arms
    found = [row for arm in shown for row in _own_panel(rows, arm, control.get(arm))]
    return found, [OWN, *([CONTROL] if behind else []), *based], shown


def _without_arms(row: Row) -> Row:
    return {name: value for name, value in row.items() if name != "arms"}


def _controls(study: Study) -> dict[str, str | None]:
    """Each arm's control by the primary factor; None for a control itself, and where it was not run."""
    factor = study.record.primary.get("factor") or next(iter(study.record.factors), None)
    return {arm.label: control_of(study, arm.levels, factor) for arm in study.record.arms}


def _own_panel(rows: Sequence[Row], arm: str, control: str | None) -> list[Row]:
    """Rows of an arm, of its control and of its base, named so."""
    names = {arm: OWN} if control is None else {arm: OWN, control: CONTROL}
    mine = [row for row in rows if (arm in row["arms"] if row["series"] in BASES else row["series"] in names)]
    return [
        _without_arms(row) | {"series": names.get(row["series"], row["series"]), "panel": arm} for row in mine
    ]


def side_by_side(
    rows: Sequence[Row], series: Sequence[str], *, log: bool, step: float | None = None
) -> list[Row]:
    """Rows moved along x, a step for each series, so that bars at one x do not hide each other.

    `step` None: a little, by the length of the axis.
    """
    xs = [math.log(r["x"]) if log else r["x"] for r in rows if not r.get("rule")]
    if step is None:
        step = 0.012 * (max(xs) - min(xs)) if xs else 0.0
    shift = {name: step * (i - (len(series) - 1) / 2) for i, name in enumerate(series)}
    return [
        r
        if r.get("rule")
        else {**r, "x": r["x"] * math.exp(shift[r["series"]]) if log else r["x"] + shift[r["series"]]}
        for r in rows
    ]


def measure(study: Study, primary: Primary) -> str:
    """`avg@16`: the primary metric with the number of samples, where all evaluations have the same."""
    frame = study.evaluations
    ks = frame[frame["task"] == primary.task]["k"].unique()
    name = METRICS[primary.metric]
    return name.replace("@k", f"@{ks[0]}") if len(ks) == 1 else name


def named(study: Study, primary: Primary) -> str:
    """`Accuracy (avg@16) on test`; valid chains are no accuracy: `Valid chains@256 on heldout`."""
    name = measure(study, primary)
    text = name[0].upper() + name[1:] if primary.metric in CHAINS else f"Accuracy ({name})"
    return f"{text} on {split_names(study)[primary.task]}"


def split_names(study: Study) -> dict[str, str]:
    """Name of each task that arms were evaluated on: its split, or the task where a split has several."""
    tasks = evaluated_tasks(study)
    return {t: s if list(tasks.values()).count(s) == 1 else t for t, s in tasks.items()}


def seeds_text(study: Study) -> str:
    """`5 seeds`, or `8 to 9 seeds`: how many of each arm are finished."""
    found = study.finished
    counts = sorted(set(found[found["arm"].notna()].groupby("arm")["seed"].nunique())) or [0]
    return f"{' to '.join(map(str, dict.fromkeys((counts[0], counts[-1]))))} seed{'s' * (counts != [1])}"


def factors_text(study: Study) -> str:
    """`objective and model`: what the arms differ in."""
    return " and ".join(study.record.factors) or "arm"


def where(study: Study, primary: Primary) -> str:
    """`aime_gen_test (generated problems) at temperature 1`."""
    frame = study.evaluations
    temperatures = {p[1] for p in frame[frame["task"] == primary.task]["protocol"]}
    text = study.task_text(primary.task)
    return f"{text} at temperature {temperatures.pop():g}" if len(temperatures) == 1 else text
