"""What the report says of a declaration: made before the first run, changed after it, or not made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from analysis.report.build import build_report
from analysis.report.findings import finding
from analysis.report.reference import reference_files
from analysis.study.contrasts import arm_results, primary_of
from analysis.study.declaration import declaration_lines, declaration_of
from analysis.study.load import load_study
from harness.records import records
from harness.records.declarations import FILE, Declaration, Entry, content_hash

QUESTION = "Is GRPO better than rejection-sampled SFT?"


def entry(started: int = 0, finished: int = 0, **content: Any) -> Entry:
    content = {"question": QUESTION, "primary": {}, "seeds": [0, 1, 2], **content}
    return Entry(
        time="2026-11-29T06:00:00+00:00",
        runs_started=started,
        runs_finished=finished,
        sha256=content_hash(content),
        content=content,
    )


def write(folder: Path, *entries: Entry, **declared: Any) -> None:
    records.write_record(folder / FILE, Declaration(entries=list(entries)))
    plan = records.read_study(folder)
    records.write_record(folder / "study.json", plan.model_copy(update={"declared": declared}))


def test_a_study_without_a_declaration_says_so(make_study) -> None:
    report = build_report(load_study(make_study(models=("xs",))), figures=False)
    first = report.sections[0]
    assert first.text[:1] == ["Not declared beforehand: the study has no declaration.json."]


def test_a_declaration_before_the_first_run_is_said_with_its_hash(make_study) -> None:
    folder, made = make_study(models=("xs",)), entry(margin=0.02)
    write(folder, made, margin=0.02)
    study = load_study(folder)
    said = f"Declared before the first run (sha256 {made.sha256[:12]}…, 2026-11-29T06:00:00+00:00)."
    assert declaration_lines(study) == [said]
    primary = primary_of(study)
    row = finding(study, primary, arm_results(study, primary))
    assert row["declaration"] == {"before_first_run": True, "sha256": made.sha256, "changes": []}
    assert FILE in reference_files(build_report(study, figures=False))


def test_each_changed_field_is_listed_with_the_runs_that_had_finished(make_study) -> None:
    folder = make_study(models=("xs",))
    later = entry(6, 5, margin=0.05, seeds=[0, 1, 2, 3], primary={"contrast": "grpo"})
    write(folder, entry(margin=0.02), later, margin=0.05)
    found = declaration_of(load_study(folder))
    assert found.before is True
    assert found.changes == [
        "seeds [0, 1, 2] → [0, 1, 2, 3], after 5 finished runs",
        "margin 0.02 → 0.05, after 5 finished runs",
        "primary.contrast default → grpo, after 5 finished runs",
        "primary.contrast grpo → default, in study.json",
        "declared seeds without a run: 3",
    ]


def test_a_study_json_that_was_edited_differs_from_the_declaration(make_study) -> None:
    folder = make_study(models=("xs",))
    write(folder, entry(margin=0.02), margin=0.2, family=["grpo"])
    assert declaration_of(load_study(folder)).changes == [
        "margin 0.02 → 0.2, in study.json",
        "family default → [grpo], in study.json",
    ]


def test_one_after_the_first_run_and_a_damaged_one_are_no_declaration_beforehand(make_study) -> None:
    folder = make_study(models=("xs",))
    write(folder, entry(6, 4))
    found = declaration_of(load_study(folder))
    assert found.before is False
    assert found.text.startswith("Declared only after 6 runs had started, of which 4 had finished (sha256 ")
    (folder / FILE).write_text("{")
    found = declaration_of(load_study(folder))
    assert found.before is None and found.text.startswith("Not shown to be declared beforehand: ")
