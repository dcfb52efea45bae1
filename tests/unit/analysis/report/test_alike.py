"""An A/A study says how many differences it found that are 0 in truth, and how often its tests reject."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from analysis.report.alike import alike_lines, is_alike, rejections_text
from analysis.report.answers import answers
from analysis.study.contrasts import arm_results, primary_of
from analysis.study.load import load_study
from tests.unit.analysis.calibration.test_rejections import aa_study

ROWS = [
    {"what": "rate chosen by each seed", "seeds": 3, "tests": 1200, "rejected": 0.031, "sound": 0.08},
    {"what": "rate chosen by each seed", "seeds": 6, "tests": 2100, "rejected": 0.0271, "sound": 0.1315},
    {"what": "rate chosen by each seed", "seeds": 10, "tests": 10, "rejected": 0.3, "sound": 0.2},
    {"what": "rate chosen by two", "seeds": 6, "tests": 12600, "rejected": 0.1367, "sound": 0.1315},
]


def test_only_a_study_whose_arms_differ_in_random_numbers_alone_is_one() -> None:
    assert is_alike({"replicate": ["0", "1"]})
    assert not is_alike({"replicate": ["0", "1"], "objective": ["grpo"]}) and not is_alike({})


def test_the_share_of_real_tests_that_reject_is_told_at_the_most_seeds(tmp_path: Path) -> None:
    """Ten tests of ten seeds share all their runs, and say nothing about a rate of 5 %."""
    assert rejections_text(tmp_path) == ""
    (tmp_path / "calibration.json").write_text(json.dumps({"rejections": ROWS}))
    sound = "a sound test stays below 13 % in 95 of 100 studies"
    assert rejections_text(tmp_path) == (
        "Tests at 5 % of all pairs of these arms and subsets of their seeds reject "
        f"2.7 % of 2,100 (rate chosen by each seed, 6 seeds; {sound})"
        f" and 13.7 % of 12,600 (rate chosen by two, 6 seeds; {sound})."
    )
    (tmp_path / "calibration.json").write_text(json.dumps({"rows": []}))  # an early one
    assert rejections_text(tmp_path) == ""
    (tmp_path / "calibration.json").write_text(json.dumps({"rejections": [{"what": "x"}]}))
    with pytest.raises(ValueError, match="write it again with r1-report calibrate"):
        rejections_text(tmp_path)


def test_the_first_screen_asks_what_such_a_study_is_for(tmp_path: Path) -> None:
    study = load_study(aa_study(tmp_path))
    primary = primary_of(study)
    results = arm_results(study, primary)
    (line,) = alike_lines(study.folder, results, "avg@4 on test")
    lines = answers(study, primary, results)
    assert not any("Which is better?" in text for text in lines)
    (said,) = (text for text in lines if text.startswith("Do arms that differ in random numbers alone"))
    assert said.split(" In ")[0] == line.split(" In ")[0]
    differences = [r.difference for r in results if r.difference is not None]
    largest = max(differences, key=lambda found: abs(found.estimate))
    assert f"of {len(differences)} are found (5 %, Holm); the largest is" in said
    assert f"{100 * largest.estimate:+.1f}".replace("-", "−") in said
