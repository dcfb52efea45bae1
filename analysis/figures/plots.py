"""Charts drawn still, by matplotlib's Agg: PNG on white, and SVG that takes the page's text colour."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.figures.chart import Chart, Heat, Panel, Series
from analysis.figures.ticks import spaced, tick_labels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe–Ito without black and yellow: told apart by colour-blind readers, on white and on near-black.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7f7f7f", "#8c6bb1")
NEUTRAL = "#8a939d"
MARKERS = ("o", "s", "^")
STROKES = ("solid", "dotted", "dashed")
INK = "#010203"  # stands for the page's text colour until the SVG is written
WIDTH = 7.2


@dataclass(frozen=True)
class Drawing:
    """A chart in both still formats. `svg` is inline-ready: no XML prolog, text kept as text."""

    chart: Chart
    svg: str
    png: bytes

    @property
    def name(self) -> str:
        return self.chart.name


def draw(chart: Chart) -> Drawing:
    """Both files of a chart; the same chart gives the same bytes."""
    figure = _heat(chart.heat) if chart.heat is not None else _panels(chart.panels, small=chart.small)
    return _drawing(figure, chart)


def colour(i: int) -> str:
    return NEUTRAL if i < 0 else COLOURS[i % len(COLOURS)]


def stroke(series: Series) -> str:
    """A line's style by CSS's name: arms that share a colour differ in it."""
    return "dashed" if series.dashed else STROKES[cycle(series)]


def cycle(series: Series) -> int:
    """How often the colours were used up before this arm."""
    return max(0, series.colour) // len(COLOURS) % len(STROKES)


def _panels(panels: Sequence[Panel], *, small: bool) -> Figure:
    columns = 1 if len(panels) == 1 else 4 if small else 2
    rows = -(-len(panels) // columns)
    longest = max((len(n) for p in panels for n in p.names or ()), default=0)
    tall = (
        (1.1 + 0.45 * len(panels[0].names or ()) if columns == 1 else 0.8 + 0.2 * len(panels[0].names or ()))
        if panels[0].flat
        else 3.4
        if columns == 1
        else 1.6
        if small
        else 2.3
    )
    figure, grid = _figure(rows, columns, height=tall * rows)
    flat = np.ravel(np.array(grid, dtype=object))
    for axes, panel in zip(flat, panels, strict=False):
        slanted = longest > 60 / max(1, len(panel.names or ())) / columns
        _panel(axes, panel, slanted=slanted, title_width=88 // columns)
    for axes in flat[len(panels) :]:
        axes.axis("off")
    for axes in flat[: len(panels) - columns] if small else ():
        axes.set_xlabel("")  # the panel below says it
    keys = dict(reversed([(h[1], h[0]) for axes in flat for h in _keys(axes)]))
    if len(keys) > 1:
        names = [n for n in dict.fromkeys(s.label for p in panels for s in p.series) if n in keys]
        longest = max(map(len, names))
        ncols = 1 if longest > 45 else 3 if len(names) > 8 and longest < 26 else 2
        figure.set_figheight(figure.get_figheight() + 0.18 * max(0, -(-len(names) // ncols) - 2))
        figure.legend([keys[n] for n in names], names, loc="outside lower center", frameon=False, fontsize=8,
                      labelcolor=INK, ncols=ncols)  # fmt: skip
    return figure


def _keys(axes: Any) -> list[tuple[Any, str]]:
    return list(zip(*axes.get_legend_handles_labels(), strict=True))


def _panel(axes: Any, panel: Panel, *, slanted: bool, title_width: int) -> None:
    bars = [s for s in panel.series if s.mark == "bar"]
    for series in panel.series:
        if series.mark == "bar":
            _bar(axes, series, bars.index(series), len(bars))
        else:
            _line(axes, series, panel)
    if panel.zero:
        (axes.axvline if panel.flat else axes.axhline)(0, color=INK, lw=1, alpha=0.6)
    if panel.log:
        axes.set_xscale("log", base=panel.log)
        _ticks(axes, [x for s in panel.series for x in s.x], small=panel.y_range is not None)
    if panel.names and panel.flat:
        axes.set_yticks(range(len(panel.names)), panel.names)
        axes.set_ylim(-0.6, len(panel.names) - 0.4)
    elif panel.names:
        axes.set_xticks(range(len(panel.names)), panel.names)
        if slanted:
            for tick in axes.get_xticklabels():
                tick.set(rotation=25, ha="right", rotation_mode="anchor")
    if panel.y_range:
        axes.set_ylim(*panel.y_range)
    if panel.x_range:
        axes.set_xlim(*panel.x_range)
    axes.set(xlabel=panel.x_label, ylabel=panel.y_label)
    if panel.title:
        axes.set_title(textwrap.fill(panel.title, title_width), fontsize=9, color=INK)


def _line(axes: Any, series: Series, panel: Panel) -> None:
    hue, label = colour(series.colour), series.label if series.key else None
    style: dict[str, Any] = {"color": hue, "label": label, "lw": 1.0 if series.dashed else 1.6}
    style |= {"ls": stroke(series)} | ({"alpha": 0.75} if series.dashed else {})
    if series.mark in ("points", "both"):
        style |= {"marker": MARKERS[cycle(series)], "ms": 6 if series.mark == "points" else 4}
    if series.mark == "points":
        style["ls"] = ""
    if series.mark == "stairs":
        style["drawstyle"] = "steps-post"
    axes.plot(series.x, series.y, **style)
    if series.low is None or series.high is None:
        return
    if panel.band:
        axes.fill_between(series.x, series.low, series.high, color=hue, alpha=0.18, lw=0)
    else:
        _error(axes, series, series.x, flat=panel.flat)


def _error(axes: Any, series: Series, places: Sequence[float], *, flat: bool) -> None:
    """Interval bars, over values that are on y, or on x where the panel is flat."""
    for place, y, low, high in zip(places, series.y, series.low or (), series.high or (), strict=True):
        if low < high:
            ends = ([low, high], [y, y]) if flat else ([place, place], [low, high])
            ink = INK if series.mark == "bar" else colour(series.colour)
            axes.plot(*ends, color=ink, lw=1.2 if series.mark == "bar" else 1.8, solid_capstyle="round")


def _bar(axes: Any, series: Series, index: int, count: int) -> None:
    width = 0.8 / count
    places = [x - 0.4 + width * (index + 0.5) for x in series.x]
    label = series.label if series.key else None
    axes.bar(places, series.y, width * 0.92, color=colour(series.colour), label=label, alpha=0.85)
    if series.low is not None:
        _error(axes, series, places, flat=False)


def _heat(heat: Heat) -> Figure:
    figure, axes = _figure(1, 1, height=1.3 + 0.32 * len(heat.rows))
    values = np.array([[np.nan if v is None else v for v in row] for row in heat.values])
    image = axes.imshow(values, aspect="auto", vmin=0, vmax=1, cmap="cividis", interpolation="nearest")
    axes.set_yticks(range(len(heat.rows)), heat.rows)
    axes.set_xticks([])
    axes.grid(False)
    axes.set_xlabel(f"{len(heat.columns)} problems")
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02)
    bar.ax.tick_params(colors=INK, labelsize=8)
    bar.set_label(heat.label, color=INK, fontsize=8)
    return figure


def _figure(rows: int, columns: int, *, height: float) -> tuple[Figure, Any]:
    """A figure apart from pyplot's global state, without the top and right spines."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    grid = figure.subplots(rows, columns)
    for axes in np.ravel(np.array(grid, dtype=object)):
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(INK)
        axes.tick_params(colors=INK, labelsize=8)
        axes.xaxis.label.set(color=INK, fontsize=9)
        axes.yaxis.label.set(color=INK, fontsize=9)
        axes.grid(alpha=0.15, color=INK, lw=0.6)
    return figure, grid


def _ticks(axes: Any, values: Sequence[float], *, small: bool) -> None:
    """Ticks at the values themselves: a log axis names powers in mathtext, which is off for user labels."""
    from matplotlib.ticker import NullFormatter

    axes.xaxis.set_minor_formatter(NullFormatter())
    kept = spaced(values)
    axes.set_xticks(kept, tick_labels(kept, small=small))


def _drawing(figure: Figure, chart: Chart) -> Drawing:
    import matplotlib

    png, svg = io.BytesIO(), io.StringIO()
    with matplotlib.rc_context({"text.parse_math": False}):
        figure.savefig(png, format="png", dpi=120, facecolor="white")
    figure.set_layout_engine("none")  # laid out once; the SVG repeats the PNG
    # A salt a figure keeps ids apart when several are inlined in one page; no date, so bytes repeat.
    still: Any = {"svg.fonttype": "none", "svg.hashsalt": chart.name, "text.parse_math": False}
    with matplotlib.rc_context(still):
        figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = svg.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    for size in ("width", "height"):  # the page sets them; the viewBox keeps the proportions
        text = re.sub(rf'(<svg[^>]*?) {size}="[^"]*"', r"\1", text, count=1)
    return Drawing(chart, text, _few_colours(png))


def _few_colours(png: io.BytesIO) -> bytes:
    """256 colours are all that lines and flat areas need, at a third of the bytes."""
    from PIL import Image

    small = io.BytesIO()
    Image.open(png).convert("RGB").quantize(256).save(small, format="png", optimize=True)
    return small.getvalue()
