"""How every figure looks: colours that colour-blind readers tell apart, strokes, symbols, fonts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from analysis.study.bases import BASE as BASE
from analysis.study.bases import BASE_BEST as BASE_BEST

# Okabe-Ito without black and yellow: distinct to colour-blind readers, on white and on near-black.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#8c6bb1", "#a6761d")
STROKES = ([1, 0], [7, 3], [2, 2], [9, 3, 2, 3], [4, 2])
SYMBOLS = ("circle", "square", "triangle-up", "cross", "triangle-down", "triangle-right")
BASE_STROKES, BASE_SYMBOLS = ([3, 3], [1, 3]), ("diamond", "triangle-left")
GREY_BASE = f"grey: the {BASE}"  # in titles
GREY = "#8a939d"  # the untrained base, and what cannot be told from it
INK = "#010203"  # replaced by the page's text colour, or by near-black in a file
FONT = (
    "Liberation Sans, Arial, Helvetica, sans-serif"  # metric-compatible, so that text has the room it needs
)
SIZE = 12  # px; no text is smaller than 11
SYMBOL_SIZE = 80  # px², of a symbol in a legend
BREAK = "\n"


def wrap(width: int) -> str:
    """Vega expression that breaks a label at the first space after `width` characters, again and again."""
    return f"replace(datum.label, regexp('([^\\n]{{{width},}}?) ', 'g'), '$1\\n')"


def num_lines(text: str, width: int) -> int:
    """Lines that `wrap` makes of a label."""
    return 1 + len(re.findall(rf"[^\n]{{{width},}}? ", text)) + text.count(BREAK)


def style(series: Sequence[str]) -> dict[str, Any]:
    """Colour, symbol and stroke of each series as scale ranges.

    Bases are grey and dashed, at their own best sampling dotted, whatever their place. Arms differ in stroke
    too: a line that lies on another shows it through its gaps.
    """
    trained = [name for name in series if not name.startswith(BASE)]
    order = {name: i for i, name in enumerate(trained)}
    place = [order.get(name) for name in series]
    return {
        "domain": list(series),
        "colours": [GREY if i is None else COLOURS[i % len(COLOURS)] for i in place],
        "symbols": [
            (BASE_SYMBOLS[name == BASE_BEST] if i is None else SYMBOLS[i % len(SYMBOLS)])
            for name, i in zip(series, place, strict=True)
        ],
        "strokes": [
            (BASE_STROKES[name == BASE_BEST] if i is None else STROKES[i % len(STROKES)])
            for name, i in zip(series, place, strict=True)
        ],
    }


def config(*, legend_columns: int, titled: bool) -> dict[str, Any]:
    """Vega-Lite's configuration. `titled` leaves room for a title above the panels."""
    text = {"labelColor": INK, "titleColor": INK, "labelFontSize": SIZE - 0.8, "titleFontSize": SIZE}
    return {
        "font": FONT,
        "lineBreak": BREAK,
        "background": None,
        "padding": {"left": 14, "right": 6, "top": 4, "bottom": 4},  # a wider font of the reader's has room
        "view": {"stroke": None},
        "axis": {
            **text,
            "titleFontWeight": "normal",
            "gridColor": INK,
            "gridOpacity": 0.1,
            "domainColor": INK,
            "domainOpacity": 0.5,
            "tickColor": INK,
            "tickOpacity": 0.5,
            "labelLimit": 400,
            "titleLimit": 700,
            "labelFlush": False,
        },
        "header": {**text, "labelFontSize": SIZE, "labelFontWeight": "bold", "labelLimit": 500},
        "title": {
            "color": INK,
            "fontSize": SIZE + 2,
            "anchor": "start",
            "frame": "bounds",
            "offset": 12 if titled else 0,
        },
        "legend": {
            **text,
            "labelFontSize": SIZE,
            "orient": "bottom",
            "columns": legend_columns,
            "labelLimit": 600,
            "symbolSize": SYMBOL_SIZE,
            "columnPadding": 28,
        },
    }
