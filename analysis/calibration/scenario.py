"""A kind of study that is simulated many times, and how often what reports print about it is right."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from zlib import crc32

import numpy as np

from analysis.stats.intervals import Interval, wilson

Hits = Sequence[bool | None]  # of one simulated study; None: nothing was printed
Asks = Literal["coverage", "error", "share"]
Role = Literal["printed", "limit", "control"]
BOUNDS = {"coverage": (0.93, 0.97), "error": (0.0, 0.055), "share": (0.0, 1.0)}
NOMINAL = {"coverage": 0.95, "error": 0.05, "share": None}


@dataclass(frozen=True)
class Scenario:
    """One kind of study. `trial` simulates one and says for each interval or verdict whether it is right.

    `kind` is what reports print (a key of `printed.KINDS`). `asks`: coverage, the share of intervals that
    hold the truth; error, the share of studies in which a test says what is not so; share, a number without
    bounds. `role`: printed, which has to pass; limit, an assumption that may fail, as `said` tells readers;
    control, which has to fail, since a calibration that passes everything sees nothing. `effort`: studies
    simulated, as a multiple of what is asked for.
    """

    what: str
    kind: str
    asks: Asks
    trial: Callable[[np.random.Generator], Hits]
    role: Role = "printed"
    bounds: tuple[float, float] | None = None
    effort: float = 1.0
    said: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def within(self) -> tuple[float, float]:
        return self.bounds or BOUNDS[self.asks]


def simulate(scenario: Scenario, *, studies: int, seed: int) -> dict[str, Any]:
    """One row of pipeline.json. The random numbers are the scenario's own, whatever else is simulated."""
    rng = np.random.default_rng([seed, crc32(scenario.what.encode())])
    count = max(1, round(studies * scenario.effort))
    hits = [hit for _ in range(count) for hit in scenario.trial(rng)]
    known = [hit for hit in hits if hit is not None]
    measured = sum(known) / len(known) if known else None
    low, high = (None, None) if measured is None else wilson(measured, len(known))
    least, most = scenario.within
    return {
        "what": scenario.what,
        "kind": scenario.kind,
        "asks": scenario.asks,
        "role": scenario.role,
        "nominal": NOMINAL[scenario.asks],
        "measured": measured,
        "low": low,
        "high": high,
        "studies": count,
        "intervals": len(known),
        "not_printed": len(hits) - len(known),
        "bounds": [least, most],
        "passes": measured is not None and least <= measured <= most,
        "said": scenario.said,
        "settings": dict(scenario.settings),
    }


def failures(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Rows that are printed and do not pass, and controls that do."""
    wanted = {"printed": True, "control": False}
    return [row["what"] for row in rows if row["passes"] != wanted.get(row["role"], row["passes"])]


def holds(interval: Interval | None, truth: float) -> bool | None:
    """Whether an interval holds the truth; None where none is printed."""
    if interval is None or interval.low is None or interval.high is None:
        return None
    return interval.low <= truth <= interval.high
