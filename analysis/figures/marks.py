"""The two forms that most figures have: estimates one below the other, and curves, both with their intervals.

A row is one mark: `series` (colour, symbol, stroke), its value, `low` and `high`, `tip` (shown on pointing),
and `panel` where the figure has several.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import altair as alt

from analysis.figures.theme import INK, num_lines, wrap
from analysis.figures.theme import style as series_style

Row = dict[str, Any]
LABEL = 20  # characters of an arm's name on a line
ROW_HEIGHT = 30  # px for an arm
STROKE = 24  # px of a stroke in a legend: more than the longest pattern
PANEL_GAP, PANEL_LINE = (
    48,
    15,
)  # px between panels: for the axis of the upper; a line of the lower one's title


def forest(
    rows: Sequence[Row],
    *,
    title: str,
    labels: Sequence[str],
    series: Sequence[str],
    panels: Sequence[str] = (),
    zero: bool = False,
    margin: float | None = None,
    dodge: bool = False,
) -> dict[str, Any]:
    """Points with interval bars, a line for each of `labels` from the top down; `value` is on the x axis.

    `zero` draws a vertical line at 0, `margin` shades 0 ± margin, `dodge` puts the series of a label below
    each other.
    """
    offset = {"yOffset": alt.YOffset("series:N", scale=alt.Scale(domain=list(series)))} if dodge else {}
    y = alt.Y("label:N", scale=alt.Scale(domain=list(labels)), title=None, axis=label_axis())
    x, low = (alt.X(f"{end}:Q", title=title, scale=alt.Scale(zero=zero)) for end in ("value", "low"))
    base: Any = alt.Chart()
    base = base.encode(y=y, **offset)
    colour, shape, _ = _encodings(series)
    layers: list[Any] = []
    if margin is not None:
        band = _once().mark_rect(color=INK, opacity=0.1, aria=False)
        layers.append(band.encode(x=alt.XDatum(-margin), x2=alt.X2Datum(margin)))
    if zero:
        layers.append(_once().mark_rule(color=INK, opacity=0.6, aria=False).encode(x=alt.XDatum(0)))
    layers.append(base.mark_rule(strokeWidth=2, aria=False).encode(x=low, x2="high:Q", color=colour))
    point = base.mark_point(filled=True, size=70, opacity=1)
    layers.append(point.encode(x=x, color=colour, shape=shape, description="tip:N"))
    height = alt.Step(ROW_HEIGHT if not dodge else ROW_HEIGHT / 2)
    return specification(rows, layers, panels=panels, height=height)


def curves(
    rows: Sequence[Row],
    *,
    x: alt.X,
    title: str | None,
    series: Sequence[str],
    panels: Sequence[str] = (),
    spread: Literal["band", "bars"] = "bars",
    points: bool = True,
    height: int = 260,
    shared: bool = True,
    stairs: bool = False,
    crosses: bool = False,
) -> dict[str, Any]:
    """Lines through `value` against `x`, with `low` to `high` as a band or as bars.

    `points` shows each value, `shared` gives all panels one y axis, `stairs` draws the rows with `front` true
    as dashed steps, `crosses` those with `cross` true as crosses off the lines. Rows with `rule` true are
    horizontal lines at their value. Where rows have `x_low` and `x_high`, x is an estimate with bars too.
    """
    colour, shape, dash = _encodings(series, points=points)
    y, low = (alt.Y(f"{end}:Q", title=title, scale=alt.Scale(zero=False)) for end in ("value", "low"))
    line: Any = alt.Chart().transform_filter("!datum.rule && !datum.front && !datum.cross")
    line = line.encode(x=x, color=colour, detail="detail:N")
    layers: list[Any] = []
    if spread == "band":
        layers.append(line.mark_area(opacity=0.16, aria=False).encode(y=low, y2="high:Q"))
    else:
        layers.append(line.mark_rule(strokeWidth=1.6, aria=False).encode(y=low, y2="high:Q"))
    flat = alt.Chart().transform_filter("datum.rule").mark_rule(strokeWidth=1.6)
    layers.append(flat.encode(y=y, color=colour, strokeDash=dash, description="tip:N"))
    if any("x_low" in row for row in rows):
        low_x = x.copy()
        low_x.shorthand = "x_low:Q"
        layers.append(line.mark_rule(strokeWidth=1.6, aria=False).encode(x=low_x, x2="x_high:Q", y=y))
    if stairs:
        layers.append(_stairs().encode(x=x, y=y))
    if crosses:
        cross = (
            alt.Chart()
            .transform_filter("datum.cross")
            .mark_point(shape="cross", size=90, strokeWidth=1.6, opacity=1)
        )
        layers.append(cross.encode(x=x, y=y, color=colour, description="tip:N"))
    layers.append(line.mark_line(strokeWidth=2).encode(y=y, strokeDash=dash, description="series:N"))
    if not points:  # a measure taken once has no line
        line = line.transform_joinaggregate(count="count()", groupby=["series"]).transform_filter(
            "datum.count == 1"
        )
    mark = line.mark_point(filled=True, size=45, opacity=1)
    layers.append(mark.encode(y=y, description="tip:N", **({"shape": shape} if points else {})))
    return specification(rows, layers, panels=panels, height=height, shared=shared)


def _stairs() -> alt.Chart:
    steps = alt.Chart().transform_filter("datum.front")
    return steps.mark_line(
        interpolate="step-after", aria=False, color=INK, opacity=0.5, strokeDash=[5, 3], strokeWidth=1.2
    )


def linear_x(title: str, *, whole: bool = True) -> alt.X:
    """X axis of numbers; `whole` for steps and other counts."""
    axis = alt.Axis(tickCount=5, labelOverlap=True, format="~s" if whole else "~g")
    if whole:
        axis.tickMinStep = 1
    return alt.X("x:Q", title=title, scale=alt.Scale(zero=False, nice=False, padding=6), axis=axis)


def log_x(title: str, values: Sequence[float], number: str = ".3~s", *, base: int = 10) -> alt.X:
    """Logarithmic x axis with ticks at the values themselves; labels that would touch are left out."""
    axis = alt.Axis(values=sorted(set(values)), format=number, labelOverlap="greedy", labelSeparation=6)
    return alt.X(
        "x:Q", title=title, scale=alt.Scale(type="log", base=base, nice=False, padding=20), axis=axis
    )


def _encodings(series: Sequence[str], *, points: bool = True) -> tuple[alt.Color, alt.Shape, alt.StrokeDash]:
    """Colour, symbol and stroke by series. The legend shows symbols where there are points, else strokes."""
    looks = series_style(series)
    legend: Any = None
    if len(series) > 1:
        strokes = {"symbolType": "stroke", "symbolStrokeWidth": 2, "symbolSize": STROKE**2}
        symbols = {"symbolStrokeWidth": 0} if points else strokes
        legend = alt.Legend(title=None, symbolOpacity=1, **symbols)

    def scale(values: list[Any]) -> alt.Scale:
        return alt.Scale(domain=looks["domain"], range=values)

    return (
        alt.Color("series:N", scale=scale(looks["colours"]), legend=legend),
        alt.Shape("series:N", scale=scale(looks["symbols"]), legend=legend),
        alt.StrokeDash("series:N", scale=scale(looks["strokes"]), legend=None if points else legend),
    )


def _once() -> alt.Chart:
    """Chart with one row in each panel, for a mark that does not depend on the data."""
    return alt.Chart().transform_aggregate(rows="count()")


def label_axis() -> alt.Axis:
    """Y axis of names, each on up to three lines."""
    return alt.Axis(
        labelExpr=wrap(LABEL), labelOffset=_raised(), grid=False, ticks=False, domain=False, labelPadding=6
    )


def _raised() -> Any:
    """Offset that centres a label of two or three lines on its row."""
    long, longer = (f"length(split({wrap(LABEL)}, '\\n')) > {lines}" for lines in (1, 2))
    return {"condition": [{"test": longer, "value": -12}, {"test": long, "value": -6}], "value": 0}


def specification(
    rows: Sequence[Row],
    layers: list[Any],
    *,
    panels: Sequence[str] = (),
    height: Any,
    shared: bool = True,
    header_width: int = 12,
) -> dict[str, Any]:
    """Vega-Lite specification of the layers over the rows, one panel each of `panels` where there are any.

    With `shared` all panels have one y scale. Panel titles break after `header_width` characters.
    """
    layered = alt.layer(*layers, data=alt.UrlData("rows")).properties(height=height)
    if panels:
        header = alt.Header(title=None, labelExpr=wrap(header_width), labelAnchor="start", labelPadding=4)
        facet = alt.Facet("panel:N", sort=list(panels), header=header)
        chart: Any = layered.facet(facet=facet, columns=1, bounds="flush")
        gap = PANEL_GAP + PANEL_LINE * max(num_lines(panel, header_width) for panel in panels)
        chart = chart.properties(spacing=alt.RowColnumber(row=gap, column=28 if shared else 54))
        chart = chart.resolve_axis(x="independent")
        if not shared:
            chart = chart.resolve_scale(y="independent")
    else:
        chart = layered
    spec: dict[str, Any] = chart.to_dict()
    return {**spec, "data": {"values": [_finite(row) for row in rows]}}


def _finite(row: Row) -> Row:
    """Row without values that JSON does not have: NaN and infinity become null."""
    return {k: None if isinstance(v, float) and not abs(v) < float("inf") else v for k, v in row.items()}
