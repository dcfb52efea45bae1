"""The checkpoint that counts: the last, or each run's best on validation, never the best on the test."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from analysis.report.build import build_report
from analysis.study.contrasts import arm_results, final_rows, primary_of
from analysis.study.load import load_study
from harness.records import records
from tests.unit.analysis.conftest import evaluation, write_evaluation

ARM = "objective=grpo model=xs"


def with_steps(study: Path, rule: str) -> Path:
    """Validation is best at step 2 for seed 0, 4 for seed 1 and, with a tie, 2 for seed 2; test at 6."""
    path = study / "study.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"declared": {"checkpoint": rule}}))
    rates = {0: (0.9, 0.1, 0.1), 1: (0.1, 0.9, 0.1), 2: (0.5, 0.5, 0.1)}
    for folder in study.glob("*-s*"):
        run = records.read_run(folder)
        seed = run.config["seed"]
        for step, rate in zip((2, 4, 6), rates[seed], strict=True):
            made = evaluation(rate, split="validation", seed=seed, step=step, run_id="v", base="b")
            write_evaluation(folder, made)
            if step < 6:
                made = evaluation(step / 10, split="test", seed=seed, step=step, run_id="t", base="b")
                write_evaluation(folder, made)
    return study


def test_the_best_on_validation_is_judged_by_whatever_the_test_says(make_study) -> None:
    study = load_study(with_steps(make_study(models=("xs",)), "validation"))
    rows = final_rows(study, ARM, "aime_gen_test")
    assert {seed: row["step"] for seed, row in rows.items()} == {"0": 2, "1": 4, "2": 2}
    treated = next(r for r in arm_results(study, primary_of(study)) if r.label == ARM)
    assert treated.estimate.estimate == pytest.approx(sum(r["avg"] for r in rows.values()) / 3)
    assert treated.estimate.estimate < 0.5  # at the last step it is 0.7
    table = next(t for t in build_report(study, figures=False).tables if t.name == "arms")
    assert "at each run's checkpoint with the best avg@k on the validation split" in table.note
    assert set(study.runs["checkpoint"]) == {2, 4}


def test_the_last_counts_by_default_and_the_table_says_so(make_study) -> None:
    study = load_study(with_steps(make_study(models=("xs",)), "last"))
    assert {row["step"] for row in final_rows(study, ARM, "aime_gen_test").values()} == {6}
    table = next(t for t in build_report(study, figures=False).tables if t.name == "arms")
    assert "at the last checkpoint (fixed beforehand)" in table.note


def test_a_run_without_validation_is_named_and_in_no_table(make_study) -> None:
    folder = with_steps(make_study(models=("xs",)), "validation")
    for path in folder.glob("grpo-xs-s1-*/eval/*/aime_gen_validation.json"):
        path.unlink()
    study = load_study(folder)
    assert set(final_rows(study, ARM, "aime_gen_test")) == {"0", "2"}
    notes = build_report(study, figures=False).notes
    assert any(
        "grpo-xs-s1" in n and "no checkpoint of it was evaluated on both validation" in n for n in notes
    )


def test_rows_are_indexed_once_a_study(make_study) -> None:
    """Six runs of two seeds' order 0..2; the base stands apart, and an unknown arm has no row."""
    study = load_study(make_study(models=("xs",)))
    rows = final_rows(study, ARM, "aime_gen_test")
    assert final_rows(study, ARM, "aime_gen_test") is rows and list(rows) == ["0", "1", "2"]
    assert {row["step"] for row in final_rows(study, ARM, "aime_gen_test", base=True).values()} == {0}
    assert final_rows(study, "no such arm", "aime_gen_test") == {}
