"""The report's first tables: the gain by every measure with the base beside it, and what it was made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from analysis.stats.text import interval_text, number_text, points
from analysis.study.anatomy import ASK, BEST, MEASURES, ArmAnatomy, Change
from analysis.study.contrasts import Primary, final_rows
from analysis.study.load import Sampling, Study
from analysis.tables.arms import interval_columns
from analysis.tables.table import Table, to_frame

NOTE = (
    "In points; in parentheses the gain over the untrained base by the same measure, with its interval, "
    "paired by seed. Own best: each model's temperature and top-p with the best avg@k on validation, chosen "
    "inside each seed; the gain there is over the base at its own best. Sharpening: share of the gain at "
    "temperature {temperature:g} that is gone at own best, with Fieller's interval (— where no gain is told "
    "from 0). Base overtakes at k: smallest k at which the base's pass@k is at least the arm's, up to {k}."
)
PROBLEMS_NOTE = (
    "Newly solved: problems that half of the base's samples never solve and a quarter or more of the arm's "
    "other half do, in points of problems, less chance; lost: the reverse. By chance: the base against "
    "itself, over all splits into halves. Valid derivations: of right answers with steps, those with every "
    "checked step right; sourced: with every operand from the problem or an earlier result. Both are "
    "compared within topic and level, on the base's mix of right answers. Tokens: of right answers, over the "
    "problems that base and arm have both solved. In parentheses the change. Brackets: intervals over seeds."
)


def anatomy_table(study: Study, primary: Primary, found: Sequence[ArmAnatomy]) -> Table:
    """Accuracy by five measures with gains, own best sampling, sharpening, crossing with the base."""
    rows = [row for arm in found for row in final_rows(study, arm.label, primary.task).values()]
    k, temperature = (int(rows[0]["k"]), float(rows[0]["temperature"])) if rows else (0, 1.0)
    columns = [
        "arm",
        f"avg@{k}, T = {temperature:g}",
        f"avg@{k}, own best",
        "own best T",
        "sharpening",
        "greedy",
        f"maj@{k}",
        f"pass@{k}",
        "base overtakes at k",
    ]
    measured = any(row.chosen for row in found)
    cells = [_cells(row, measured=measured) for row in found] if rows else []
    note = NOTE.format(temperature=temperature, k=k)
    raw = to_frame([_raw(row) for row in found])
    return Table("anatomy", "Anatomy of the gain", columns, cells, raw, note, terminal_columns=6)


def _cells(row: ArmAnatomy, *, measured: bool) -> list[str]:
    shown = {name: _with_gain(row, name) for name in MEASURES}
    own = shown[BEST] if row.chosen or measured else ASK
    return [
        row.label,
        shown["avg"],
        own,
        sampling_text(row.chosen),
        share_text(row),
        shown["greedy"],
        shown["maj"],
        shown["pass"],
        row.crossing.text if row.crossing else "—",
    ]


def _with_gain(row: ArmAnatomy, measure: str) -> str:
    value, gain = row.values.get(measure), row.gains.get(measure)
    shown = points(value.estimate if value else None)
    return shown if gain is None else f"{shown} ({interval_text(gain, signed=True)})"


def sampling_text(chosen: Sequence[Sampling]) -> str:
    """`0.3` where all seeds agree, else `0.3 ×2, 0.5 ×1`; with top-p where that differs or is not 1."""
    if not chosen:
        return "—"
    with_top_p = {top_p for _, top_p in chosen} != {1.0}
    named = [f"{t:g}, top-p {p:g}" if with_top_p else f"{t:g}" for t, p in sorted(chosen)]
    counts = Counter(named)
    return "; ".join(counts) if len(counts) == 1 else "; ".join(f"{n} ×{c}" for n, c in counts.items())


def share_text(row: ArmAnatomy) -> str:
    """`57 % [40, 75]`: the share of the gain that is sharpening, where there is a gain to share out."""
    share, gain = row.sharpening, row.gains.get("avg")
    if share is None or gain is None or gain.estimate <= 0:
        return "—"
    if share.low is None or share.high is None:
        few = gain.low is None  # too few seeds for any interval: the estimate stands alone, as elsewhere
        return f"{100 * share.estimate:.0f} %".replace("-", "−") if few else "—"
    text = f"{100 * share.estimate:.0f} % [{100 * share.low:.0f}, {100 * share.high:.0f}]"
    return text.replace("-", "−")


def _raw(row: ArmAnatomy) -> dict[str, Any]:
    values: dict[str, Any] = {"arm": row.label, "is_base": row.is_base}
    for name in MEASURES:
        value = row.values.get(name)
        values[name] = value.estimate if value else None
        values |= interval_columns(f"{name}_gain", row.gains.get(name))
    values |= interval_columns("rise_at_own_best", row.rise)
    values["own_best"] = "; ".join(f"{t:g}, {p:g}" for t, p in row.chosen)
    values |= interval_columns("sharpening", row.sharpening)
    values["sharpening_note"] = row.sharpening.reason if row.sharpening else None
    found = row.crossing
    for name in ("k", "low", "high", "n"):
        values[f"crossing_{name}"] = getattr(found, name) if found else None
    return values


def anatomy_problems_table(found: Sequence[ArmAnatomy]) -> Table:
    """Problems newly solved and lost against chance; derivations and lengths of right answers."""
    shown = [row for row in found if not row.is_base and (row.covered or row.changes)]
    columns = ["arm", "newly solved", "lost", "by chance", "valid derivations", "sourced", "tokens"]
    cells = [
        [
            row.label,
            interval_text(row.covered, signed=True),
            interval_text(row.lost, signed=True),
            points(row.chance),
            _change_text(row.changes.get("valid")),
            _change_text(row.changes.get("sourced")),
            _tokens_text(row.changes.get("tokens")),
        ]
        for row in shown
    ]
    raw = to_frame([_raw_problems(row) for row in shown])
    title = "What became of problems and derivations"
    return Table("anatomy_problems", title, columns, cells, raw, PROBLEMS_NOTE)


def _change_text(change: Change | None) -> str:
    if change is None:
        return "—"
    shown = interval_text(change.interval, signed=True)
    return f"{points(change.before)} → {points(change.after)} ({shown})"


def _tokens_text(change: Change | None) -> str:
    if change is None:
        return "—"
    shown = number_text(change.interval, signed=True, digits=1)
    return f"{change.before:.1f} → {change.after:.1f} ({shown})"


def _raw_problems(row: ArmAnatomy) -> dict[str, Any]:
    values: dict[str, Any] = {"arm": row.label, "chance": row.chance}
    for name, interval in (("covered", row.covered), ("lost", row.lost)):
        values |= interval_columns(f"{name}_less_chance", interval)
    for name in ("valid", "sourced", "tokens"):
        change = row.changes.get(name)
        values |= {
            f"{name}_before": change.before if change else None,
            f"{name}_after": change.after if change else None,
        }
        values |= interval_columns(f"{name}_change", change.interval if change else None)
    return values


def anatomy_text(study: Study, found: Sequence[ArmAnatomy]) -> list[str]:
    """A sentence for each base: what its own best sampling alone is worth. And whose is the lowest tried."""
    lines = []
    for row in found:
        main, best = row.values.get("avg"), row.values.get(BEST)
        if row.is_base and main is not None and best is not None and row.rise is not None:
            lines.append(
                f"{row.label[0].upper()}{row.label[1:]}: sampled at its own best temperature "
                f"({sampling_text(row.chosen)}), the base goes from "
                f"{points(main.estimate)} to {points(best.estimate)}: {interval_text(row.rise, signed=True)}."
            )
    lowest = min((sampling[0] for *_, sampling in study.sampled_rows), default=0.0)
    edge = [row.label for row in found if [t for t, _ in row.chosen].count(lowest) * 2 > len(row.chosen)]
    if edge:
        lines.append(
            f"The best temperature is the lowest that was tried, {lowest:g}, in most seeds of "
            f"{', '.join(edge)}: a lower one may be better still."
        )
    return lines
