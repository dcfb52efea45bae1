"""The rule of conf/ablation/headroom.yaml: at which depth does an arm add problems with a valid chain?

    adds   the interval of the change in pass@k by valid chains over the base lies above 0, and p is below
           0.01, of five depths (`families`, rows `gain over base` by level)
    loses  that interval lies below 0

Nothing is said of a depth else: not of one without an interval, as where base and arm have every problem, nor
of an arm of three seeds or fewer. A study that does not count valid chains is not read: answers are guessed.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from analysis.report.claim_words import each
from analysis.report.rule_words import Ends, Plan, Tables, ends, enough, row_of
from analysis.tables.families import BY_LEVEL, GAIN

METRIC = "chain_pass"
P_BELOW = 0.01  # 0.05 over five depths
Found = tuple[str, Ends]  # a depth, and the change there


def headroom(plan: Plan, table: Tables) -> list[str]:
    """Say for each arm where it adds and where it loses; none without an arm to read."""
    rows, arms = table("families"), table("arms")
    if rows.empty or plan["primary"].get("metric") != METRIC:
        return []
    rows = rows[(rows["of"] == GAIN) & (rows["by"] == BY_LEVEL)]
    labels = [arm["label"] for arm in plan["arms"]]
    read = [label for label in labels if enough(row_of(arms, arm=label).get("seeds"))]
    found = {label: _depths(rows[rows["arm"] == label].to_dict("records")) for label in read}
    said = [_text(label, *found[label]) for label in read if any(found[label])]
    if silent := [f"`{label}`" for label in read if not any(found[label])]:
        said.append(f"Of {each(silent)} nothing is said at any depth.")
    if not said:
        return []
    return [
        "At which depth? Change in pass@k by valid chains over the base, in points; an arm adds where the "
        f"interval lies above 0 and p is below {P_BELOW}, loses where it lies below 0. {' '.join(said)}"
    ]


def _depths(rows: list[dict[Any, Any]]) -> tuple[list[Found], list[Found]]:
    """Depths at which an arm adds, and at which it loses, from its rows."""
    adds, loses = [], []
    for row in sorted(rows, key=lambda row: float(row["group"])):
        change = ends(row, "estimate", "low", "high")
        if change is None:
            continue
        if change.above and pd.notna(row["p_value"]) and row["p_value"] < P_BELOW:
            adds.append((str(row["group"]), change))
        elif change.high < 0:
            loses.append((str(row["group"]), change))
    return adds, loses


def _text(label: str, adds: list[Found], loses: list[Found]) -> str:
    """`` `edge` adds at depth 5 (+9.1 [+4.0, +14.2]) and loses at depth 4 (...).``"""
    parts = [
        f"{verb} at depth {each([f'{depth} ({change.text})' for depth, change in found])}"
        for verb, found in (("adds", adds), ("loses", loses))
        if found
    ]
    return f"`{label}` {' and '.join(parts)}."
