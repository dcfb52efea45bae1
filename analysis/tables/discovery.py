"""The report's table of self-evolution: what training reached that its base did not show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from analysis.stats.ratio import UNBOUNDED
from analysis.stats.text import interval_text, number_text, points
from analysis.study.discovery import Discovery
from analysis.study.load import Study
from analysis.tables.arms import interval_columns
from analysis.tables.table import Table, to_frame

NOTE = (
    "A valid chain is a right answer reached by right steps with sourced operands through every part of the "
    "problem. Shares in points, with intervals over seeds. Gain: over the untrained base at the same "
    "sampling; over its best: over the base at its own best temperature, by validation. Base at k: the base's"
    " pass@{k} by valid chains. Beyond the base: problems whose pass@1 after training exceeds the base's "
    "pass@{k} there and its mean over problems, by valid chains and by right answers; in parentheses what one"
    " half of the base's samples has over the other. Base overtakes at k: by valid chains, up to {n}. New "
    "templates: share of the valid chains whose derivation, numbers blotted out, is in none of the base's {n}"
    " samples of that problem, and of any problem; rarer: those new ones with log p under the base below "
    "log(1/{n}); log p: mean over new ones, nats a completion. Of the ceiling: the gain as a share of that of"
    " training on true derivations, with Fieller's interval."
)
COLUMNS = [
    "problems",
    "arm",
    "valid chains",
    "gain",
    "over its best",
    "base at k",
    "beyond the base",
    "beyond, right answers",
    "base overtakes at k",
    "new templates",
    "of any problem",
    "rarer",
    "log p",
    "of the ceiling",
]


def discovery_table(study: Study, found: Sequence[Discovery]) -> Table:
    """One row an arm and task; empty for a study whose problems have no parts."""
    k, n = (found[0].k, found[0].samples) if found else (0, 0)
    cells = [
        [
            study.task_text(row.task),
            row.label,
            interval_text(row.value),
            interval_text(row.gain, signed=True),
            interval_text(row.over_best, signed=True),
            interval_text(row.base_pass),
            _with_chance(row.beyond, row.chance),
            _with_chance(row.beyond_right, row.chance_right),
            row.crossing.text if row.crossing else "—",
            interval_text(row.new),
            interval_text(row.unseen),
            interval_text(row.rarer),
            number_text(row.logprob, digits=1) if row.logprob else "—",
            _ceiling_text(row),
        ]
        for row in found
    ]
    raw = to_frame([_raw(row) for row in found])
    title = "What training reached that the base did not show"
    return Table("discovery", title, COLUMNS, cells, raw, NOTE.format(k=k, n=n), terminal_columns=6)


def _with_chance(share: Any, chance: float | None) -> str:
    shown = interval_text(share)
    return shown if share is None or chance is None else f"{shown} ({points(chance)})"


def _ceiling_text(row: Discovery) -> str:
    share = row.of_ceiling
    if share is None or share.reason == UNBOUNDED:
        return "—"
    text = f"{100 * share.estimate:.0f} %"
    if share.low is not None and share.high is not None:
        text += f" [{100 * share.low:.0f}, {100 * share.high:.0f}]"
    return text.replace("-", "−")


def _raw(row: Discovery) -> dict[str, Any]:
    values: dict[str, Any] = {"task": row.task, "arm": row.label, "base": row.base, "k": row.k}
    values |= interval_columns("chain", row.value)
    for name in (
        "gain",
        "over_best",
        "base_pass",
        "beyond",
        "beyond_right",
        "new",
        "unseen",
        "rarer",
        "logprob",
        "of_ceiling",
    ):
        values |= interval_columns(name, getattr(row, name))
    values |= {"chance": row.chance, "chance_right": row.chance_right, "samples": row.samples}
    values["base_pass_by_family"] = "; ".join(
        f"{name}={share:.4f}" for name, share in row.base_pass_by_family.items()
    )
    values["base_pass_by_seed"] = " ".join(f"{x:.4f}" for x in row.base_passes)
    values |= {
        f"crossing_{e}": getattr(row.crossing, e) if row.crossing else None for e in ("k", "low", "high")
    }
    return values
