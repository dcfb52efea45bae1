"""Does an effect depend on another factor: a row for each pair of levels."""

from __future__ import annotations

from typing import Any

from analysis.stats.text import interval_text, p_text
from analysis.study.contrasts import METRICS, Primary, what_varies
from analysis.study.interactions import interactions
from analysis.study.load import Study
from analysis.tables.table import Table, to_frame

COLUMNS = [
    "effect of",
    "where",
    "effect there",
    "effect at the control",
    "more",
    "p (Holm)",
    "settings",
    "seeds",
]


def interactions_table(study: Study, primary: Primary) -> Table:
    """Each effect of the primary factor at a level of another factor, less that at the other's control."""
    cells: list[list[str]] = []
    raw: list[dict[str, Any]] = []
    for x in interactions(study, primary):
        d = x.difference
        cells.append(
            [
                f"{x.level} − {x.control}",
                f"{x.other}={x.at} against {x.other_control}",
                interval_text(x.here, signed=True),
                interval_text(x.there, signed=True),
                interval_text(d, signed=True),
                p_text(x.p_holm),
                str(x.settings),
                str(d.n),
            ]
        )
        sides = {"here": x.here, "there": x.there, "more": d}
        raw.append(
            {
                "level": x.level,
                "control": x.control,
                "factor": x.other,
                "at": x.at,
                "against": x.other_control,
            }
            | {f"{name}{end}": _end(of, end) for name, of in sides.items() for end in ("", "_low", "_high")}
            | {"p_value": d.p_value, "p_holm": x.p_holm, "settings": x.settings, "seeds": d.n}
        )
    note = (
        f"{METRICS[primary.metric]} on {study.task_text(primary.task)}, points. More: the effect there "
        "less that at the control, in each seed, then t over seeds; 0 where the two factors act "
        f"independently. What varies: {what_varies(study)}. Holm adjusts over this table, which is secondary "
        "unless the study declares it."
    )
    title = "Does the effect depend on another factor?"
    return Table("interactions", title, COLUMNS, cells, to_frame(raw), note)


def _end(interval: Any, end: str) -> float | None:
    return None if interval is None else getattr(interval, end.lstrip("_") or "estimate")
