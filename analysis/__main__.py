"""`r1-report`: reports and tables from outputs/. Exit code 0, or 2 with one clear line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from analysis.report import calibrate, commands
from harness.records.progress import nobody_reads
from harness.records.reading import visible

FORMATS = ("text", "markdown", "latex", "csv", "html")


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, run one command, and turn what a user got wrong into one line on stderr."""
    arguments = _parser().parse_args(argv)
    try:
        code = int(arguments.run(arguments))
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        return nobody_reads()
    except (ValueError, OSError) as error:
        print(f"error: {visible(' '.join(str(error).split()))}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    prog = "r1-report" if Path(sys.argv[0]).stem == "r1-report" else "python -m analysis"
    parser = argparse.ArgumentParser(prog=prog, description="Reports and tables from outputs/.")
    add = parser.add_subparsers(required=True, metavar="COMMAND").add_parser
    _add_report(add("report", help="write report.html, report.md, CSV and figures of a study"))
    _add_fetch(add("fetch", help="a study's folder from W&B's API or from offline runs"))
    _add_table(add("table", help="print a study's table of arms"))
    _add_samples(add("samples", help="print completions beside their problems and reference answers"))
    _add_list(add("list", help="list the studies under a folder and their runs' states"))
    _add_look(add("look", help="what a study's rule for adding seeds sees now"))
    _add_findings(add("findings", help="write README.md of a folder of committed studies"))
    _add_compare(add("compare", help="two studies, a study and the literature, or other tools' logs"))
    intervals = "do the intervals hold? an A/A study, or simulated studies of all that is printed"
    _add_calibrate(add("calibrate", help=intervals))
    _add_power(add("power", help="seeds needed for a difference, or the smallest one found"))
    return parser


def _add_report(report: argparse.ArgumentParser) -> None:
    report.add_argument("study", type=Path, metavar="STUDY_FOLDER")
    report.add_argument("--out", type=Path, help="folder for the report (default: STUDY_FOLDER/report)")
    report.add_argument(
        "--reference", type=Path, metavar="FOLDER", help="also a version small enough to commit"
    )
    report.add_argument(
        "--figures", help="of that version, comma-separated (default: see analysis/README.md)"
    )
    report.add_argument("--note", action="append", default=[], help="your own words, under “Read with care”")
    report.add_argument("--wandb", choices=("offline", "online"), help="log it to W&B: Tables, an Artifact")
    report.add_argument("--project", default="r1-ablations", help="W&B project (default: r1-ablations)")
    report.add_argument("--entity", help="W&B entity")
    report.set_defaults(run=commands.report)


def _add_fetch(fetch: argparse.ArgumentParser) -> None:
    fetch.add_argument("source", help="a folder of offline runs, or ENTITY/PROJECT")
    fetch.add_argument("out", type=Path, metavar="STUDY_FOLDER", help="where to write it")
    fetch.add_argument("--group", help="one study of the project alone")
    fetch.set_defaults(run=commands.fetch)


def _add_table(table: argparse.ArgumentParser) -> None:
    table.add_argument("study", type=Path, metavar="STUDY_FOLDER")
    table.add_argument("--name", default="arms", help="which table (default: arms)")
    table.add_argument("--format", choices=FORMATS, default="text")
    table.add_argument("--columns", metavar="A,B", help="columns to show, by name or its beginning")
    table.add_argument("--caption", help="of the LaTeX table (default: its title)")
    table.add_argument("--label", help="of the LaTeX table (default: tab:NAME)")
    table.set_defaults(run=commands.table)


def _add_samples(samples: argparse.ArgumentParser) -> None:
    samples.add_argument("study", type=Path, metavar="STUDY_FOLDER")
    samples.add_argument("--arm", help="of this arm, as the report names it (base: the base)")
    samples.add_argument("--problem", help="of this problem, by its id")
    samples.add_argument("--grade", choices=("right", "wrong"), help="right or wrong completions alone")
    samples.add_argument(
        "--change",
        choices=("lost", "gained"),
        help="problems that the base had right and the arm wrong, or reverse",
    )
    samples.add_argument("--limit", type=int, default=20, help="how many at most (default: 20)")
    samples.set_defaults(run=commands.samples)


def _add_list(listing: argparse.ArgumentParser) -> None:
    listing.add_argument("outputs", type=Path, nargs="?", default=Path("outputs"))
    listing.set_defaults(run=commands.list_studies)


def _add_look(look: argparse.ArgumentParser) -> None:
    look.add_argument("study", type=Path, metavar="STUDY_FOLDER")
    look.add_argument("--json", action="store_true", help="as a launch reads it; accuracies in [0, 1]")
    look.set_defaults(run=commands.look)


def _add_findings(findings: argparse.ArgumentParser) -> None:
    findings.add_argument("reference", type=Path, nargs="?", default=Path("outputs/reference"))
    findings.set_defaults(run=commands.findings)


def _add_compare(compare: argparse.ArgumentParser) -> None:
    others = "or logs of lm-eval, Inspect, verl, TRL: PATH, PATH,PATH for seeds, SEED=PATH, or a pattern"
    compare.add_argument("first", metavar="A", help=f"a study's folder, {others}")
    compare.add_argument("second", metavar="B", help="the same of the other, or the word literature")
    compare.add_argument("--out", type=Path, help="also write the comparison there: HTML, Markdown, CSV")
    logs = compare.add_argument_group("logs of other tools")
    columns = (
        "of generations: problem=input,correct=score>0 (also sample, seed, task, reference), or a YAML file"
    )
    logs.add_argument("--columns", help=columns)
    logs.add_argument("--metric", action="append", default=[], help="as in the log: exact_match,strict-match")
    logs.add_argument("--task", action="append", default=[], help="this task alone; may be repeated")
    logs.add_argument("--step", type=int, help="of a folder of generations (default: the last)")
    compare.set_defaults(run=commands.compare)


def _add_calibrate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", type=Path, nargs="?", metavar="STUDY_FOLDER", help="an A/A study")
    parser.add_argument("--pipeline", action="store_true", help="all that reports print, by simulation")
    parser.add_argument("--studies", type=int, help="simulated for each row (default: 10000, pipeline 4000)")
    parser.add_argument("--seed", type=int, default=0, help="of the simulation (default: 0)")
    parser.add_argument(
        "--out",
        type=Path,
        help="file to write (default: STUDY_FOLDER/calibration.json, or "
        "outputs/reference/calibration/pipeline.json)",
    )
    parser.set_defaults(run=calibrate.calibrate)


def _add_power(power: argparse.ArgumentParser) -> None:
    power.add_argument("--sd", type=float, required=True, help="sd of per-seed differences, points")
    power.add_argument("--effect", type=float, help="difference to detect, points")
    power.add_argument("--seeds", type=int, help="number of seeds")
    power.add_argument("--alpha", type=float, default=0.05)
    power.add_argument("--power", type=float, default=0.8, dest="target")
    power.set_defaults(run=commands.plan_power)


if __name__ == "__main__":
    sys.exit(main())
