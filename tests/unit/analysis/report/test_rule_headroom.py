"""At which depth an arm adds and loses, from constructed tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from analysis.report.committed import Committed
from analysis.report.rule_headroom import headroom

REFERENCE = Path(__file__).resolve().parents[4] / "outputs" / "reference"
ARMS = ("depth=edge, objective=grpo", "depth=edge, objective=sft")
PLAN: dict[str, Any] = {
    "primary": {"factor": "depth", "split": "test", "metric": "chain_pass"},
    "arms": [{"label": label, "levels": {}} for label in ARMS],
}
Depth = tuple[float, float | None, float | None, float | None]  # change, low, high, p


def said(
    first: dict[str, Depth],
    second: dict[str, Depth] | None = None,
    *,
    seeds: int = 8,
    of: str = "gain over base",
    by: str = "level",
    metric: str = "chain_pass",
) -> str:
    rows = [
        {"arm": arm, "of": of, "by": by, "group": group, "estimate": estimate}
        | {"low": low, "high": high, "p_value": p}
        for arm, found in zip(ARMS, (first, second or {}), strict=True)
        for group, (estimate, low, high, p) in found.items()
    ]
    tables = {
        "families": pd.DataFrame(rows),
        "arms": pd.DataFrame([{"arm": arm, "seeds": seeds} for arm in ARMS]),
    }
    plan = {**PLAN, "primary": {**PLAN["primary"], "metric": metric}}
    return " ".join(headroom(plan, lambda name: tables.get(name, pd.DataFrame())))


def test_the_tables_of_a_committed_study_are_read() -> None:
    """A study of valid chains; its measure is the mean over samples and not any of k, so it is renamed."""
    study = Committed.read(REFERENCE / "self_evolution")
    assert headroom(study.plan, study.table) == []
    plan = {**study.plan, "primary": {**study.plan["primary"], "metric": "chain_pass"}}
    (text,) = headroom(plan, study.table)
    assert "`grpo` adds at depth 1 (+40.4 [+32.2, +48.7]) and 2 (+39.4 [+33.7, +45.2])." in text
    assert text.endswith("Of `coin` and `memoriser` nothing is said at any depth.")


UP: Depth = (0.2, 0.1, 0.3, 0.001)
DOWN: Depth = (-0.1, -0.19, -0.01, 0.03)  # a loss asks for no p below 0.01


def test_depths_are_named_in_their_order_with_their_intervals() -> None:
    text = said({"10": UP, "6": UP, "4": DOWN, "5": UP})
    assert (
        "`depth=edge, objective=grpo` adds at depth 5 (+20.0 [+10.0, +30.0]), 6 (+20.0 [+10.0, +30.0]) and "
        "10 (+20.0 [+10.0, +30.0]) and loses at depth 4 (−10.0 [−19.0, −1.0])."
    ) in text
    assert text.endswith("Of `depth=edge, objective=sft` nothing is said at any depth.")


def test_an_arm_adds_by_its_interval_and_p_below_a_hundredth() -> None:
    assert "adds at depth 5 " in said({"5": (0.2, 0.01, 0.39, 0.0099)})
    nothing = "nothing is said at any depth."
    assert said({"5": (0.2, 0.01, 0.39, 0.01)}).endswith(f"objective=grpo` and `{ARMS[1]}` {nothing}")
    assert " adds at" not in said({"5": (0.2, -0.01, 0.41, 0.001)})
    assert " adds at" not in said({"5": (0.2, 0.01, 0.39, None)})
    assert " loses at" not in said({"5": (-0.1, -0.2, 0.0, 0.001)})


def test_each_arm_has_a_sentence() -> None:
    text = said({"6": UP}, {"4": DOWN})
    assert "`depth=edge, objective=grpo` adds at depth 6 (" in text
    assert "`depth=edge, objective=sft` loses at depth 4 (" in text and "nothing is said" not in text


def test_a_change_without_an_interval_is_none() -> None:
    """Base and arm have all problems of depth 4 in every seed."""
    assert "depth 4" not in said({"4": (0.0, None, None, None), "5": UP}, {"4": (0.125, None, None, None)})


def test_what_the_rule_does_not_speak_of_is_not_read() -> None:
    assert said({"5": UP}, seeds=3) == ""
    assert said({"5": UP}, metric="pass") == ""
    assert " adds at" not in said({"5": UP}, of="difference to control")
    assert " adds at" not in said({"gcd": UP}, by="family")
    assert headroom(PLAN, lambda name: pd.DataFrame()) == []
