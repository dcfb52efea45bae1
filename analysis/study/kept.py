"""What a policy kept of its base: metrics on fixed text of the base's own kind."""

from __future__ import annotations

from analysis.study.load import Study


def retention_values(study: Study, column: str) -> dict[str, dict[str, float]]:
    """Arm -> seed -> the metric at the last measured step up to the run's checkpoint; nats."""
    steps = study.steps
    if column not in steps:
        return {}
    judged = dict(zip(study.runs["run_id"], study.runs["checkpoint"], strict=True))
    measured = steps[steps[column].notna()]
    measured = measured[measured["step"] <= measured["run_id"].astype(str).map(judged).fillna(0)]
    last = measured.sort_values("step").groupby(measured["run_id"].astype(str)).last()
    values: dict[str, dict[str, float]] = {}
    for row in last[["arm", "seed", column]].itertuples(index=False):
        values.setdefault(str(row[0]), {})[str(row[1])] = float(row[2])
    return values
