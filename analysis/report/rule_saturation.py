"""The rule of conf/ablation/saturation.yaml: does an objective move the ceiling, and does a forecast hold?

From the table `saturation`, for each arm against its control:

    does not move  its asymptote is equivalent to the control's within a quarter of that one's rise (p within
                   0.05)
    moves          else, p of the difference of asymptotes is below 0.01, of five objectives
    undecided      else

Neither is said while a seed of either has not reached its asymptote (80 % of the fitted rise, and a slope
inside those tried). A forecast holds for an objective if the curve through the first quarter of the steps is
nearer to the last score than the last score of that quarter is, in every seed. Midpoints are not judged. An
arm of three seeds or fewer, or one that lacks the curve of a seed, is not read.
"""

from __future__ import annotations

import pandas as pd

from analysis.report.claim_words import each
from analysis.report.rule_words import Plan, Tables, ends, enough, row_of

WITHIN = 0.05  # p of equivalence
P_BELOW = 0.01  # 0.05 over five objectives


def saturation(plan: Plan, table: Tables) -> list[str]:
    """Say which objectives move the ceiling, and for which a forecast holds."""
    control = next((arm["label"] for arm in plan["arms"] if arm["levels"] == plan["control"]), None)
    curves = {arm["label"]: _curves(table, arm["label"]) for arm in plan["arms"]}
    curves = {label: rows for label, rows in curves.items() if len(rows)}
    lines = []
    others = [label for label in curves if label != control]
    if control in curves and others:
        said = [_ceiling(label, curves[label], curves[control]) for label in others]
        lines.append(
            f"Where does it end? Asymptotes less that of `{control}`, in points; equivalent is within a "
            f"quarter of its rise. {' '.join(said)}"
        )
    return [*lines, *_forecasts(curves)]


def _curves(table: Tables, label: str) -> pd.DataFrame:
    """An arm's fits, a row a seed; empty for few seeds, or where one of them has no curve."""
    rows, seeds = table("saturation"), row_of(table("arms"), arm=label).get("seeds")
    if rows.empty or not enough(seeds):
        return pd.DataFrame()
    rows = rows[rows["arm"] == label]
    return rows if len(rows) == seeds else pd.DataFrame()


def _ceiling(label: str, own: pd.DataFrame, control: pd.DataFrame) -> str:
    """Whether one arm moves the ceiling, with the difference of asymptotes."""
    early = [int((~rows["reached"].astype(bool)).sum()) for rows in (own, control)]
    if any(early):
        counts = f"{early[0]} of its seeds and {early[1]} of the control's"
        return f"`{label}`: nothing is said, as {counts} have not reached their asymptote."
    row = dict(own.iloc[0])
    difference = ends(row, "difference")
    if difference is None:
        return f"`{label}`: nothing is said, as its difference has no interval."
    if pd.notna(row["tost_p"]) and row["tost_p"] <= WITHIN:
        word = "does not move the ceiling"
    elif pd.notna(row["difference_p_value"]) and row["difference_p_value"] < P_BELOW:
        word = "moves the ceiling"
    else:
        word = "is undecided"
    return f"`{label}` {word} ({difference.text})."


def _forecasts(curves: dict[str, pd.DataFrame]) -> list[str]:
    """For which arms the curve through the first quarter beats its last score in every seed."""
    held: list[str] = []
    failed: list[str] = []
    for label, rows in curves.items():
        if rows[["forecast", "held", "observed"]].isna().any(axis=None):
            continue
        misses = [(rows[name] - rows["observed"]).abs() for name in ("forecast", "held")]
        nearer = int((misses[0] < misses[1]).sum())
        (held if nearer == len(rows) else failed).append(f"`{label}` ({nearer} of {len(rows)})")
    if not held and not failed:
        return []
    said = [f"It holds for {each(held)}."] if held else []
    said += [f"It does not for {each(failed)}."] if failed else []
    return [
        "Does a forecast hold? The curve through the first quarter of the steps is nearer to the last score "
        f"than that quarter's last score is, in every seed (seeds where it is). {' '.join(said)}"
    ]
