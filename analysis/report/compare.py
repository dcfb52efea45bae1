"""Several studies at once: what there is under outputs/, and the same arms in two studies."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import TypedDict

from analysis.report.build import notes_of
from analysis.report.committed import AGAIN, RUNS
from analysis.report.content import Report, ReportSection, status_line
from analysis.stats.intervals import Interval, paired_t
from analysis.stats.text import interval_text
from analysis.study.bases import over_seeds
from analysis.study.configs import differing_keys
from analysis.study.contrasts import (
    METRICS,
    Primary,
    Rows,
    final_rows,
    primary_of,
    shared_seeds,
    what_varies,
)
from analysis.study.load import COMMITTED, Study, load_study
from analysis.tables.arms import interval_columns
from analysis.tables.literature import literature_table
from analysis.tables.runs import runs_table
from analysis.tables.table import Table
from harness.records import records
from harness.records.reading import read_file, read_json

if TYPE_CHECKING:
    from analysis.figures.figure import Figure

STUDY_MARKS = ("study.json", "finding.json", "*/run.json", "*/config.yaml")


class Asked(TypedDict):
    """What is listed of finding.json or study.json."""

    question: str


def list_table(outputs: Path) -> Table:
    """Every study under a folder. Raises ValueError when there is none."""
    import pandas as pd

    if not outputs.is_dir():
        raise ValueError(
            f"{outputs}: no such folder; run a study first, or name the folder that holds studies"
        )
    folders = [
        p
        for p in sorted(outputs.iterdir())
        if p.is_dir() and p.name != records.BASES and any(next(p.glob(m), None) for m in STUDY_MARKS)
    ]
    if not folders:
        raise ValueError(f"{outputs}: holds no studies; run one first, or name the folder that holds them")
    cells = [_listed(folder) for folder in folders]
    columns = ["study", "runs", "question"]
    return Table("studies", f"Studies in {outputs}", columns, cells, pd.DataFrame(cells, columns=columns))


def _listed(folder: Path) -> list[str]:
    if (folder / COMMITTED).exists() and not records.run_folders(folder):
        said = next(folder / name for name in ("study.json", "finding.json") if (folder / name).exists())
        try:
            asked = read_json(said, Asked, remedy=AGAIN)["question"]
            lines = folder / RUNS
            packed = read_file(lines, remedy=AGAIN) if lines.exists() else gzip.compress(b"")
            runs = len(gzip.decompress(packed).splitlines())
        except (ValueError, OSError, EOFError, zlib.error) as error:
            return [folder.name, "unreadable", str(error)]
        return [folder.name, f"{runs} runs, committed" if runs else "committed", asked]
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
    cells, raw = [], []
    for label in labels:
        ours, theirs = (final_rows(s, label, primary.task) for s in (first, second))
        estimates = [
            over_seeds(s, rows, primary.metric, primary.level)
            for rows, s in ((ours, first), (theirs, second))
        ]
        difference, said = _difference(ours, theirs, primary, what_varies(first))
        cells.append([label, *(interval_text(e) for e in estimates), said])
        named = {"first": estimates[0], "second": estimates[1], "difference": difference}
        row: dict[str, Any] = {"arm": label}
        for name, interval in named.items():
            row |= interval_columns(name, interval)
        raw.append(row | {"seeds": difference.n if difference else 0, "said": said})
    columns = ["arm", *_names(first, second), "second − first"]
    note = (
        f"{METRICS[primary.metric]} on {first.task_text(primary.task)}, points. Brackets: "
        f"{100 * primary.level:g} % intervals, Student's t over seeds, differences paired by seed and not "
        f"adjusted for their number; what varies: {what_varies(first)}."
    )
    return Table("compare", " and ".join(columns[1:3]), columns, cells, pd.DataFrame(raw), note)


def compare_figure(table: Table) -> Figure:
    """The two studies' estimates of each arm, one below the other."""
    from analysis.figures.figure import Figure
    from analysis.figures.marks import forest

    names, rows = table.columns[1:3], []
    for row in table.raw.to_dict("records"):
        for which, name in zip(("first", "second"), names, strict=True):
            value = 100 * float(row[which])
            ends = [row[f"{which}_{end}"] for end in ("low", "high")]
            low, high = (value if end is None or end != end else 100 * float(end) for end in ends)
            said = f"{row['arm']}, {name}: {value:.1f}"
            rows.append(
                {"label": row["arm"], "series": name, "value": value, "low": low, "high": high, "tip": said}
            )
    spec = forest(rows, title="points", labels=table.raw["arm"].tolist(), series=names, dodge=True)
    caption = "Bars: the table's intervals; none means too few seeds."
    return Figure("compare", f"The same arms in {table.title}", caption, spec)


def _names(first: Study, second: Study) -> list[str]:
    """Their names, or their folders where both have one name."""
    return [s.name if first.name != second.name else str(s.folder) for s in (first, second)]


def _difference(ours: Rows, theirs: Rows, primary: Primary, varies: str) -> tuple[Interval | None, str]:
    """Paired by seed on the same problems, and as it is shown; or why it is not taken."""
    metric = primary.metric
    shared = shared_seeds([(ours, theirs)], metric)
    if not shared:
        return None, "not paired: no seed in both on the same problems"
    if (
        metric in ("maj", "pass", "chain_pass")
        and len({rows[s]["k"] for rows in (ours, theirs) for s in shared}) > 1
    ):
        return None, f"not paired: another k, on which {METRICS[metric]} depends"
    d = paired_t([theirs[s][metric] - ours[s][metric] for s in shared], level=primary.level, varies=varies)
    return d, interval_text(d, signed=True) + (f" ({d.reason})" if d.reason else "")


def mismatches(first: Study, second: Study) -> list[str]:
    """Arms of one study alone; and of those in both what else differs: configs, bases, protocols, code."""
    labels = [{a.label for a in s.record.arms} for s in (first, second)]
    alone = [
        f"in {name} alone, and not compared: {', '.join(sorted(mine - other))}"
        for name, mine, other in zip(_names(first, second), labels, labels[::-1], strict=True)
        if mine - other
    ]
    task, arms_by_difference = primary_of(first).task, dict[str, list[str]]()
    runs = [s.runs.set_index("run_id") for s in (first, second)]
    for arm in first.record.arms:
        match = next((a for a in second.record.arms if a.label == arm.label), None)
        differences = [] if match is None else _mismatch(first, second, runs, arm.runs, match.runs)
        for difference in [*differences, *_protocol_mismatch(first, second, arm.label, task)]:
            arms_by_difference.setdefault(difference, []).append(arm.label)
    return alone + [
        f"the two studies differ in {difference}: {', '.join(arms)}"
        for difference, arms in arms_by_difference.items()
    ]


def _protocol_mismatch(first: Study, second: Study, label: str, task: str) -> list[str]:
    a, b = (final_rows(s, label, task) for s in (first, second))
    fields = {
        "protocol": f"the protocol on {task} (k, temperature, top-p, new tokens or template)",
        "task_version": f"the version of the grader on {task}",
    }
    return [text for field, text in fields.items() if any(a[s][field] != b[s][field] for s in a if s in b)]


def _mismatch(
    first: Study, second: Study, runs: list[Any], ours: dict[str, str], theirs: dict[str, str]
) -> list[str]:
    pairs = [(ours[s], theirs[s]) for s in ours if s in theirs]
    pairs = [(a, b) for a, b in pairs if a in first.configs and b in second.configs]
    said = {
        f"{key} ({first.configs[a].get(key)} and {second.configs[b].get(key)})"
        for a, b in pairs
        for key in differing_keys(first.configs[a], second.configs[b])
    }
    kinds = {
        "base_id": "the base of a seed",
        "data_hash": "the data's version",
        "commit": "the code's commit",
    }
    said |= {
        what
        for column, what in kinds.items()
        if any(runs[0].at[a, column] != runs[1].at[b, column] for a, b in pairs)
    }
    return sorted(said)


def comparison(first: Study, second: Study | None, *, figures: bool = True) -> Report:
    """The comparison as a report: two studies, or with None a study and the literature."""
    if second is None:
        table, other = literature_table(first), "the literature"
        lines = [table.note.split(": DeepSeek-R1")[0] + ": the literature's rows carry no interval."]
    else:
        table, other = compare_table(first, second), second.name
        names = table.columns[1:3]
        lines = [f"{row[0]}: {names[0]} {row[1]}, {names[1]} {row[2]}; {row[3]}." for row in table.cells]
    drawn = [compare_figure(table)] if second is not None and figures else []
    sections = [ReportSection(f"{first.name} and {other}", [], [table], drawn)]
    if second is not None:
        sections.append(ReportSection(f"Runs of {second.name}", [], [_runs_of(second)]))
    notes = notes_of(first)
    if second is not None:
        mine, its = _names(first, second)
        notes = [f"{mine}: {note}" for note in notes] + [f"{its}: {note}" for note in notes_of(second)]
        notes = [*mismatches(first, second), *notes]
    asked = table.title if second is None else f"{table.title}: do the same arms come out alike?"
    titled = first.record.model_copy(update={"question": asked})
    return Report(replace(first, record=titled), lines, notes, sections, runs_table(first))


def _runs_of(study: Study) -> Table:
    """The second study's runs, under a name of their own: two tables would share a CSV."""
    return replace(runs_table(study), name="runs_second", title=f"Runs of {study.name}")
