"""Calibration of what reports print: simulated studies, the product's own estimators, a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from analysis.calibration import choices, effects, grids, samplings, sequential, verdicts
from analysis.calibration.scenario import Scenario, failures, simulate
from analysis.calibration.worlds import World
from analysis.tables.table import Table, to_frame

FILE = "pipeline.json"
GROUPS: dict[str, Callable[[], Iterable[Scenario]]] = {
    "Learning rate, chosen by each seed or once by a pilot": choices.scenarios,
    "Temperature, chosen by each seed": samplings.scenarios,
    "Estimators over seeds": effects.scenarios,
    "Problems and families": grids.scenarios,
    "Verdicts": verdicts.scenarios,
    "Seeds added until a study is decided": sequential.scenarios,
}
ROLES = {"limit": "readers are told", "control": "not printed"}


def measure(
    *, studies: int, seed: int, progress: Callable[[str], None] = lambda what: None
) -> dict[str, Any]:
    """pipeline.json: one row a scenario. Another seed has other random numbers; the same has the same."""
    rows = []
    for group, made in GROUPS.items():
        for scenario in made():
            progress(scenario.what)
            rows.append({"group": group, **simulate(scenario, studies=studies, seed=seed)})
    return {"rows": rows, "studies": studies, "seed": seed, "world": dict(vars(World()))}


def outside(found: Mapping[str, Any]) -> list[str]:
    """Rows that reports print and whose calibration fails, and controls that pass."""
    return failures(found["rows"])


def text(found: Mapping[str, Any]) -> str:
    """The rows as Markdown tables, by group."""
    rows = found["rows"]
    printed = [row for row in rows if row["role"] == "printed"]
    lines = [
        "# Calibration of what reports print",
        f"{sum(row['passes'] for row in printed)} of {len(printed)} rows that reports print pass. Studies "
        "are simulated with the spreads that committed studies show, and go through the functions that "
        "reports use. Coverage: share of 95 % intervals that hold the truth, 93 to 97 %, or at least 93 % "
        "where a set is wide by construction. Error: share of studies in which a test or a verdict says what "
        "is not so, at most 5.5 %. Brackets: 95 % Monte-Carlo interval. Where an assumption fails, the last "
        "column says how readers are told. What is not printed has to fail: a wrong interval is seen.",
        f"`r1-report calibrate --pipeline --studies {found['studies']} --seed {found['seed']}`, "
        f"commit {str(found.get('commit'))[:12]}; [numbers](pipeline.json).",
    ]
    for group in dict.fromkeys(row["group"] for row in rows):
        columns = ["what", "asks", "measured, %", "bounds, %", "studies", "result", ""]
        cells = [_cells(row) for row in rows if row["group"] == group]
        lines.append(Table("calibration", group, columns, cells, to_frame([])).markdown())
    return "\n\n".join(lines) + "\n"


def _cells(row: Mapping[str, Any]) -> list[str]:
    least, most = (f"{100 * bound:g}" for bound in row["bounds"])
    result = "—" if row["asks"] == "share" else "passes" if row["passes"] else "fails"
    role = ROLES.get(row["role"])
    return [
        row["what"],
        row["asks"],
        "—" if row["measured"] is None else _percent(row),
        "—" if row["asks"] == "share" else f"{least} to {most}",
        f"{row['studies']:,}",
        result if role is None else f"{result}: {role}",
        row["said"],
    ]


def _percent(row: Mapping[str, Any]) -> str:
    return f"{100 * row['measured']:.1f} [{100 * row['low']:.1f}, {100 * row['high']:.1f}]"
