"""Every run with its command, and what differs between the arms' configs."""

from __future__ import annotations

from typing import Any

from analysis.study.differences import config_differences
from analysis.study.load import Study
from analysis.tables.table import Table, to_frame


def runs_table(study: Study) -> Table:
    """Every run with its status: how to reproduce each row."""
    cells = [
        [
            str(r["run_id"]),
            _arm_text(r),
            str(r["seed"]),
            str(r["status"]),
            r["reason"] if isinstance(r["reason"], str) else "",
            _known(r.get("commit"))[:10],
            _command(r.get("overrides")),
        ]
        for r in study.runs.to_dict("records")
    ]
    raw = study.runs.drop(columns=["overrides", "flags"], errors="ignore")
    columns = ["run", "arm", "seed", "status", "reason", "commit", "command"]
    note = "A run's folder holds its resolved config.yaml, record, metrics and evaluations."
    return Table("runs", "Runs, and how to reproduce each", columns, cells, raw, note)


def _arm_text(row: dict[Any, Any]) -> str:
    """A run's arm; where it was tried for an arm and another rate chosen, that in brackets."""
    if not row.get("tried_by"):
        return str(row["arm"] or "—")
    return f"{row['tried_by']}, lr={row['lr']:g}" + ("" if row["chosen"] else " (not chosen)")


def config_table(study: Study) -> Table:
    """Keys in which each arm's config differs from that of the arm it is compared with."""
    found = config_differences(study)
    cells = [
        [d.arm, d.other, key, _setting(old), _setting(new), "NO" if key in d.undeclared else "yes"]
        for d in found
        for key, (old, new) in d.values.items()
    ]
    columns = ["arm", "compared with", "key", "its value", "this arm's value", "declared"]
    raw = to_frame([dict(zip(columns, row, strict=True)) for row in cells])
    note = "Seeds, paths, tracking and evaluation settings are left out. NO: outside the declared factors."
    return Table("config_diff", "What differs between the arms' configs", columns, cells, raw, note)


def _setting(value: Any) -> str:
    return "null" if value is None else str(value)


def _command(overrides: Any) -> str:
    if not isinstance(overrides, tuple):
        return "—"
    import shlex

    return "python -m harness " + " ".join(shlex.quote(o) for o in overrides)


def _known(value: Any) -> str:
    return value if isinstance(value, str) else "—"
