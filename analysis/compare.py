"""Several studies at once: what there is under outputs/, and the same arms in two studies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from analysis.contrasts import METRICS, final_rows, primary_of, what_varies
from analysis.literature import literature_table
from analysis.load import Study, load_study
from analysis.report import Report, ReportSection, notes_of, status_line
from analysis.stats import Interval, paired_t
from analysis.table import Table, interval_text
from analysis.tables import runs_table
from harness import records

STUDY_MARKS = ("study.json", "*/run.json", "*/config.yaml")


def list_table(outputs: Path) -> Table:
    """Every study under a folder. Raises ValueError when there is none."""
    import pandas as pd

    if not outputs.is_dir():
        raise ValueError(
            f"{outputs}: no such folder; run a study first, or name the folder that holds studies"
        )
    folders = [
        p for p in sorted(outputs.iterdir())
        if p.is_dir() and p.name != records.BASES and any(next(p.glob(m), None) for m in STUDY_MARKS)
    ]  # fmt: skip
    if not folders:
        raise ValueError(f"{outputs}: holds no studies; run one first, or name the folder that holds them")
    cells = [_listed(folder) for folder in folders]
    columns = ["study", "runs", "question"]
    return Table("studies", f"Studies in {outputs}", columns, cells, pd.DataFrame(cells, columns=columns))


def _listed(folder: Path) -> list[str]:
    try:
        study = load_study(folder)
    except ValueError as error:
        return [folder.name, "unreadable", str(error)]
    return [folder.name, status_line(study), study.record.question]


def compare_table(first: Study, second: Study) -> Table:
    """Arms of the same label in both: paired by seed where problems and seeds are shared, else not compared.

    The measure is the first study's primary one. Raises ValueError when no arm is in both.
    """
    import pandas as pd

    primary = primary_of(first)
    labels = [a.label for a in first.record.arms if a.label in {b.label for b in second.record.arms}]
    if not labels:
        raise ValueError(f"{first.folder} and {second.folder} have no arm in common")
    cells: list[list[str]] = []
    for label in labels:
        ours, theirs = (final_rows(s, label, primary.task) for s in (first, second))
        estimates = [_over_seeds(rows, primary.metric, primary.level, s)
                     for rows, s in ((ours, first), (theirs, second))]  # fmt: skip
        shared = [s for s in ours if s in theirs]
        same = {r[s]["problem_ids"] for r in (ours, theirs) for s in shared}
        if len(same) == 1:
            d = paired_t([theirs[s][primary.metric] - ours[s][primary.metric] for s in shared],
                         level=primary.level, varies=what_varies(first))  # fmt: skip
            difference = interval_text(d, signed=True) + (f" ({d.reason})" if d.reason else "")
        else:
            difference = "not paired: no seed in both" if not same else "not paired: other problems"
        cells.append([label, *(interval_text(e) for e in estimates), difference])
    columns = ["arm", first.name, second.name, "second − first"]
    where, varies = first.task_text(primary.task), what_varies(first)
    note = f"{METRICS[primary.metric]} on {where}, points; what varies: {varies}."
    raw = pd.DataFrame(cells, columns=columns)
    return Table("compare", f"{first.name} and {second.name}", columns, cells, raw, note)


def comparison(first: Study, second: Study | None) -> Report:
    """The comparison as a report: two studies, or with None a study and the literature."""
    if second is None:
        table, other = literature_table(first), "the literature"
        lines = [table.note.split(": DeepSeek-R1")[0] + ": the literature's rows carry no interval."]
    else:
        table, other = compare_table(first, second), second.name
        lines = [f"{row[0]}: {first.name} {row[1]}, {second.name} {row[2]}; {row[3]}." for row in table.cells]
    sections = [ReportSection(f"{first.name} and {other}", [], [table])]
    if second is not None:
        sections.append(ReportSection(f"Runs of {second.name}", [], [_runs_of(second)]))
    notes = [*notes_of(first), *(notes_of(second) if second is not None else [])]
    return Report(first, lines, notes, sections, runs_table(first))


def _runs_of(study: Study) -> Table:
    """The second study's runs, under a name of their own: two tables would share a CSV."""
    return replace(runs_table(study), name="runs_second", title=f"Runs of {study.name}")


def _over_seeds(rows: dict[str, Any], metric: str, level: float, study: Study) -> Interval | None:
    values = [r[metric] for r in rows.values() if r[metric] is not None]
    return paired_t(values, level=level, varies=what_varies(study)) if values else None
