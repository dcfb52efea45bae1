"""`r1-report compare` of other tools' logs: the table, and the cautions that it calls for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from analysis.report.page import TEMPLATES
from analysis.stats.intervals import MIN_SEEDS
from analysis.study.logs.rows import Log
from analysis.study.logs.sides import Grid, Options, Side, grid, read_side
from analysis.tables.logs import LogContrast, log_contrasts, logs_table, problems_table
from analysis.tables.table import Table, csv_text, markdown_text
from harness.records.records import write_text

_SEED_END = re.compile(r"[-_.]?(?:s|seed)?[-_=]?\d+$", re.IGNORECASE)
ENOUGH = 4  # seeds: three give a t with 2 degrees of freedom


@dataclass(frozen=True)
class LogComparison:
    """Two methods by their logs. `notes` are to be read before the table's numbers are used."""

    table: Table
    notes: Sequence[str]
    contrasts: Sequence[LogContrast]


def compare_logs(first: str, second: str, options: Options | None = None) -> LogComparison:
    """Compare two sides, each a path, several with commas between, a pattern, or SEED=PATH.

    Raises ValueError where they share no task or problem, or are of different tools.
    """
    sides = [read_side(text, options or Options()) for text in (first, second)]
    tools = [side.logs[0].tool for side in sides]
    paths = [{log.path.resolve() for log in side.logs} for side in sides]
    if twice := sorted(paths[0] & paths[1]):
        raise ValueError(f"{twice[0]}: the same log on both sides; give another")
    if tools[0] != tools[1]:
        raise ValueError(f"{first} is of {tools[0]}, {second} of {tools[1]}: their problems do not pair")
    tasks = [task for task in sides[0].tasks if task in sides[1].tasks]
    if not tasks:
        has = " and ".join(", ".join(side.tasks) for side in sides)
        raise ValueError(f"{first} and {second} have no task in common: {has}")
    contrasts = log_contrasts([grid(sides[0], sides[1], task) for task in tasks])
    return LogComparison(logs_table(contrasts, _names(sides)), _notes(sides, contrasts), contrasts)


def _names(sides: Sequence[Side]) -> tuple[str, str]:
    """Names of the sides' logs without their seeds; as given where that tells nothing."""
    short = []
    for side in sides:
        names = [log.path.stem if log.path.is_file() else log.path.name for log in side.logs]
        bare = set(names) if len(names) == 1 else {_SEED_END.sub("", name) for name in names}
        short.append(bare.pop() if len(bare) == 1 else side.name)
    return (short[0], short[1]) if short[0] != short[1] else (sides[0].name, sides[1].name)


def _notes(sides: Sequence[Side], contrasts: Sequence[LogContrast]) -> list[str]:
    grids = [each.grid for each in contrasts]
    logs = [log for side in sides for log in side.logs]
    one_side = [
        f"{task}: in {side.name} alone, and not compared"
        for side, other in zip(sides, sides[::-1], strict=True)
        for task in side.tasks
        if task not in other.tasks
    ]
    seeds = dict.fromkeys(note for each in grids for note in _seed_notes(each))
    rest = [*one_side, *(note for each in grids for note in each.notes), *_settings_notes(logs)]
    return [*seeds, *rest, *dict.fromkeys(note for log in logs for note in log.notes)]


def _seed_notes(grid: Grid) -> list[str]:
    """What the number of seeds leaves open."""
    fewest, shared = min(map(len, grid.seeds)), len(grid.shared)
    if fewest == 1:
        return [
            "one log a side: an interval says what other problems of this kind would do to these two models. "
            "It does not say that one method is better than the other, as a second training run of each may "
            "differ by more: train and evaluate four seeds or more of each, and give them as 0=PATH,1=PATH"
        ]
    if fewest < MIN_SEEDS:
        return [
            f"{fewest} seeds: {MIN_SEEDS} are needed for an interval over seeds; the one shown varies the "
            "problems alone, for these models"
        ]
    notes = []
    if fewest < ENOUGH:
        notes.append(f"{fewest} seeds: a t with few degrees of freedom, too wide or too lucky to decide on")
    if shared < MIN_SEEDS:
        notes.append("no three seeds are in both: the two are compared unpaired, by Welch's t over seeds")
    elif left := sorted(set(grid.seeds[0]) ^ set(grid.seeds[1])):
        notes.append(f"in one side alone, and left out: seed {', '.join(left)}")
    return [
        *notes,
        "intervals over seeds are about training only where each seed is a training run of its own; of "
        "sampling seeds of one model they say how it samples",
    ]


def _settings_notes(logs: Sequence[Log]) -> list[str]:
    """Settings of a task that are not the same in all logs."""
    found: dict[tuple[str, str], list[str]] = {}
    for log in logs:
        for task, settings in log.settings.items():
            for name, value in settings.items():
                found.setdefault((task, name), []).append(value)
    return [
        f"{task}: the logs differ in {name}: {' and '.join(dict.fromkeys(values))}"
        for (task, name), values in found.items()
        if len(set(values)) > 1
    ]


def write_comparison(found: LogComparison, folder: Path) -> Path:
    """Write compare.html, .md and .csv, and problems.csv with both shares of each problem."""
    title = found.table.title
    cautions = [f"- {markdown_text(note)}" for note in found.notes]
    lines = [
        f"# {markdown_text(title)}",
        "",
        "**Read with care**",
        "",
        *cautions,
        "",
        found.table.markdown(),
        "",
    ]
    write_text(folder / "compare.md", "\n".join(lines))
    write_text(folder / "compare.csv", found.table.csv())
    write_text(folder / "problems.csv", csv_text(problems_table(found.contrasts)))
    listed = "".join(f"<li>{escape(note)}</li>" for note in found.notes)
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    page = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        f"<title>{escape(title)}</title><style>{style}</style></head><body><div class=page><main>",
        f'<h1>{escape(title)}</h1><section class="answer warn"><h2>Read with care</h2>',
        f"<ul>{listed}</ul></section>",
        f'<div class="scroll">{found.table.html()}</div></main></div></body></html>',
    ]
    write_text(folder / "compare.html", "\n".join(page))
    return folder / "compare.html"
