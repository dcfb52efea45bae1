"""The response to the learning rate: accuracy at each rate, the area under it, and each seed's choice."""

from __future__ import annotations

from collections import Counter
from typing import Any

from analysis.stats.margins import Margin
from analysis.stats.text import interval_text, p_text
from analysis.study.contrasts import METRICS, Primary, declared, what_varies
from analysis.study.families import by_seed, over_base
from analysis.study.load import Study
from analysis.study.rates import SPLIT
from analysis.study.response import Response, area_effects, study_responses
from analysis.tables.table import Table, to_frame


def where_tried(study: Study, primary: Primary) -> str:
    """`avg@k on test, over the study's seeds`: what a response is measured by."""
    if study.choices:
        return f"{METRICS[primary.metric]} on {study.task_text(primary.task)}, over the study's seeds"
    return f"avg@k on {SPLIT}, over the pilot's own seeds"


def response_table(study: Study, primary: Primary) -> Table:
    """Per arm: mean over seeds at each rate, area under the curve, its difference, usable range."""
    found = study_responses(study, primary)
    rates = sorted({rate for response in found for rate in response.cells})
    cells = [
        [
            r.arm,
            *(interval_text(r.cells.get(rate)) for rate in rates),
            interval_text(r.area),
            interval_text(r.difference, signed=True) if r.control else "control",
            _usable(r),
        ]
        for r in found
    ]
    columns = ["arm", *(f"{rate:g}" for rate in rates), "area", "area − control's", "usable"]
    raw = [_raw(r, rate) for r in found for rate in (*r.cells, None)]
    note = (
        f"{where_tried(study, primary)}, points; {100 * primary.level:g} % intervals by Student's t, each by "
        "itself and not adjusted. Area: mean accuracy over log10 of the learning rate (trapezoid rule), each "
        "seed's by itself; its difference is paired by seed. An arm can gain in it, by a wider range, and "
        "nothing at the best rate. Usable: rates whose gain over the base has an interval above 0"
        + ("." if study.choices else "; not known of a pilot, which has no evaluation of its bases here.")
    )
    return Table("rate_response", "Response to the learning rate", columns, cells, to_frame(raw), note)


def _usable(response: Response) -> str:
    """`2 of 3 (0.0001, 0.001)`."""
    if response.usable is None:
        return "—"
    listed = ", ".join(f"{rate:g}" for rate in response.usable)
    return f"{len(response.usable)} of {len(response.cells)}" + (f" ({listed})" if listed else "")


def _raw(response: Response, rate: float | None) -> dict[str, Any]:
    """A row of the CSV: one rate of an arm, or (`rate` None, quantity area) the area over all."""
    cell = response.area if rate is None else response.cells[rate]
    other = response.difference if rate is None else response.gains.get(rate)
    row: dict[str, Any] = {
        "arm": response.arm,
        "lr": rate,
        "quantity": "area" if rate is None else "accuracy",
    }
    for name, interval in (("", cell), ("difference_" if rate is None else "gain_", other)):
        for part in ("estimate", "low", "high", "n"):
            row[name + part] = getattr(interval, part) if interval else None
    return row


def area_effects_table(study: Study, primary: Primary) -> Table:
    """Effects of each factor on the area under the response; empty with one factor or one rate an arm."""
    areas = {r.arm: r.areas for r in study_responses(study, primary)}
    arms = {arm.label: arm.levels for arm in study.record.arms if arm.label in areas}
    margin = Margin.read(declared(study).get("margin"))
    found = area_effects(
        areas,
        arms,
        study.record.control,
        level=primary.level,
        varies=what_varies(study),
        margin=margin,
        gains={arm: by_seed(over_base(study, [arm], primary.task), primary.metric) for arm in arms},
    )
    shown = [interval_text(e.difference, signed=True) for e in found]
    cells = [
        [e.factor, e.level, e.against, e.where or "mean", text, p_text(e.within_p)]
        for e, text in zip(found, shown, strict=True)
    ]
    raw = [
        {
            **dict(zip(("factor", "level", "against", "where"), e, strict=False)),
            **{part: getattr(e.difference, part) for part in ("estimate", "low", "high", "p_value", "n")},
            "tost_p": e.within_p,
        }
        for e in found
    ]
    note = (
        f"Area under {where_tried(study, primary)} against log10 of the learning rate, points; differences "
        "are paired by seed and not adjusted. Mean: over the settings of the other factors, seed by seed. "
        "Equivalent: by the declared margin, a share being of the control level's gain over its base at each "
        "seed's chosen rate; no p where that gain is not told from 0."
    )
    within = f"equivalent within {margin.text(None, 'the control')}, p" if margin else "equivalent, p"
    columns = ["factor", "level", "against", "where", "difference of areas", within]
    return Table(
        "area_effects", "What widens the range of learning rates", columns, cells, to_frame(raw), note
    )


def choices_table(study: Study) -> Table:
    """Learning rate that each seed of each arm chose on its own validation; empty without a grid."""
    arms = dict.fromkeys(c.arm for c in study.choices)
    cells = []
    for arm in arms:
        mine = [c for c in study.choices if c.arm == arm]
        counts = Counter(c.chosen for c in mine if c.chosen is not None)
        chosen = ", ".join(f"{rate} ({counts[rate]})" for rate in sorted(counts, key=float))
        left = ", ".join(c.seed for c in mine if c.chosen is None)
        cells.append([arm, chosen or "—", str(sum(c.edge for c in mine)), left or "none"])
    raw = [
        {
            "arm": c.arm,
            "seed": c.seed,
            "lr": float(rate),
            "validation_avg": score,
            "chosen": rate == c.chosen,
        }
        for c in study.choices
        for rate, score in c.scores.items()
    ]
    note = (
        "Each seed takes the rate with the best avg@k on its own validation at the checkpoint that its run "
        "is judged by, the smaller of equal ones, so that intervals over seeds contain the choice. In "
        "brackets: how many seeds. A seed that lacks a run at some rate is left out."
    )
    columns = ["arm", "learning rate (seeds)", "at the edge", "seeds left out"]
    return Table("rate_choices", "Learning rate, chosen by each seed", columns, cells, to_frame(raw), note)
