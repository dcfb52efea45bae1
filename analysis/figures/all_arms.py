"""Every committed arm's gain over its untrained base, measure by measure: the figure of the front page."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import altair as alt

from analysis.figures.figure import Figure
from analysis.figures.marks import specification
from analysis.figures.theme import BREAK, COLOURS, GREY, INK

if TYPE_CHECKING:
    import pandas as pd

PANELS = {
    "avg": "At temperature 1",
    "best": "At own best T",
    "maj": "Majority of k",
    "greedy": "Greedy",
    "pass": "Any of k right",
}
ROW = 6  # px for an arm
SIDES = {"up": "interval above 0", "unclear": "interval holds 0", "down": "interval below 0"}


def all_arms(rows: pd.DataFrame, sides: pd.Series[str]) -> Figure:
    """One line an arm, sorted by its gain at temperature 1; `rows` are those of `report.all_arms.gains`.

    `sides` says where each row's interval lies: up, unclear or down.
    """
    ordered = rows[rows["measure"] == "avg"].sort_values("gain", ascending=False)
    rank = {arm: place for place, arm in enumerate(zip(ordered["study"], ordered["arm"], strict=True))}
    titles = {measure: _title(measure, rows, sides) for measure in PANELS}
    drawn = [
        {
            "panel": titles[row["measure"]],
            "rank": rank[row["study"], row["arm"]],
            "side": SIDES[side],
            "value": 100 * row["gain"],
            "low": 100 * (row["gain"] if math.isnan(row["gain_low"]) else row["gain_low"]),
            "high": 100 * (row["gain"] if math.isnan(row["gain_high"]) else row["gain_high"]),
            "tip": f"{row['study']}, {row['arm']}: {100 * row['gain']:+.1f}",
        }
        for row, side in zip(rows.to_dict("records"), sides, strict=True)
        if row["measure"] in PANELS
    ]
    panels = list(titles.values())
    spec = specification(drawn, _layers(len(rank)), panels=panels, height=ROW * len(rank), header_width=40)
    studies = rows["study"].nunique()
    return Figure(
        "all_arms",
        f"Gain over the untrained base: {len(rank)} arms of {studies} studies, by how answers are taken",
        "One line an arm, the same in each panel, sorted by the gain at temperature 1; in the second panel "
        "base and arm are sampled each at its own best temperature. Points of accuracy on generated test "
        "problems, 95 % intervals over seeds. The line at 0 is the untrained base. Arms share bases and "
        "problems: a count, not a test.",
        spec,
        columns=(5, 1),
    )


def _title(measure: str, rows: pd.DataFrame, sides: pd.Series[str]) -> str:
    own = sides[rows["measure"] == measure]
    return f"{PANELS[measure]}{BREAK}{(own == 'up').sum()} of {len(own)} rise, {(own == 'down').sum()} fall"


def _layers(count: int) -> list[Any]:
    scale = alt.Scale(domain=list(SIDES.values()), range=[COLOURS[0], GREY, COLOURS[1]])
    colour = alt.Color("side:N", scale=scale, legend=alt.Legend(title=None, symbolOpacity=1))
    y = alt.Y("rank:Q", axis=None, scale=alt.Scale(domain=[-1, count], reverse=True))
    low, value = (alt.X(f"{end}:Q", title="gain, points") for end in ("low", "value"))
    base = alt.Chart().encode(y=y, color=colour)
    zero = alt.Chart().transform_aggregate(rows="count()").mark_rule(color=INK, opacity=0.7, aria=False)
    return [
        zero.encode(x=alt.XDatum(0)),
        base.mark_rule(strokeWidth=1.5, opacity=0.6, aria=False).encode(x=low, x2="high:Q"),
        base.mark_point(filled=True, size=26, opacity=1).encode(x=value, description="tip:N"),
    ]
