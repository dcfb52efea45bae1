"""A figure before it is drawn: series, panels, heat maps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

MAX_POINTS = 160  # of one curve; more are averaged in bins, or a long run's page would be slow
FEW_ARMS = 5  # of more, curves in one panel hide each other
FEW_POINTS = 12  # a curve of no more shows each: what is measured at checkpoints may have a single one


@dataclass(frozen=True)
class Series:
    """One arm in one panel. `colour` counts arms; `key` marks what the legend names (once a chart)."""

    label: str
    x: list[float]
    y: list[float]
    low: list[float] | None = None
    high: list[float] | None = None
    colour: int = 0
    mark: Literal["line", "points", "both", "bar", "stairs"] = "line"
    dashed: bool = False
    key: bool = True
    hover: list[str] | None = None


@dataclass(frozen=True)
class Panel:
    """Axes and what is on them. `names` puts categories 0, 1, … on an axis instead of numbers."""

    x_label: str
    y_label: str
    series: list[Series]
    title: str = ""
    log: int | None = None  # base of a logarithmic x axis
    band: bool = False  # spreads as bands, not bars
    names: list[str] | None = None
    flat: bool = False  # categories on y, values on x
    zero: bool = False  # a line at 0
    y_range: tuple[float, float] | None = None  # of panels on one scale
    x_range: tuple[float, float] | None = None  # the same of flat ones


@dataclass(frozen=True)
class Heat:
    """A grid of shares in [0, 1], rows × columns; None where nothing was measured."""

    rows: list[str]
    columns: list[str]
    values: list[list[float | None]]
    label: str


@dataclass(frozen=True)
class Chart:
    """A figure: small multiples of panels, or a heat map."""

    name: str
    title: str
    caption: str
    panels: list[Panel] = field(default_factory=list)
    heat: Heat | None = None
    small: bool = False  # many panels on one scale: three and more in a row
