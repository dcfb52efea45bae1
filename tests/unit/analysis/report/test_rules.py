"""A preset's rule sees the same numbers in the report and on the findings page, which both print it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.report import rules
from analysis.report.build import build_report, markdown
from analysis.report.committed import Committed
from analysis.report.overview import overview
from analysis.report.reference import write_reference
from analysis.report.rule_words import Plan, Tables, ends, row_of
from analysis.study.load import load_study


def read_out(plan: Plan, table: Tables) -> list[str]:
    """A rule that prints what it can read of the first arm."""
    label = plan["arms"][0]["label"]
    gain = ends(row_of(table("arms"), arm=label), "gain_over_base")
    rows = table("evaluations")
    bases = rows[(rows["arm"] == label) & (rows["step"] == 0) & (rows["split"] == "test")]
    assert gain is not None and table("no such table").empty
    assert plan["arms"][0]["levels"] == plan["control"] and plan["factors"]["model"] == ["xs"]
    return [f"Read: {gain.text}; bases {bases['avg'].mean():.4f} of {bases['seed'].nunique()} seeds."]


def test_report_and_page_print_what_the_rule_says(
    make_study: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_study(seeds=4, models=("xs",))
    plain = build_report(load_study(folder), figures=False)
    monkeypatch.setattr(rules, "RULES", {"toy": read_out})
    report = build_report(load_study(folder), figures=False)
    (line,) = [text for text in report.answers if text not in plain.answers]
    assert line.startswith("Read: +") and line.endswith(" of 4 seeds.")
    assert report.answers.index(line) == len(plain.answers) - 1  # before how sure it is
    assert f"> {line}\n" in markdown(report)
    write_reference(report, tmp_path / "reference" / "toy")
    assert rules.committed_lines(Committed.read(tmp_path / "reference" / "toy")) == [line]
    assert f"\n\n{line}\n\n" in overview(tmp_path / "reference")


def test_a_study_without_a_rule_says_nothing(make_study: Callable[..., Path]) -> None:
    study = load_study(make_study(seeds=2, models=("xs",)))
    assert rules.report_lines(study, {}) == []
