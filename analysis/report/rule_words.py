"""What rules of presets read of a study's tables, in the report as on the findings page.

A rule takes the plan (factors, control, primary, declared, arms with their levels, as study.json has them)
and `table`, which gives the numbers of a table by its name, empty where there is none. It gives sentences,
none where nothing can be said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.report.committed import SMOKE_SEEDS
from analysis.stats.text import interval_bounds

Plan = Mapping[str, Any]
Tables = Callable[[str], pd.DataFrame]
PresetRule = Callable[[Plan, Tables], list[str]]


@dataclass(frozen=True)
class Ends:
    """An estimate with its interval, accuracies in [0, 1]."""

    estimate: float
    low: float
    high: float

    @property
    def above(self) -> bool:
        """Whether the interval lies above 0."""
        return self.low > 0

    @property
    def text(self) -> str:
        """`+3.1 [+0.4, +5.8]`, in points."""
        return interval_bounds(self.estimate, self.low, self.high, signed=True)

    def within(self, size: float) -> bool:
        """Whether the whole interval lies within ±size."""
        return -size <= self.low and self.high <= size


def ends(row: Mapping[str, Any], name: str, low: str = "", high: str = "") -> Ends | None:
    """Columns `name`, `name_low`, `name_high` of a row; None where one is missing or empty."""
    found = [row.get(column) for column in (name, low or f"{name}_low", high or f"{name}_high")]
    return None if any(pd.isna(x) for x in found) else Ends(*map(float, found))  # type: ignore[arg-type]


def enough(seeds: Any) -> bool:
    """Whether so many seeds are more than a smoke test."""
    return bool(pd.notna(seeds) and seeds > SMOKE_SEEDS)


def row_of(rows: pd.DataFrame, **values: Any) -> dict[str, Any]:
    """The one row whose columns have these values; empty where none has, or several."""
    if rows.empty:
        return {}
    for column, value in values.items():
        rows = rows[rows[column] == value]
    return dict(rows.iloc[0]) if len(rows) == 1 else {}
