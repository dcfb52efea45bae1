"""The commands of `r1-report`. Each takes parsed arguments and returns an exit code.

What a user got wrong is raised as ValueError or OSError. Heavy imports stay inside, for a fast --help.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from harness.records.reading import visible

if TYPE_CHECKING:
    from analysis.report.content import Report
    from analysis.study.load import Study


def report(arguments: argparse.Namespace) -> int:
    """Write a study's report, and with --reference and --wandb its other forms."""
    from analysis.report.build import build_report, write_report
    from analysis.tables.table import show

    report = build_report(load(arguments.study), progress=say)
    report.notes.extend(arguments.note)
    say("")
    path = write_report(report, arguments.out or arguments.study / "report")
    for table in [t for t in report.tables if t.name in ("anatomy", "arms")] or report.tables[:1]:
        show(table)
    for line in report.answers:
        print(visible(line))
    _print_notes(report)
    print(f"report: {path}")
    if arguments.reference:
        _reference(report, arguments)
    if arguments.wandb:
        from analysis.report.tracked import log_report

        try:
            name = log_report(
                report, path.parent, mode=arguments.wandb, project=arguments.project, entity=arguments.entity
            )
            print(f"W&B: {name} ({arguments.wandb})")
        except Exception as error:  # an outage costs a warning: the files are written
            print(f"warning: W&B: {type(error).__name__}: {error}", file=sys.stderr)
    return 0


def _reference(report: Report, arguments: argparse.Namespace) -> None:
    from analysis.report.reference import write_reference

    figures = arguments.figures.split(",") if arguments.figures else None
    folder: Path = arguments.reference
    command = (
        f"r1-report report {arguments.study} --reference {folder.name if folder.is_absolute() else folder}"
    )
    command += "".join(f" --note {shlex.quote(note)}" for note in arguments.note)
    written = write_reference(report, folder, command=command, figures=figures)
    print(f"reference: {folder}, {len(written)} files, {sum(p.stat().st_size for p in written):,} bytes")


def fetch(arguments: argparse.Namespace) -> int:
    """Write a study's folder from W&B runs."""
    from analysis.report.tracked import offline_runs, online_runs, write_study

    source, folder = str(arguments.source), Path(arguments.source)
    if not folder.is_dir() and (source.count("/") != 1 or source[0] in "./~"):
        raise ValueError(f"{source}: no such folder, and not of the form ENTITY/PROJECT")
    group = arguments.group
    runs = offline_runs(folder, group=group) if folder.is_dir() else online_runs(source, group=group)
    try:
        count, notes = write_study(runs, arguments.out)
    except (ValueError, OSError):
        raise
    except Exception as error:  # W&B's own kinds: no key, no such project, an outage
        raise ValueError(f"{source}: W&B: {type(error).__name__}: {error}") from None
    for note in notes:
        print(f"note: {visible(note)}", file=sys.stderr)
    if not count:
        raise ValueError(f"{arguments.source}: nothing was written to {arguments.out}")
    print(f"{count} run{'s' * (count != 1)}: {arguments.out}; now `r1-report report {arguments.out}`")
    return 0


def table(arguments: argparse.Namespace) -> int:
    """Print one table of a study."""
    from analysis.report.build import build_report
    from analysis.tables.table import show

    report = build_report(load(arguments.study), figures=False)
    tables = {t.name: t for t in report.tables}
    if arguments.name not in tables:
        why = "".join(f" ({line})" for line in report.answers if line.startswith("No answer yet"))
        raise ValueError(
            f"--name {arguments.name}: no such table here; choose one of {', '.join(tables)}{why}"
        )
    table = tables[arguments.name]
    if arguments.columns:
        if arguments.format == "csv":
            raise ValueError(
                "--columns with --format csv: a CSV has every column; choose there, or leave it out"
            )
        table = table.only([name.strip() for name in arguments.columns.split(",")])
    paper = {"caption": arguments.caption, "label": arguments.label}
    if arguments.format != "latex" and (given := [f"--{name}" for name, text in paper.items() if text]):
        raise ValueError(f"{given[0]} with --format {arguments.format}: it is LaTeX's; add --format latex")
    if arguments.format == "text":
        show(table)
    elif arguments.format == "latex":
        print(visible(table.latex(**paper)))
    else:
        print(visible(getattr(table, arguments.format)()))
    _print_notes(report)
    return 0


def samples(arguments: argparse.Namespace) -> int:
    """Print completions with their problems; the filters are the page's."""
    from analysis.report.samples_text import matching, samples_text
    from analysis.study.contrasts import primary_of
    from analysis.tables.samples import sample_rows

    study = load(arguments.study)
    rows = sample_rows(study, primary_of(study))
    if not rows:
        raise ValueError(f"{arguments.study}: no completions there; they are beside each evaluation's record")
    filters = {name: getattr(arguments, name) for name in ("arm", "problem", "grade", "change")}
    found = matching(rows, **filters)
    for line in samples_text(found, limit=arguments.limit):
        print(line)
    print(f"{len(found)} of {len(rows)} completions match", file=sys.stderr)
    return 0


def _print_notes(report: Report) -> None:
    for note in report.notes:
        print(f"note: {visible(' '.join(note.split()))}", file=sys.stderr)


def list_studies(arguments: argparse.Namespace) -> int:
    """Print the studies under a folder."""
    from analysis.report.compare import list_table
    from analysis.tables.table import show

    show(list_table(arguments.outputs))
    return 0


def look(arguments: argparse.Namespace) -> int:
    """Print what the rule for adding seeds sees; nothing is recorded."""
    from analysis.stats.text import interval_bounds
    from analysis.study.look import look_at

    seen = look_at(load(arguments.study))
    if arguments.json:
        print(seen.model_dump_json())
        return 0
    for one in seen.contrasts:
        shown = interval_bounds(one.estimate, one.low, one.high, signed=True)
        print(visible(f"{one.name}: {shown} points, {one.verdict}"))
    more = "" if seen.done or seen.needed is None else f"; about {seen.needed} seeds needed"
    print(visible(f"{seen.num_seeds} seeds, {'decided' if seen.done else 'not yet'}: {seen.reason}{more}"))
    return 0


def findings(arguments: argparse.Namespace) -> int:
    """Write the page of committed studies."""
    from analysis.report.overview import write_overview

    print(f"written: {write_overview(arguments.reference)}")
    return 0


def compare(arguments: argparse.Namespace) -> int:
    """Print, and with --out write, a comparison."""
    from analysis.report.build import write_report
    from analysis.report.compare import comparison
    from analysis.study.logs.sides import is_logs
    from analysis.tables.literature import NAME
    from analysis.tables.table import show

    sides = (arguments.first, arguments.second)
    literature = arguments.second == NAME and not Path(NAME).is_dir()
    given = [f"--{name}" for name in ("columns", "metric", "task", "step") if getattr(arguments, name)]
    if any(map(is_logs, sides)):
        return _compare_logs(arguments)
    if given:
        raise ValueError(f"{given[0]}: it is for other tools' logs, and {arguments.first} holds none")
    second = None if literature else load(Path(arguments.second))
    report = comparison(load(Path(arguments.first)), second, figures=arguments.out is not None)
    show(report.tables[0])
    _print_notes(report)
    if arguments.out:
        print(f"report: {write_report(report, arguments.out)}")
    return 0


def _compare_logs(arguments: argparse.Namespace) -> int:
    from analysis.report.logs import compare_logs, write_comparison
    from analysis.study.logs.generations import parse_columns
    from analysis.study.logs.sides import Options, is_logs
    from analysis.tables.table import show

    for text in (arguments.first, arguments.second):
        if not is_logs(text):
            raise ValueError(f"{text}: no logs of another tool there, and studies do not pair with logs")
    options = Options(parse_columns(arguments.columns), arguments.metric, arguments.task, arguments.step)
    found = compare_logs(arguments.first, arguments.second, options)
    show(found.table)
    for note in found.notes:
        print(f"note: {visible(note)}", file=sys.stderr)
    if arguments.out:
        print(f"report: {write_comparison(found, arguments.out)}")
    return 0


def say(what: str) -> None:
    """Show progress, only on a terminal."""
    if sys.stderr.isatty():
        print(f"\r{what:<70}", end="", file=sys.stderr, flush=True)


def plan_power(arguments: argparse.Namespace) -> int:
    """Print the seeds that find an effect, the effect that seeds find, or the power of both."""
    from analysis.stats.inference import power, seeds_needed, smallest_detectable

    _check_power(arguments)
    sd, effect, seeds = arguments.sd, arguments.effect, arguments.seeds
    alpha, target = arguments.alpha, arguments.target
    design = f"paired t, two-sided alpha {alpha:g}, sd of per-seed differences {sd:g} points"
    if effect is None:
        found = smallest_detectable(sd=sd, num_seeds=seeds, alpha=alpha, target=target)
        print(f"{seeds} seeds find a difference of {found:.2f} points with power {target:g} ({design})")
    elif seeds is None:
        needed = seeds_needed(effect=effect, sd=sd, alpha=alpha, target=target)
        print(f"{needed} seeds find a difference of {effect:g} points with power {target:g} ({design})")
    else:
        reached = power(effect=effect, sd=sd, num_seeds=seeds, alpha=alpha)
        print(f"{seeds} seeds find a difference of {effect:g} points with power {reached:.2f} ({design})")
    return 0


def _check_power(arguments: argparse.Namespace) -> None:
    sd, effect, seeds, alpha, target = (
        getattr(arguments, name) for name in ("sd", "effect", "seeds", "alpha", "target")
    )
    if not 0 < sd < inf or not 0 < alpha < 1 or not 0 < target < 1:
        raise ValueError(
            f"--sd {sd} --alpha {alpha} --power {target}: need sd > 0, and both others between 0 and 1"
        )
    if target <= alpha:
        raise ValueError(f"--power {target}: a difference of 0 is found with alpha {alpha}; ask for more")
    if effect is not None and not 0 < abs(effect) < inf:
        raise ValueError(f"--effect {effect}: give the smallest difference that matters, in points")
    if effect is None and seeds is None:
        raise ValueError("give --effect (how many seeds?), --seeds (how small a difference?), or both")
    if seeds is not None and seeds < 2:
        raise ValueError(f"--seeds {seeds}: need at least 2")


def load(folder: Path) -> Study:
    from analysis.study.load import load_study

    if not sys.stderr.isatty():
        return load_study(folder)

    def progress(done: int, total: int) -> None:
        if total > 50 and (done % 20 == 0 or done == total):
            print(f"\rloading runs {done}/{total}", end="" if done < total else "\n", file=sys.stderr)

    return load_study(folder, progress=progress)
