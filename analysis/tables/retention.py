"""What training kept of the base: loss and KL on text of the base's own kind, at the checkpoint judged by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from analysis.stats.intervals import Interval, paired_t
from analysis.stats.text import interval_text, number_text
from analysis.study.contrasts import ArmResult, what_varies
from analysis.study.load import Study
from analysis.tables.table import Table

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = {
    "kept_loss": "loss on base text",
    "kept_kl_reverse": "KL(policy‖base)",
    "kept_kl_forward": "KL(base‖policy)",
}


def kept_values(study: Study, column: str) -> dict[str, dict[str, float]]:
    """Arm -> seed -> the metric at the last measured step up to the run's checkpoint; nats."""
    steps = study.steps
    if column not in steps:
        return {}
    judged = dict(zip(study.runs["run_id"], study.runs["checkpoint"], strict=True))
    found = steps[steps[column].notna()]
    found = found[found["step"] <= found["run_id"].astype(str).map(judged).fillna(0)]
    last = found.sort_values("step").groupby(found["run_id"].astype(str)).last()
    values: dict[str, dict[str, float]] = {}
    for row in last[["arm", "seed", column]].itertuples(index=False):
        values.setdefault(str(row[0]), {})[str(row[1])] = float(row[2])
    return values


def kept_table(study: Study, results: Sequence[ArmResult], *, level: float = 0.95) -> Table:
    """Per arm: gain beside the loss on base text, both KLs, the loss minus the control's, paired by seed."""
    values = {column: kept_values(study, column) for column in COLUMNS}
    shown = [column for column in COLUMNS if values[column]]
    cells, raw = [], []
    for r in results:
        over = {c: _over_seeds(study, list(values[c].get(r.label, {}).values()), level) for c in shown}
        if not any(over.values()):
            continue
        ours, theirs = (values["kept_loss"].get(label or "", {}) for label in (r.label, r.control))
        paired = _over_seeds(study, [ours[s] - theirs[s] for s in ours if s in theirs], level)
        against = number_text(paired, signed=True) if r.control else "control"
        cells.append([r.label, interval_text(r.gain, signed=True), *map(number_text, over.values()), against])
        row: dict[str, object] = {"arm": r.label, "gain": r.gain.estimate if r.gain else None}
        for name, interval in (*over.items(), ("kept_loss_difference", paired)):
            ends = {"": "estimate", "_low": "low", "_high": "high", "_n": "n"}
            row |= {f"{name}{end}": getattr(interval, part, None) for end, part in ends.items()}
        raw.append(row)
    note = (
        "Gain in points, the rest in nats a token, on fixed text of the base's own kind, "
        f"{study.checkpoint_text}. Brackets: t over seeds; what varies: {what_varies(study)}. The higher "
        "loss and KL, the less of the base was kept."
    )
    columns = ["arm", "gain over base", *(COLUMNS[c] for c in shown), "loss minus control's"]
    return Table("kept", "What was kept", columns, cells, _frame(raw), note)


def _over_seeds(study: Study, values: list[float], level: float) -> Interval | None:
    return paired_t(values, level=level, varies=what_varies(study)) if values else None


def _frame(rows: list[dict[str, object]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(rows)
