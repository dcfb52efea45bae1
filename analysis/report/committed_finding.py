"""A verdict as a committed study's finding.json has it, for measures that evaluations.csv lacks.

Valid chains are such a measure: no CSV file has them problem by problem, so `committed_verdicts` cannot judge
them anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from analysis.report.committed import Committed
from analysis.report.committed_verdicts import pairs_of
from analysis.stats.contrast import Judged
from analysis.stats.families import Largest
from analysis.stats.intervals import Interval
from analysis.stats.margins import Margin
from analysis.stats.verdict import Evidence, Verdict, one_family_text
from analysis.tables.families import BY_FAMILY, DIFFERENCE

AS_WRITTEN = "as finding.json has it"


def written_verdict(study: Committed, level: str, metric: str) -> Judged | None:
    """The verdict on a level of the primary factor in a measure; None if finding.json lacks it."""
    asked = {"factor": study.factor, "level": level, "metric": metric}
    row = next((r for r in study.verdicts if all(r.get(k) == v for k, v in asked.items())), None)
    if row is None or row["difference"][1] is None:
        return None
    family = row["largest_family"]
    largest = None if family is None else _largest(study, level, family, row["largest_family_share"])
    carries = largest is not None and largest.rest is not None and largest.carries
    if row["reason"] == one_family_text(str(family)):
        carries = True  # of more than two families only the verdict knows the effect on the others
    evidence = Evidence(
        difference=_interval(study, row["difference"], row["p_value"]),
        p_value=row["p_holm"],
        control_gain=row["control_gain"] and _interval(study, row["control_gain"]),
        margin=Margin.read(study.plan.get("declared", {}).get("margin")),
        margin_p=row["margin_p"],
        base_p=row["base_p"],
        one_family=family if carries else None,
    )
    ratio, new = (row[name] and _interval(study, row[name]) for name in ("gain_ratio", "new_families"))
    return Judged(evidence, Verdict(row["verdict"], row["reason"]), None, ratio, largest, new)


def _largest(study: Committed, level: str, family: str, share: float) -> Largest:
    """The family that makes most of a contrast. The rest is the other of two families, else not known."""
    pairs, rows = pairs_of(study, study.factor, level), study.table("families")
    rows = rows if rows.empty else rows[(rows["of"] == DIFFERENCE) & (rows["by"] == BY_FAMILY)]
    mine = rows if rows.empty else rows[rows["arm"].isin([arm for arm, _ in pairs])]
    number = 0 if mine.empty else mine["group"].nunique()
    rest = None
    if number == 2 and len(pairs) == 1:
        (other,) = mine[mine["group"] != family].to_dict("records")
        rest = _interval(study, [other["estimate"], other["low"], other["high"]], other["p_value"])
    return Largest(family, share, number, rest)


def _interval(study: Committed, ends: Sequence[Any], p_value: float | None = None) -> Interval:
    """Estimate, low and high in accuracy."""
    estimate, low, high = ends
    level = float(study.plan["primary"].get("level", 0.95))
    reason = None if low is not None else AS_WRITTEN
    return Interval(
        estimate, low, high, level, None, None, p_value, study.seeds, AS_WRITTEN, AS_WRITTEN, reason
    )
