"""The report of a study: report.md, report.html (self-contained), a CSV a table, SVG, PNG, PDF figures."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.report.answers import answers, interval_notes
from analysis.report.content import Report, ReportSection, status_line
from analysis.report.page import html
from analysis.study.anatomy import anatomy
from analysis.study.contrasts import (
    ArmResult,
    Primary,
    arm_results,
    primary_of,
)
from analysis.study.declaration import declaration_lines
from analysis.study.design import design_notes
from analysis.study.discovery import discoveries
from analysis.study.load import Study
from analysis.study.saturation import saturations
from analysis.study.search import search_points
from analysis.study.transfer import transfers
from analysis.tables.anatomy import anatomy_problems_table, anatomy_table, anatomy_text
from analysis.tables.arms import arm_table
from analysis.tables.discovery import discovery_table
from analysis.tables.families import families_table
from analysis.tables.groups import group_tables
from analysis.tables.interactions import interactions_table
from analysis.tables.lm_eval import lm_eval_table
from analysis.tables.measures import decomposition_table, measures_table, splits_table, templates_table
from analysis.tables.memorisation import memorisation_table
from analysis.tables.path_of_arms import main_effects_table, path_table
from analysis.tables.process_rewards import derivation_changes, process_table, process_text
from analysis.tables.rates import area_effects_table, choices_table, response_table
from analysis.tables.retention import retention_table
from analysis.tables.runs import config_table, runs_table
from analysis.tables.samples import sample_rows
from analysis.tables.saturation import saturation_table
from analysis.tables.search import rl_text, search_table, search_text
from analysis.tables.secondary import finding_table, pilot_table, variance_table, views_table
from analysis.tables.stages import stages_table
from analysis.tables.table import Table, csv_text, markdown_text
from analysis.tables.tidy import curves_frame, evaluations_frame
from analysis.tables.transfer import transfer_table
from analysis.tables.trends import trend_table
from harness.records.records import write_text

if TYPE_CHECKING:
    from analysis.figures.figure import Figure

NO_TWINS = "No memorisation gap: it needs problems and their twins, as the splits train and perturbed are."


def build_report(
    study: Study, *, figures: bool = True, progress: Callable[[str], None] = lambda what: None
) -> Report:
    """Compute every table and, if asked, figure. A study without evaluations still lists its runs."""
    from analysis.report.rules import report_lines  # pandas comes with it: --help is light

    progress("reading steps")
    len(study.steps)  # read first: damage found there belongs among the notes
    runs = runs_table(study)
    try:
        primary = primary_of(study)
    except ValueError as error:
        return Report(study, [f"No answer yet: {error}"], notes_of(study), [], runs)
    results = arm_results(study, primary)
    samples = sample_rows(study, primary) if figures else []
    described: list[Figure] = []
    if figures:  # the library is imported only where something is drawn
        from analysis.figures.all_figures import all_figures

        progress("describing figures")
        described = all_figures(study, primary, results)
    sections = _sections(study, primary, results, {figure.name: figure for figure in described})
    shown = [s for s in sections if s.text or s.tables or s.figures]
    by_rule = report_lines(study, {table.name: table.raw for section in shown for table in section.tables})
    return Report(study, answers(study, primary, results, by_rule), notes_of(study), shown, runs, samples)


def _sections(
    study: Study, primary: Primary, results: list[ArmResult], described: dict[str, Figure]
) -> list[ReportSection]:
    gap = memorisation_table(study, level=primary.level)
    retention = retention_table(study, results, level=primary.level)
    kept_tasks = lm_eval_table(study, results, level=primary.level)
    arms = (
        arm_table(study, primary, results),
        path_table(study, primary),
        main_effects_table(study, primary),
        interactions_table(study, primary),
        finding_table(study, primary, results),
    )
    moved = transfer_table(transfers(study, primary))
    elsewhere = (splits_table(study, primary, results), moved, templates_table(study), gap)
    views = (views_table(study, primary, results), variance_table(study, primary, results))
    found = anatomy(study, primary)
    gain = (anatomy_table(study, primary, found), anatomy_problems_table(found))
    places = (families_table(study, primary, results), *group_tables(study, primary))
    discovered = discoveries(study, primary)
    rates = (
        response_table(study, primary),
        area_effects_table(study, primary),
        choices_table(study),
        pilot_table(study),
    )
    ends = saturation_table(study, primary, saturations(study, primary, results))
    learning = (trend_table(study, primary, results), ends, *rates)
    said = [*declaration_lines(study), *anatomy_text(study, found)]
    changed = (measures_table(results), decomposition_table(results))

    searched = (study, primary, search_points(study, primary))
    bought, bought_text = search_table(*searched), [*search_text(*searched), *rl_text(*searched)]
    steps, steps_text = _derivations(study, primary)

    def section(
        title: str, *figures: str, tables: Iterable[Table] = (), text: Iterable[str] = ()
    ) -> ReportSection:
        shown = [described[name] for name in figures if name in described]
        return ReportSection(title, list(text), [t for t in tables if t.cells], shown)

    return [
        section("What training changed", "anatomy", tables=gain, text=said),
        section("What training discovered", "discovery", tables=[discovery_table(study, discovered)]),
        section("The arms", "differences", tables=arms),
        section("Stage by stage", "stages", tables=[stages_table(study, primary, results)]),
        section("On which problems", "families", tables=places),
        section("Learning", "learning_rates", "checkpoints", "ordered", "learning_curves", tables=learning),
        section("What search buys", "search", "search_tree", tables=[bought], text=bought_text),
        section("How answers are reached", "decomposition", tables=changed),
        section("Derivations", "derivations", "process_rewards", tables=[steps], text=steps_text),
        section("Does it hold elsewhere", "splits", tables=elsewhere, text=[] if gap.cells else [NO_TWINS]),
        section("What it cost", "compute", "kept", tables=[retention, kept_tasks]),
        section("Training", "diagnostics"),
        section("Single problems", "problems"),
        section("What the intervals mean", tables=views, text=interval_notes(study, primary, results)),
        ReportSection("Arms compared", [], [config_table(study)]),
    ]


def _derivations(study: Study, primary: Primary) -> tuple[Table, list[str]]:
    """What a learned process reward did to derivations, and the sentence on it."""
    changes = derivation_changes(study)
    return process_table(study, primary, changes), list(process_text(study, primary, changes))


MOST_NAMED = 4  # runs that were planned and not started; more are counted by seed


def notes_of(study: Study) -> list[str]:
    """What to know before reading: the design's faults, unfinished runs, files that could not be read."""
    waiting = study.runs[study.runs["status"] != "finished"]
    unstarted = waiting[waiting["status"] == "missing"]
    waiting = waiting if len(unstarted) <= MOST_NAMED else waiting[waiting["status"] != "missing"]
    lines = [
        f"{r['run_id']} is {r['status']}" + (f": {r['reason']}" if isinstance(r["reason"], str) else "")
        for r in waiting.to_dict("records")
    ]
    if len(unstarted) > MOST_NAMED:
        seeds = ", ".join(f"{n} of seed {seed}" for seed, n in unstarted["seed"].value_counts().items())
        lines.append(f"{len(unstarted)} of {len(study.runs)} planned runs were not started: {seeds}")
    listed = " ".join(lines)
    return [*design_notes(study), *lines, *(d for d in dict.fromkeys(study.damaged) if d not in listed)]


def markdown(report: Report, *, figures: Collection[str] | None = None) -> str:
    """Render the report as Markdown that links figures/NAME.png; `figures` names those to show, None all."""
    text, study = markdown_text, report.study
    lines = [f"# {text(study.record.question)}", "", f"Study `{text(study.name)}`: {status_line(study)}.", ""]
    lines += [f"> {text(line)}\n>" for line in report.answers]
    if report.notes:
        lines += ["", "**Read with care**", "", *(f"- {text(note)}" for note in report.notes)]
    for section in report.sections:
        lines += ["", f"## {section.title}", ""]
        lines += [text(line) + "\n" for line in section.text]
        lines += [table.markdown() + "\n" for table in section.tables]
        lines += [
            f"![{text(f.title)}](figures/{f.name}.png)\n\n*{text(f.caption)}*\n"
            for f in section.figures
            if figures is None or f.name in figures
        ]
    lines += ["", "## How to reproduce", ""]
    if study.record.command:
        lines += ["```", " ".join(study.record.command.split("\n")), "```", ""]
    return "\n".join([*lines, report.runs.markdown(), ""])


def write_report(report: Report, folder: Path) -> Path:
    """Write every file under `folder`; returns the path of report.html."""
    write_text(folder / "report.md", markdown(report))
    write_text(folder / "report.html", html(report))
    for table in report.tables:
        write_text(folder / f"{table.name}.csv", table.csv())
    write_text(folder / "evaluations.csv", csv_text(evaluations_frame(report.study), float_format="%.6g"))
    write_text(folder / "curves.csv", csv_text(curves_frame(report.study), float_format="%.6g"))
    for figure in report.figures:
        write_text(folder / "figures" / f"{figure.name}.svg", figure.svg)
        (folder / "figures" / f"{figure.name}.png").write_bytes(figure.png)
        (folder / "figures" / f"{figure.name}.pdf").write_bytes(figure.pdf)
    return folder / "report.html"
