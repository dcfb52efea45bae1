"""The Python example of analysis/README.md, run as it is written there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis import compare, load_study, power

README = Path(__file__).resolve().parents[2] / "analysis" / "README.md"
(EXAMPLE,) = re.findall(
    r"```python\n(.*?)```", README.read_text(encoding="utf-8").split("## From Python")[1], re.DOTALL
)


def test_the_example_runs_and_gives_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(EXAMPLE, names)
    assert names["code"] == names["one"] == 0
    assert set(names["arms"]["arm"]) == {"grpo", "sft_rejection"}
    assert {"estimate", "difference", "gain_over_base", "difference_low", "verdict"} <= set(names["arms"])
    assert names["accuracy"].index.get_level_values("arm").nunique() == 2
    assert len(names["curves"]) == 2 * 3 * 4  # arms, seeds, steps
    assert (names["again"]["difference"] == 0).all() and names["seeds"] == 10
    frame = compare(Path("outputs/alone"))
    assert isinstance(frame, pd.DataFrame) and list(frame["arm"]) == ["all runs"]
    assert load_study(Path("outputs/alone")).runs["status"].tolist() == ["finished"]


def test_what_is_wrong_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such folder; give outputs/<study>"):
        load_study(str(tmp_path / "gone"))
    with pytest.raises(ValueError, match="no such folder"):
        compare(str(tmp_path / "gone"))


def test_power_answers_the_question_that_is_left_open() -> None:
    assert power(sd=3, effect=3) == 10  # Cohen's tables; statsmodels solves 9.94
    assert power(sd=3, seeds=10) == pytest.approx(2.99, abs=0.02)
    assert power(sd=3, effect=3, seeds=10) == pytest.approx(0.803, abs=0.001)
    for wrong, words in (
        ({"sd": 0, "effect": 1}, "need sd > 0"),
        ({"sd": 1}, "give effect"),
        ({"sd": 1, "effect": 0}, "smallest difference"),
        ({"sd": 1, "seeds": 1}, "need at least 2"),
        ({"sd": 1, "effect": 1, "alpha": 0.9}, "alpha < target"),
    ):
        with pytest.raises(ValueError, match=words):
            power(**wrong)
