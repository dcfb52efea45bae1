"""Primary contrasts of several committed studies: which they are, and Holm over them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.report.committed import Committed
from analysis.report.overview import overview
from analysis.report.together import adjusted, primary_contrasts

REFERENCE = Path(__file__).resolve().parents[4] / "outputs" / "reference"


def commit(folder: Path, p: dict[str, float | None], *, seeds: int = 5, **plan: Any) -> Committed:
    """A study with an arm for each level: the control has no difference."""
    folder.mkdir()
    row = {"study": folder.name, "question": f"{folder.name}?", "answer": "yes", "seeds": seeds}
    (folder / "finding.json").write_text(json.dumps(row))
    levels = ["sft", *p]
    arms = [{"label": level, "levels": {"arm": level}} for level in levels]
    whole = {
        "factors": {"arm": levels},
        "control": {"arm": "sft"},
        "primary": {"factor": "arm"},
        "declared": {},
        "arms": arms,
    }
    (folder / "study.json").write_text(json.dumps(whole | plan))
    level = {"estimate": 0.5, "best_constant": 0.1}
    rows: list[dict[str, Any]] = [{"arm": "sft", "control": None, "gain_over_base_p_value": 0.5, **level}]
    for name_of, value in p.items():
        ends = {"": 0.01, "_low": -0.01, "_high": 0.03, "_p_value": value}
        numbers = {f"{name}{end}": v for name in ("difference", "gain_over_base") for end, v in ends.items()}
        rows.append({"arm": name_of, "control": "sft", **numbers, **level})
    pd.DataFrame(rows).to_csv(folder / "arms.csv", index=False)
    return Committed.read(folder)


def test_holm_is_over_the_primary_contrasts_of_studies_that_are_no_smoke_tests(tmp_path: Path) -> None:
    one = commit(tmp_path / "a", {"x": 0.01, "y": 0.2}, primary={"factor": "arm", "contrast": "x"})
    two = commit(tmp_path / "b", {"z": 0.02, "w": None})  # no contrast: every level with a test
    smoke = commit(tmp_path / "c", {"s": 0.001}, seeds=3)
    four = commit(tmp_path / "d", {"v": 0.04}, seeds=4)
    found = {c.text: c.p_holm for c in adjusted([one, two, smoke, four])}
    # Three p: 0.01 × 3, 0.02 × 2, 0.04 × 1, each at least the one before.
    assert found == {
        "x − sft": pytest.approx(0.03),
        "z − sft": pytest.approx(0.04),
        "v − sft": pytest.approx(0.04),
        "s − sft": None,
    }
    page = overview(tmp_path, pd.DataFrame())
    assert "Holm adjusts over the 3 primary contrasts" in page
    assert "| c | s − sft | +1.0 [−1.0, +3.0] | 0.001 | smoke test |" in page
    assert "| b | z − sft | +1.0 [−1.0, +3.0] | 0.020 | 0.040 |" in page


def test_gains_are_the_primary_contrasts_of_a_study_of_gains_and_equal_arms_have_none(tmp_path: Path) -> None:
    gain = commit(
        tmp_path / "g",
        {"x": 0.01, "null": 0.9},
        primary={"factor": "arm", "criterion": "gain"},
        declared={"family": ["x"]},
    )
    assert [(c.text, c.p_value) for c in primary_contrasts(gain)] == [("x over its base", 0.01)]
    equal = commit(tmp_path / "e", {"1": 0.3}, factors={"replicate": ["0", "1"]})
    assert primary_contrasts(equal) == []


def test_a_factorial_study_has_its_main_effect() -> None:
    (effect,) = primary_contrasts(Committed.read(REFERENCE / "conservative"))
    assert effect.text == "0.2 − none" and effect.p_value == pytest.approx(2.0299e-5, rel=1e-3)
    assert (effect.low, effect.high) == pytest.approx((0.01090292, 0.01854142), abs=1e-7)
