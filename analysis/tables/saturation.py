"""The report's table of saturation curves: asymptotes, midpoints, slopes, forecasts."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from analysis.stats.margins import Margin
from analysis.stats.text import interval_text, p_text, points
from analysis.study.contrasts import METRICS, Primary, declared
from analysis.study.load import Study
from analysis.study.saturation import Saturation
from analysis.tables.arms import interval_columns
from analysis.tables.table import Table, to_frame

COLUMNS = ["arm", "seeds reached", "asymptote", "midpoint, steps", "slope", "misfit", "− control's asymptote"]
FORECAST = ["forecast − observed", "held − observed", "forecast nearer"]


def saturation_table(study: Study, primary: Primary, found: Sequence[Saturation]) -> Table:
    """One row an arm; a CSV row a seed."""
    margin = Margin.read(declared(study).get("margin"))
    within = f"equivalent within {margin.text(None, 'the control')}, p" if margin else "equivalent, p"
    cells = [[*_cells(one), p_text(one.within_p), *_forecast_cells(one)] for one in found]
    raw = [
        {
            "arm": one.label,
            "seed": seed,
            "start": fit.start,
            "asymptote": fit.asymptote,
            "midpoint": fit.midpoint,
            "slope": fit.slope,
            "rmse": fit.rmse,
            "reached": fit.reached,
            "checkpoints": len(one.curves[seed][0]),
            "forecast": one.forecasts[seed].predicted if seed in one.forecasts else None,
            "held": one.forecasts[seed].held if seed in one.forecasts else None,
            "observed": one.forecasts[seed].observed if seed in one.forecasts else None,
            **interval_columns("arm_asymptote", one.asymptote),
            **interval_columns("difference", one.difference),
            **interval_columns("forecast_error", one.error),
            "tost_p": one.within_p,
        }
        for one in found
        for seed, fit in one.fits.items()
    ]
    note = (
        "R = R0 + (A − R0) / (1 + (M / step)^B) (arXiv:2510.13786) through each seed's checkpoints, "
        f"{METRICS[primary.metric]} on {study.task_text(primary.task)}; R0 is its base's. Midpoint and slope "
        "are medians over seeds, misfit is the largest root mean square. Reached: the last checkpoint has "
        "made 80 % of the fitted rise. Where a seed has not, its asymptote is extrapolated, and none is "
        "compared. Forecast: the last checkpoint by the curve through the first quarter of the steps; held: "
        "by the last score of that quarter; nearer: seeds in which the forecast is nearer than it. p is "
        "not adjusted."
    )
    return Table("saturation", "Where it ends", [*COLUMNS, within, *FORECAST], cells, to_frame(raw), note)


def _cells(one: Saturation) -> list[str]:
    fits = list(one.fits.values())
    return [
        one.label,
        f"{one.num_reached} of {len(fits)}",
        interval_text(one.asymptote),
        f"{median(f.midpoint for f in fits):.3g}",
        f"{median(f.slope for f in fits):.2f}",
        points(max(f.rmse for f in fits)),
        interval_text(one.difference, signed=True),
    ]


def _forecast_cells(one: Saturation) -> list[str]:
    if not one.forecasts:
        return ["—"] * len(FORECAST)
    forecasts = list(one.forecasts.values())
    held = sum(f.held_error for f in forecasts) / len(forecasts)
    nearer = sum(
        abs(f.error) < abs(f.held_error) for f in forecasts
    )  # errors of either sign cancel in a mean
    return [
        interval_text(one.error, signed=True),
        points(held, signed=True),
        f"{nearer} of {len(forecasts)}",
    ]
