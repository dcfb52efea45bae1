"""Retention: loss and KL on text of the base's own kind, at the checkpoint at which each run is judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from analysis.stats.intervals import Interval
from analysis.stats.text import interval_text, number_text
from analysis.study.contrasts import ArmResult, what_varies
from analysis.study.draws import t_over_seeds
from analysis.study.kept import retention_values
from analysis.study.load import Study
from analysis.tables.table import Table, to_frame

if TYPE_CHECKING:
    pass

COLUMNS = {
    "kept_loss": "loss on base text",
    "kept_kl_reverse": "KL(policy‖base)",
    "kept_kl_forward": "KL(base‖policy)",
}


def retention_table(study: Study, results: Sequence[ArmResult], *, level: float = 0.95) -> Table:
    """Per arm: gain beside the loss on base text, both KLs, the loss minus the control's, paired by seed."""
    values = {column: retention_values(study, column) for column in COLUMNS}
    shown = [column for column in COLUMNS if values[column]]
    cells, raw = [], []
    for r in results:
        means = {c: t_over_seeds(study, list(values[c].get(r.label, {}).values()), level) for c in shown}
        if not any(means.values()):
            continue
        loss, control_loss = (values["kept_loss"].get(label or "", {}) for label in (r.label, r.control))
        paired = t_over_seeds(study, [loss[s] - control_loss[s] for s in loss if s in control_loss], level)
        against = number_text(paired, signed=True) if r.control else "control"
        cells.append(
            [r.label, interval_text(r.gain, signed=True), *map(number_text, means.values()), against]
        )
        raw.append(_numbers(r, {**means, "kept_loss_difference": paired}))
    note = (
        "Gain in points, the rest in nats a token, on fixed text of the base's own kind, "
        f"{study.checkpoint_text}. Brackets: t over seeds; what varies: {what_varies(study)}. The higher "
        "loss and KL, the less of the base was kept."
    )
    columns = ["arm", "gain over base", *(COLUMNS[c] for c in shown), "loss minus control's"]
    return Table("kept", "What was kept", columns, cells, to_frame(raw), note)


def _numbers(result: ArmResult, intervals: Mapping[str, Interval | None]) -> dict[str, object]:
    ends = {"": "estimate", "_low": "low", "_high": "high", "_n": "n"}
    row: dict[str, object] = {"arm": result.label, "gain": result.gain.estimate if result.gain else None}
    for name, interval in intervals.items():
        row |= {f"{name}{end}": getattr(interval, part, None) for end, part in ends.items()}
    return row
