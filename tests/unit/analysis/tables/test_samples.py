"""Completions beside their problems: which problems training changed, and the filters on the terminal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analysis.__main__ import main
from analysis.report.samples_text import matching, samples_text
from analysis.study.contrasts import final_rows, primary_of
from analysis.study.load import load_study
from analysis.tables.samples import CHANGED, GAINED, LOST, changed_problems, sample_rows
from tests.unit.analysis.report.test_page import add_samples


def row(shares: list[float], greedy: list[int] | None = None, ids: str = "abcdef") -> dict[str, Any]:
    return {
        "problem_ids": tuple(ids[: len(shares)]),
        "per_problem": shares,
        "greedy_problems": tuple(greedy or ()),
    }


def test_a_problem_is_lost_or_gained_by_its_greedy_answer() -> None:
    before = row([1, 1, 0, 0], [1, 1, 0, 0])
    after = row([1, 1, 1, 0], [1, 0, 1, 0])  # b lost and c gained, whatever the samples say
    assert changed_problems(after, before) == {"b": LOST, "c": GAINED}
    assert changed_problems(before, after) == {"b": GAINED, "c": LOST}


def test_without_a_greedy_answer_on_both_sides_half_of_the_samples_decides() -> None:
    before, after = row([0.5, 0.49, 0.5, 0.4]), row([0.49, 0.5, 0.6, 0.3], [1, 1, 1, 1])
    assert changed_problems(after, before) == {"a": LOST, "b": GAINED}


def test_problems_that_one_side_lacks_are_left_out() -> None:
    assert changed_problems(row([0, 0], ids="ab"), row([1, 1], ids="bc")) == {"b": LOST}


@pytest.fixture
def folder(make_study: Callable[..., Path]) -> Path:
    made = make_study(seeds=3)
    add_samples(made)
    return made


def test_rows_have_problem_reference_and_change(folder: Path) -> None:
    study = load_study(folder)
    primary = primary_of(study)
    rows = sample_rows(study, primary)
    arm = "objective=grpo model=xs"
    changes = changed_problems(
        final_rows(study, arm, primary.task)["0"], final_rows(study, arm, primary.task, base=True)["0"]
    )
    assert LOST in changes.values() and GAINED in changes.values()
    for each in rows:
        number = int(each["problem"].rpartition("-")[2])
        assert each["question"].startswith(f"Problem {number}:") and each["reference"] == str(number + 1)
        if each["arm"] == arm:
            assert each["change"] == changes.get(each["problem"], "")
        if arm in each["base_of"]:
            assert each["change"].get(arm, "") == changes.get(each["problem"], "")
    assert CHANGED > 0


def test_an_early_file_without_texts_is_shown_without(folder: Path) -> None:
    study = load_study(folder)
    rows = [{**r, "question": None, "reference": None} for r in sample_rows(study, primary_of(study))]
    text = "\n".join(samples_text(rows, limit=2))
    assert "early record" in text and "(reference" not in text and f"{len(rows) - 2} more match" in text


def test_filters_leave_what_they_name(folder: Path) -> None:
    study = load_study(folder)
    rows = sample_rows(study, primary_of(study))
    arm = "objective=grpo model=xs"
    assert {r["arm"] for r in matching(rows, arm=arm)} == {arm}
    assert {r["right"] for r in matching(rows, grade="wrong")} == {False}
    lost = matching(rows, arm=arm, change="lost")
    assert {bool(r["base_of"]) for r in lost} == {True, False}
    assert {r["problem"] for r in lost if not r["base_of"]} == {r["problem"] for r in lost if r["base_of"]}
    assert all(r["arm"] == arm or arm in r["base_of"] for r in lost)
    one = lost[0]["problem"]
    assert {r["problem"] for r in matching(rows, problem=one)} == {one}
    with pytest.raises(ValueError, match="--arm nobody: not among base"):
        matching(rows, arm="nobody")


def test_the_command_prints_text_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["samples", str(folder), "--change", "gained", "--limit", "3"]) == 0
    captured = capsys.readouterr()
    assert captured.out.count("\n-- ") == 3 and "(reference " in captured.out and "\x1b" not in captured.out
    assert "completions match" in captured.err
    assert main(["samples", str(folder), "--problem", "none"]) == 2
    assert "--problem none: not among" in capsys.readouterr().err
    for path in [*folder.rglob("*.samples.jsonl.gz"), *folder.parent.glob("bases/**/*.samples.jsonl.gz")]:
        path.unlink()
    assert main(["samples", str(folder)]) == 2
    assert "no completions there" in capsys.readouterr().err
