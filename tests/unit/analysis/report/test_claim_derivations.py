"""Each word on derivations, from constructed studies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.report import claim_derivations
from analysis.report.claim_derivations import derivations
from analysis.report.committed import Committed
from analysis.stats.intervals import paired_t
from tests.unit.analysis.report.test_claims import BASE, accuracies, committed

NAMES = ("valid_change", "valid_change_low", "valid_change_high")
Ends = tuple[float, float, float]


def study(folder: Path, changes: dict[str, Ends | None], **declared: Any) -> Committed:
    """Arms of one factor, and what their derivations changed by; the first is the control."""
    arms: dict[str, Any] = {name: ({"arm": name}, [BASE, (24, accuracies(0.3))]) for name in changes}
    made = committed(folder, {"arm": list(arms)}, {"arm": next(iter(arms))}, arms)
    evaluations = pd.read_csv(folder / "evaluations.csv").assign(task="aime_gen_test")
    evaluations.to_csv(folder / "evaluations.csv", index=False)
    rows = [
        {"arm": name} | dict(zip(NAMES, ends or (None, None, None), strict=True))
        for name, ends in changes.items()
    ]
    pd.DataFrame(rows).to_csv(folder / "anatomy_problems.csv", index=False)
    plan = json.loads((folder / "study.json").read_text())
    plan["declared"] |= declared
    (folder / "study.json").write_text(json.dumps(plan))
    return Committed.read(made.folder)


@pytest.mark.parametrize(
    "second, word, part",
    [
        ((0.0, -0.019, 0.02), "refuted", "rises in 1 of 2 arms and falls in none."),
        (
            (0.0, -0.021, 0.02),
            "undecided",
            "is not excluded in `b` of `s` (0.0 [−2.1, +2.0]).",
        ),
        ((-0.03, -0.05, -0.01), "supported", "falls in `b` of `s` (−3.0 [−5.0, −1.0])."),
        (None, "refuted", "rises in 1 of 1 arms"),
    ],
)
def test_every_arm_that_is_paid_by_answers_is_read(
    tmp_path: Path, second: Ends | None, word: str, part: str
) -> None:
    changes = {"a": (0.02, 0.01, 0.03), "b": second, "coin": (-0.9, -0.95, -0.85)}
    found = derivations([study(tmp_path / "s", changes, nulls=["coin"])])
    assert found is not None and found[0] == word and part in found[1]
    again = [study(tmp_path / "t", {"a": (0.02, 0.01, 0.03)}), Committed.read(tmp_path / "s")]
    same = derivations(again)
    assert same is not None and "rises in 1 of" in same[1]  # the same runs in two studies count once


def test_without_a_table_nothing_is_said(tmp_path: Path) -> None:
    assert derivations([study(tmp_path / "s", {"a": None})]) is None
    (tmp_path / "s" / "anatomy_problems.csv").unlink()
    assert derivations([Committed.read(tmp_path / "s")]) is None


@pytest.mark.parametrize("highest, slips", [(0.06, True), (0.08, False)])
def test_a_family_whose_answers_outrun_its_chains_supports_the_doubt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, highest: float, slips: bool
) -> None:
    changes = {"memoriser": None, "grpo": (0.02, 0.01, 0.03), "truth": (0.03, 0.02, 0.04)}
    made = study(tmp_path / "s", changes, family=["grpo"], ceiling="truth")
    right = paired_t([0.1, 0.11, 0.09, 0.1, 0.12, 0.08])
    assert right.low is not None and 0.06 < right.low < 0.09
    ends = {"gain": 0.03, "gain_low": 0.0, "gain_high": highest if slips else right.low}
    monkeypatch.setattr(claim_derivations, "family_gains", lambda s, arm: {"mod": (ends, right)})
    found = derivations([made])
    assert found is not None and "rises in 1 of 1 arms" in found[1]  # the ceiling is not paid by answers
    ending = " where bases have seen worked derivations; supported for `mod`, where they have not"
    assert found[0] == f"refuted{ending if slips else ''}"
    assert ("In `s` right answers of `mod` rise by +10.0 [" in found[1]) is slips
