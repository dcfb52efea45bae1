"""Tables, figures and numbers for a paper: what fits a column, and units in headers."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from analysis.__main__ import main
from analysis.figures.accuracy import differences
from analysis.figures.figure import PRINT_POINTS
from analysis.report.build import build_report, write_report
from analysis.study.contrasts import arm_results, primary_of
from analysis.study.load import load_study
from analysis.tables.latex import WIDTH, latex_table, text_width
from analysis.tables.table import Table


def table() -> Table:
    columns = [
        "arm",
        "avg@4",
        "average length",
        "a column with a name that is very long indeed",
        "seeds",
        "p",
    ]
    cells = [
        ["objective=grpo_with_a_long_name model=ladder_xs trainer.lr=0.0003", "1.0", "2", "x " * 60, "3", ""]
    ]
    return Table("t", "A title", columns, cells, pd.DataFrame({"arm": ["a"]}), "A note.")


def test_columns_are_chosen_by_name_or_its_beginning() -> None:
    chosen = table().only(["seeds", "avg@4", "arm", "p", "average"])
    assert chosen.columns == ["seeds", "avg@4", "arm", "p", "average length"]
    assert chosen.cells[0][:2] == ["3", "1.0"]
    assert table().only(["seeds"]).columns == ["arm", "seeds"]  # a row says whose it is
    for name, words in (("av", "several columns begin so"), ("x", "no such column"), ("", "several|no such")):
        with pytest.raises(ValueError, match=words):
            table().only([name])


def test_what_does_not_fit_is_broken_or_left_out_and_named() -> None:
    """345 pt: the arm takes 0.34 of it, two short columns, 0.22 for the long one; then 6 pt between each."""
    lines = latex_table("t", "A title", table().columns, table().cells, "A note.").splitlines()
    assert lines[0] == r"% \usepackage{booktabs,array}"
    text = "\n".join(lines)
    assert r"p{117pt}" not in text.split("arraybackslash")[0]
    widths = [float(w) for w in re.findall(r"p\{([\d.]+)pt\}", text)]
    short = [text_width(name) for name in ("avg@4", "average length")]
    assert sum(widths) + sum(short) + 3 * 6 <= WIDTH
    narrow = latex_table("t", "A title", table().columns, table().cells, width=100.0).splitlines()
    assert narrow[1].startswith("% left out to fit 100 pt, --columns chooses others: avg@4, average length")
    assert next(line for line in narrow if line.endswith(r"\\")).count("&") == 0


def test_no_line_is_broken_inside_an_interval() -> None:
    """Only a bracket that ends in a digit and what stands with it in parentheses; other text is free."""
    cells = [["grpo (a, b)", "35.7 (−2.1 [−3.6, −0.6])", "1.0 [0.5, 1.5] and much more text than fits it"]]
    text = latex_table("t", "T", ["arm", "gain", "other"], cells, width=300.0)
    assert r"35.7 ($-$2.1~[$-$3.6,~$-$0.6])" in text and "1.0 [0.5,~1.5] and" in text
    assert "grpo (a, b)" in text


def test_caption_and_label_are_given_or_the_tables_own() -> None:
    assert r"\caption{A title}" in table().latex() and r"\label{tab:t}" in table().latex()
    named = table().latex(caption="50 % & more", label="tab:mine")
    assert r"\caption{50 \% \& more}" in named and r"\label{tab:mine}" in named


def test_the_command_gives_columns_caption_and_label(make_study, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(make_study(seeds=3, models=("xs",)))
    latex = [
        "table",
        folder,
        "--format",
        "latex",
        "--columns",
        "gain",
        "--caption",
        "Gains",
        "--label",
        "g",
    ]
    assert main(latex) == 0
    out = capsys.readouterr().out
    assert "arm & gain over base \\\\" in out and r"\caption{Gains}" in out and r"\label{g}" in out
    for arguments, words in (
        (["--columns", "arm", "--format", "csv"], "--columns with --format csv"),
        (["--caption", "x"], "--caption with --format text"),
        (["--columns", "nothing"], "no such column; the table arms has arm; "),
    ):
        assert main(["table", folder, *arguments]) == 2
        assert words in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_every_table_and_figure_fits_the_page(make_study, tmp_path: Path) -> None:
    """A page of `article` with every table and figure of a report: nothing overflows."""
    report = build_report(load_study(make_study(seeds=3)))
    write_report(report, tmp_path)
    body = [t.latex() + "\n\\clearpage" for t in report.tables if t.cells]
    body += [rf"\noindent\includegraphics{{figures/{f.name}.pdf}}\clearpage" for f in report.figures]
    head = r"\documentclass{article}\usepackage{booktabs,array,graphicx}\usepackage[T1]{fontenc}"
    text = "\n".join([head, r"\begin{document}", *body, r"\end{document}"])
    (tmp_path / "page.tex").write_text(text)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    assert re.findall(r"Overfull \\hbox \((\d+)", done.stdout) == []


def test_a_pdf_has_the_width_of_a_page_and_no_title(make_study) -> None:
    study = load_study(make_study(seeds=3, models=("xs",)))
    primary = primary_of(study)
    figure = differences(study, primary, arm_results(study, primary))
    assert figure is not None
    box = re.search(rb"MediaBox ?\[0 0 ([\d.]+) ([\d.]+)\]", figure.pdf)
    assert box is not None and float(box[1]) == pytest.approx(PRINT_POINTS, abs=1)


def test_per_seed_numbers_stand_in_every_report_with_their_units(make_study, tmp_path: Path) -> None:
    study = load_study(make_study(seeds=3, models=("xs",)))
    write_report(build_report(study, figures=False), tmp_path)
    rows = list(csv.DictReader((tmp_path / "evaluations.csv").open()))
    assert len(rows) == 2 * 3 * 2 * 4  # arms, seeds, base and last, splits
    assert {row["arm"] for row in rows} == {arm.label for arm in study.record.arms}
    first = next(r for r in rows if r["step [rollout batches; 0 is the base]"] == "6")
    own = study.evaluations.query("run_id == @first['run_id'] and task == @first['task'] and step == 6")
    assert float(first["avg [share right]"]) == pytest.approx(float(own["avg"].iloc[0]))
    curves = list(csv.DictReader((tmp_path / "curves.csv").open()))
    assert len(curves) == 2 * 3 * 6  # arms, seeds, steps
    assert float(curves[-1]["completion_length [tokens]"]) == 12
    assert {"entropy [nats/token]", "kept_loss [nats/token]", "accuracy [share right]"} <= set(curves[0])
