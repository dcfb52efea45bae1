"""What reports print, and the rows of pipeline.json that stand for it. A test reads both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# Kind of interval, p or word -> where readers meet it. Each needs rows that pass, and none that fails.
KINDS = {
    "paired t": "differences, gains, trends, areas, changes: every interval over seeds",
    "Welch t": "differences where seeds share base and problems",
    "crossed t": "the table of views: more problems of these families",
    "Fieller": "ratio of gains, sharpening share",
    "median of families": "new families: answers, table and figure of families, findings",
    "overtaking k": "anatomy: the base overtakes at k",
    "TOST": "equivalence: table of what a design can find, verdicts",
    "Holm": "adjusted p-values and verdicts",
    "after looks": "differences and verdicts of studies that add seeds by a rule",
    "verdict": "one word a contrast and measure",
    "standard error": "SE sampling and SE problems of one run",
    "t over problems": "memorisation: the gap of one run; logs of other tools with fewer than three seeds",
}
# Estimators of analysis/stats that give an interval or a p -> their kind. A new one needs a row first.
ESTIMATORS = {
    "contrast.judged": "verdict",
    "crossed.crossed_t": "crossed t",
    "crossing.crossing": "overtaking k",
    "families.by_family": "paired t",
    "families.largest_family": "paired t",
    "families.over_families": "median of families",
    "inference.holm": "Holm",
    "inference.tost": "TOST",
    "inference.tost_p": "TOST",
    "inference.trend_test": "paired t",
    "intervals.memorisation_gap": "t over problems",
    "intervals.paired_t": "paired t",
    "intervals.problems_t": "t over problems",
    "intervals.welch_t": "Welch t",
    "margins.base_p": "TOST",
    "margins.margin_p": "TOST",
    "margins.margin_p_unpaired": "TOST",
    "margins.tost_share": "TOST",
    "metrics.avg_at_k": "standard error",
    "ratio.ratio_of_means": "Fieller",
    "ratio.share_of_gain": "Fieller",
    "verdict.judge": "verdict",
}
# Estimators whose results no report prints as an interval or a p, with the reason.
UNPRINTED = {
    "inference.power": "a plan; `calibrate STUDY` measures it",
    "intervals.student_p": "a part of others",
    "intervals.wilson": "Monte-Carlo intervals of calibration alone",
    "metrics.best_of_k": "standard errors as those of avg@k",
    "metrics.maj_at_k": "its standard error is in no table",
    "metrics.pass_at_k": "its standard error is in no table",
    "voting.best_value_and_variance": "a part of others",
    "voting.vote_variance": "a part of others",
}


def uncalibrated(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Kinds that reports print without a row that passes, or with one that fails."""
    found = []
    for kind in KINDS:
        own = [row for row in rows if row["kind"] == kind and row["role"] == "printed"]
        if not own or not all(row["passes"] for row in own):
            found.append(kind)
    return found
