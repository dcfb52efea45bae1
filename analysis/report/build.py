"""The report of a study: report.md, report.html (self-contained), a CSV a table, PNG and SVG figures."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from analysis.figures.charts import all_charts
from analysis.figures.plots import Drawing, draw
from analysis.report.content import Report, ReportSection, status_line
from analysis.report.page import html
from analysis.stats.inference import tost_p
from analysis.stats.intervals import Interval
from analysis.stats.text import interval_text, p_equals, points
from analysis.study.contrasts import (
    METRICS,
    ArmResult,
    Primary,
    arm_results,
    declared,
    primary_of,
    what_varies,
)
from analysis.study.design import design_notes
from analysis.study.gains import gain_answers
from analysis.study.headlines import Headline, missing_contrast, p_text_of, primary_headlines
from analysis.study.load import Study
from analysis.tables.arms import (
    arm_table,
    config_table,
    decomposition_table,
    measures_table,
    runs_table,
    splits_table,
    templates_table,
)
from analysis.tables.memorisation import memorisation_table
from analysis.tables.path_of_arms import main_effects_table, path_table
from analysis.tables.retention import kept_table
from analysis.tables.samples import sample_rows
from analysis.tables.secondary import finding_table, pilot_table, variance_table, views_table
from analysis.tables.trends import trend_table
from harness.records.records import write_text

NO_TWINS = "No memorisation gap: it needs problems and their twins, as the splits train and perturbed are."


def build_report(
    study: Study, *, figures: bool = True, progress: Callable[[str], None] = lambda what: None
) -> Report:
    """Compute every table and, if asked, figure. A study without evaluations still lists its runs."""
    progress("reading steps")
    len(study.steps)  # read first: damage found there belongs among the notes
    runs = runs_table(study)
    try:
        primary = primary_of(study)
    except ValueError as error:
        return Report(study, [f"No answer yet: {error}"], notes_of(study), [], runs)
    results = arm_results(study, primary)
    samples = sample_rows(study, primary) if figures else []
    drawings = {}
    for chart in all_charts(study, primary, results) if figures else []:
        progress(f"drawing {chart.title}")
        drawings[chart.name] = draw(chart)
    sections = _sections(study, primary, results, drawings)
    shown = [s for s in sections if s.text or s.tables or s.figures]
    return Report(study, answers(study, primary, results), notes_of(study), shown, runs, samples)


def _sections(
    study: Study, primary: Primary, results: list[ArmResult], drawings: dict[str, Drawing]
) -> list[ReportSection]:
    some = lambda *names: [drawings[n] for n in names if n in drawings]  # noqa: E731
    filled = lambda *tables: [t for t in tables if t.cells]  # noqa: E731
    gap = memorisation_table(study, level=primary.level)
    return [
        ReportSection(
            "The arms",
            [],
            filled(
                arm_table(study, primary, results),
                path_table(study, primary),
                main_effects_table(study, primary),
                finding_table(study, primary, results),
            ),
            some("differences"),
        ),
        ReportSection(
            "Learning",
            [],
            filled(trend_table(study, primary, results), pilot_table(study)),
            some("learning_rates", "checkpoints", "ordered", "learning_curves"),
        ),
        ReportSection(
            "What changed",
            [],
            filled(measures_table(results), decomposition_table(results)),
            some("decomposition", "pass_at_k"),
        ),
        ReportSection("Derivations", [], [], some("derivations")),
        ReportSection(
            "Does it hold elsewhere",
            [] if gap.cells else [NO_TWINS],
            filled(splits_table(study, primary, results), templates_table(study), gap),
            some("splits"),
        ),
        ReportSection(
            "What it cost",
            [],
            filled(kept_table(study, results, level=primary.level)),
            some("compute", "kept"),
        ),
        ReportSection("Training", [], [], some("diagnostics")),
        ReportSection("Single problems", [], [], some("problems")),
        ReportSection(
            "What the intervals mean",
            _interval_text(study, primary, results),
            filled(views_table(study, primary, results), variance_table(study, primary, results)),
        ),
        ReportSection("Arms compared", [], [config_table(study)]),
    ]


def answers(study: Study, primary: Primary, results: list[ArmResult]) -> list[str]:
    """The answer by the study's criterion, in sentences with intervals, and which arms to doubt."""
    k = next((int(r.means["k"] or 0) for r in results if r.means["k"]), 0)
    measure = f"{METRICS[primary.metric].replace('@k', f'@{k}')} on {study.task_text(primary.task)}"
    if primary.criterion == "gain":
        lines = gain_answers(study, primary, measure)
    else:
        lines = _differences(study, primary, results, measure)
    if dead := [f"{r.label} ({'; '.join(r.flags)})" for r in results if r.flags]:
        lines.append("Flagged arms, whose numbers may mean nothing: " + ", ".join(dead) + ".")
    return lines


def _differences(study: Study, primary: Primary, results: list[ArmResult], measure: str) -> list[str]:
    """Each level of the primary factor against its control, and the null controls.

    Where a contrast is declared it alone has a sentence, and the others are listed with their intervals.
    """
    margin = declared(study).get("margin")
    found = primary_headlines(study, primary, results)
    named = study.record.primary.get("contrast") is not None
    if missing := missing_contrast(study, primary):
        lines, rest = (
            [f"No answer yet: the declared contrast {missing} of {primary.factor} was not run."],
            found,
        )
    else:
        said = found[:1] if named else found
        lines, rest = [_answer(h, measure, margin) for h in said], found[1:]
    if named and (others := [h for h in rest if h.difference is not None]):
        listed = "; ".join(f"{h.level} {interval_text(h.difference, signed=True)}" for h in others)
        lines.append(f"The other levels against {others[0].control}, points: {listed}.")
    if not lines:
        best = [f"{r.label}: {interval_text(r.estimate)}" for r in results if r.estimate is not None]
        lines = [f"{measure}, in points: " + "; ".join(best) + "."] if best else ["No finished run yet."]
    nulls = set(declared(study).get("nulls") or [])
    return lines + [
        f"{r.label} is a null control, whose gain over the base ought to be 0: "
        f"{interval_text(r.gain, signed=True)} points."
        for r in results
        if r.gain is not None and r.levels.get(primary.factor or "") in nulls
    ]


def _answer(headline: Headline, measure: str, margin: float | None) -> str:
    who = f"{headline.factor}={headline.level} against {headline.factor}={headline.control}"
    where = f", averaged over {headline.cells} settings of the other factors" if headline.cells > 1 else ""
    d = headline.difference
    if d is None:
        return f"{who}: no seed has finished in both."
    size = f"{points(abs(d.estimate))} points {'higher' if d.estimate >= 0 else 'lower'} {measure}{where}"
    if d.low is None or d.high is None:
        return f"{who}: {size}, without an interval ({d.reason}), so nothing can be concluded."
    bracket = f"[{points(d.low, signed=True)}, {points(d.high, signed=True)}]"
    tested = f"{100 * d.level:g} % interval {bracket}, {p_text_of(headline)}, {d.n} seeds, paired t"
    p = tost_p(d, margin=float(margin)) if margin else None
    same = ""
    if margin and p is not None:
        found = "Equivalent" if p <= 0.05 else "Equivalence is not shown"
        same = f" {found} within the declared ±{points(float(margin))} points (TOST, {p_equals(p)})."
    if d.low <= 0 <= d.high:
        return f"{who}: no difference found; {size} ({tested}). The interval includes 0.{same}"
    return f"{who}: {size} ({tested}).{same}"


def _interval_text(study: Study, primary: Primary, results: list[ArmResult]) -> list[str]:
    lines = [
        f"Primary intervals: Student's t over seeds, on {_compared(primary)} paired by seed. What "
        f"varies: {what_varies(study)}. They say nothing about other problems or other data"
        + (", nor about other bases." if study.record.shared_base else ", nor about bases made another way."),
    ]
    crossed = [f"{r.label}: {_full(r.crossed)}" for r in results if r.crossed is not None]
    if crossed:
        lines.append(
            "For new problems as well (avg@k difference to the control; seeds × problems crossed, "
            "each mean square with its own degrees of freedom): " + "; ".join(crossed) + "."
        )
        lines += _much_wider(results)
    reasons = {r.estimate.reason for r in results if r.estimate and r.estimate.reason}
    reasons |= {r.difference.reason for r in results if r.difference and r.difference.reason}
    lines += [f"Some arms have no interval: {reason}." for reason in sorted(filter(None, reasons))]
    declared = "as the study declares" if primary.declared else "by default, as the study declares none"
    lines.append(
        f"Primary measure: {METRICS[primary.metric]} on {study.task_text(primary.task)}, {declared}."
    )
    return lines


def _compared(primary: Primary) -> str:
    return "gains over the base" if primary.criterion == "gain" else "differences"


def _much_wider(results: list[ArmResult]) -> list[str]:
    """What it means where the interval for new problems is over 1.5 times as wide as the primary one."""
    pairs = [(r.label, r.crossed.width, r.difference.width) for r in results if r.crossed and r.difference]
    ratios = {label: crossed / primary for label, crossed, primary in pairs if crossed and primary}
    wide = [f"{label} ({ratio:.1f} times)" for label, ratio in ratios.items() if ratio > 1.5]
    if not wide:
        return []
    return [
        f"Much wider than the primary interval: {', '.join(wide)}. There the difference is not the same on "
        "every problem, and a claim about new ones needs more problems; more seeds would hardly narrow it."
    ]


def _full(interval: Interval) -> str:
    text = interval_text(interval, signed=True)
    return text if interval.reason is None else f"{text} ({interval.reason})"


def notes_of(study: Study) -> list[str]:
    """What to know before reading: the design's faults, unfinished runs, files that could not be read."""
    waiting = study.runs[study.runs["status"] != "finished"]
    lines = [
        f"{r['run_id']} is {r['status']}" + (f": {r['reason']}" if isinstance(r["reason"], str) else "")
        for r in waiting.to_dict("records")
    ]
    listed = " ".join(lines)
    return [*design_notes(study), *lines, *(d for d in dict.fromkeys(study.damaged) if d not in listed)]


def markdown(report: Report, *, figures: Collection[str] | None = None) -> str:
    """The same report in Markdown; figures (by name; None: all) are linked from figures/."""
    lines = [
        f"# {report.study.record.question}",
        "",
        f"Study `{report.study.name}`: {status_line(report.study)}.",
        "",
    ]
    lines += [f"> {line}\n>" for line in report.answers]
    if report.notes:
        lines += ["", "**Read with care**", "", *(f"- {note}" for note in report.notes)]
    for section in report.sections:
        lines += ["", f"## {section.title}", ""]
        lines += [line + "\n" for line in section.text]
        lines += [table.markdown() + "\n" for table in section.tables]
        lines += [
            f"![{f.chart.title}](figures/{f.name}.png)\n\n*{f.chart.caption}*\n"
            for f in section.figures
            if figures is None or f.name in figures
        ]
    lines += ["", "## How to reproduce", ""]
    if report.study.record.command:
        lines += ["```", report.study.record.command, "```", ""]
    return "\n".join([*lines, report.runs.markdown(), ""])


def write_report(report: Report, folder: Path) -> Path:
    """Write every file under `folder`; returns the path of report.html."""
    write_text(folder / "report.md", markdown(report))
    write_text(folder / "report.html", html(report))
    for table in report.tables:
        write_text(folder / f"{table.name}.csv", table.csv())
    for figure in report.figures:
        write_text(folder / "figures" / f"{figure.name}.svg", figure.svg)
        (folder / "figures" / f"{figure.name}.png").write_bytes(figure.png)
    return folder / "report.html"
