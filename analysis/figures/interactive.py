"""Charts as plotly.js figures, one a panel, and the library packed small enough to travel in the page."""

from __future__ import annotations

import base64
import gzip
import importlib.util
import math
from functools import cache
from pathlib import Path
from typing import Any

from analysis.figures.chart import Chart, Heat, Panel, Series
from analysis.figures.plots import colour, cycle, stroke
from analysis.figures.ticks import spaced, tick_labels

SYMBOLS = ("circle", "square", "triangle-up")


@cache
def packed_library() -> str | None:
    """plotly.min.js, gzipped and in base64 (1.9 MB instead of 4.8); None where plotly is not installed."""
    found = importlib.util.find_spec("plotly")
    if found is None or not found.submodule_search_locations:
        return None
    path = Path(found.submodule_search_locations[0]) / "package_data" / "plotly.min.js"
    if not path.exists():
        return None
    return base64.b64encode(gzip.compress(path.read_bytes(), 9, mtime=0)).decode()


def figure(chart: Chart) -> dict[str, Any]:
    """`panels`: what Plotly.newPlot takes, colours of text and grid left to the page; `keys`: the legend."""
    if chart.heat is not None:
        return {"panels": [_heat(chart.heat)], "keys": []}
    keys = {s.label: s for p in chart.panels for s in p.series if s.key}
    listed = [
        {"label": s.label, "colour": colour(s.colour), "stroke": stroke(s),
         "point": "●■▲"[cycle(s)] if s.mark == "points" else ""}
        for s in keys.values()
    ]  # fmt: skip
    return {
        "panels": [_panel(p) for p in chart.panels],
        "keys": listed if len(listed) > 1 else [],
        "small": chart.small,
    }


def _panel(panel: Panel) -> dict[str, Any]:
    traces = [trace for series in panel.series for trace in _traces(series, panel)]
    x: dict[str, Any] = {"title": {"text": panel.x_label}, "automargin": True}
    y: dict[str, Any] = {"title": {"text": panel.y_label}, "automargin": True}
    if panel.log:
        values = spaced([v for s in panel.series for v in s.x])
        x |= {
            "type": "log",
            "tickvals": values,
            "ticktext": tick_labels(values, small=panel.y_range is not None),
            "tickangle": 0,
        }
    if panel.names:
        wide = 30 if panel.flat and panel.title else 18  # low rows hold one line
        texts = [_wrap(name, wide) for name in panel.names]
        places = {"tickvals": list(range(len(texts))), "ticktext": texts,
                  "ticklabeloverflow": "allow"}  # fmt: skip
        (y if panel.flat else x).update(places, range=[-0.6, len(panel.names) - 0.4])
    if panel.title and min((v for s in panel.series for v in (*s.y, *(s.low or ()))), default=-1) >= 0:
        y["rangemode"] = "nonnegative"
    if panel.y_range:
        y |= {"range": list(panel.y_range), "nticks": 4}
        x |= {"nticks": 5}
    if panel.x_range:
        x |= {"range": list(panel.x_range)}
    for axis in (x, y):
        axis.setdefault("zeroline", False)
    if panel.zero:
        (x if panel.flat else y)["zeroline"] = True
    layout: dict[str, Any] = {"xaxis": x, "yaxis": y, "showlegend": False, "barmode": "group", "bargap": 0.25}
    title = _wrap(panel.title, 20) if panel.y_range else panel.title  # a small panel is narrow
    more = 16 * title.count("<br>")
    if panel.y_range:
        layout["margin"] = {"l": 34, "r": 8, "t": 30 + more, "b": 38}
    if title:
        layout["title"] = {"text": title}
    layout["height"] = _height(panel) + more
    return {"data": traces, "layout": layout}


def _height(panel: Panel) -> int:
    if panel.flat:
        return 120 + (26 if panel.title else 44) * len(panel.names or ())
    return 180 if panel.y_range else 260 if panel.title else 380


def _traces(series: Series, panel: Panel) -> list[dict[str, Any]]:
    hue = colour(series.colour)
    shared = {"name": series.label, "meta": series.label, "x": _numbers(series.x), "y": _numbers(series.y)}
    value = "%{x:.3~f}" if panel.flat else "%{y:.3~f}" if panel.title and not panel.names else "%{y:.1f}"
    at = "" if panel.names else f"<br>{panel.x_label} %{{x:.4~s}}"
    shared["hovertemplate"] = f"{series.label}: <b>{value}</b>{at}<extra></extra>"
    if series.mark == "bar":
        return [shared | {"type": "bar", "marker": {"color": hue}} | _error(series, "error_y", None)]
    modes = {"points": "markers", "both": "lines+markers"}
    main = shared | {
        "type": "scatter", "mode": modes.get(series.mark, "lines"),
        "line": {"color": hue, "width": 1.3 if series.dashed else 2,
                 "dash": {"dashed": "dash", "dotted": "dot"}.get(stroke(series), "solid"),
                 "shape": "hv" if series.mark == "stairs" else "linear"},
        "marker": {"color": hue, "symbol": SYMBOLS[cycle(series)],
                   "size": 9 if series.mark == "points" else 6},
    }  # fmt: skip
    if series.low is None or series.high is None:
        return [main]
    if not panel.band:
        return [main | _error(series, "error_x" if panel.flat else "error_y", hue)]
    edge = {"type": "scatter", "mode": "lines", "x": shared["x"], "line": {"width": 0}, "hoverinfo": "skip",
            "meta": series.label}  # fmt: skip
    upper = edge | {"y": _numbers(series.high), "fill": "tonexty", "fillcolor": _faint(hue)}
    return [edge | {"y": _numbers(series.low)}, upper, main]


def _error(series: Series, name: str, hue: str | None) -> dict[str, Any]:
    """Asymmetric interval bars; none where all have no length. Without a hue the page's text colour."""
    if series.low is None or series.high is None:
        return {}
    values = series.x if name == "error_x" else series.y
    up = [h - v for h, v in zip(series.high, values, strict=True)]
    down = [v - low for low, v in zip(series.low, values, strict=True)]
    if not any(u > 0 or d > 0 for u, d in zip(up, down, strict=True)):
        return {}
    bar: dict[str, Any] = {"type": "data", "symmetric": False, "array": _numbers(up),
                           "arrayminus": _numbers(down), "thickness": 1.6, "width": 0}  # fmt: skip
    return {name: bar | ({"color": hue} if hue else {})}


def _heat(heat: Heat) -> dict[str, Any]:
    rows = heat.rows[::-1]
    names = [_wrap(row) for row in rows]
    tall = max(34, 15 * max(name.count("<br>") + 1 for name in names))
    trace = {
        "type": "heatmap", "z": [_numbers(row) for row in heat.values[::-1]], "x": heat.columns,
        "y": names, "zmin": 0, "zmax": 1, "colorscale": "Cividis",
        "hovertemplate": "%{x}<br>%{y}: <b>%{z:.2f}</b><extra></extra>",
        "colorbar": {"thickness": 10, "outlinewidth": 0, "title": {"text": heat.label, "side": "right"}},
    }  # fmt: skip
    layout = {
        "xaxis": {"title": {"text": f"{len(heat.columns)} problems"}, "showticklabels": False, "ticks": "",
                  "showgrid": False},
        "yaxis": {"automargin": True, "showgrid": False}, "height": 130 + tall * len(rows),
    }  # fmt: skip
    return {"data": [trace], "layout": layout}


def _numbers(values: Any) -> list[float | None]:
    """Six digits are more than a screen has; JSON has no NaN."""
    return [None if v is None or not math.isfinite(v) else float(f"{v:.6g}") for v in values]


def _wrap(name: str, width: int = 18) -> str:
    """A category on lines of about `width` characters."""
    lines = [""]
    for word in name.split():
        if lines[-1] and len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "<br>".join(lines)


def _faint(hue: str) -> str:
    red, green, blue = (int(hue[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.18)"
