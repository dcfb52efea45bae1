"""The report's tables: cells for readers, a raw frame for CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from analysis.stats.intervals import Interval
from analysis.stats.text import compact, interval_text, p_text, points
from analysis.study.contrasts import (
    METRICS,
    ArmResult,
    Primary,
    declared,
    what_varies,
)
from analysis.study.draws import method_text
from analysis.study.load import Study
from analysis.study.looks import looks_text
from analysis.study.verdicts import arm_words, contrast_verdicts
from analysis.tables.spent import COLUMNS as SPENT
from analysis.tables.spent import Spent, spent, unmatched
from analysis.tables.table import Table

if TYPE_CHECKING:
    import pandas as pd


COLUMNS = [
    "difference to control",
    "p (Holm)",
    "gain over base",
    "seeds",
    "flags",
    "verdict",
    "base",
    "best constant",
    *SPENT,
    "GPU-seconds",
    "seconds",
]


def arm_table(study: Study, primary: Primary, results: Sequence[ArmResult]) -> Table:
    """Per arm: estimate, difference to its control, gain over the base, n, best constant, compute, flags."""
    k = next((int(r.means["k"] or 0) for r in results if r.means["k"]), 0)
    metric, level = METRICS[primary.metric].replace("@k", f"@{k}"), f"{100 * primary.level:g} %"
    shown = [x for r in results for x in (r.estimate, r.difference, r.gain) if x is not None]
    bare = "; ".join(dict.fromkeys(x.reason for x in shown if x.low is None and x.reason))
    note = (
        f"{metric} on {study.task_text(primary.task)} {study.checkpoint_text}, in points. "
        f"Brackets: {level} intervals, Student's t over seeds; differences to the control "
        f"{method_text(study)}, gains over the base paired; what varies: {what_varies(study)}. "
        f"Holm adjusts over {_family(study)}. "
        "Steps, updates, tokens, FLOPs and seconds are means per run, without pretraining."
        + _matching(study, results)
        + _added(study)
        + (f" Without a bracket: {bare}." if bare else "")
    )
    words = arm_words(contrast_verdicts(study, primary, results), results)
    cells = [_arm_cells(study, primary, r, words.get(r.label, "—")) for r in results]
    columns = ["arm", metric, *COLUMNS]
    frame = _arm_frame(study, results, words)
    return Table("arms", "Arms", columns, cells, frame, note, terminal_columns=8)


def _arm_cells(study: Study, primary: Primary, r: ArmResult, word: str) -> list[str]:
    return [
        r.label,
        interval_text(r.estimate),
        interval_text(r.difference, signed=True) if r.control else _place(study, primary, r),
        p_text(r.p_holm),
        interval_text(r.gain, signed=True),
        str(len(r.seeds)),
        "; ".join(r.flags) or "none",
        word,
        points(r.base),
        points(r.means["best_constant"]),
        *spent(study, r).cells(),
        compact(r.means["gpu_seconds"] or None),
        compact(r.means["seconds"]),
    ]


def _spent_columns(found: Spent) -> dict[str, Any]:
    """Columns of the CSV beside the means of tokens and FLOPs."""
    return {"lr": found.rate_text(), "steps": found.steps, "updates": found.updates}


def _added(study: Study) -> str:
    """How seeds were added, where a rule added them."""
    text = looks_text(study.folder, study.record.declared)
    return f" {text}" if text else ""


def _matching(study: Study, results: Sequence[ArmResult]) -> str:
    """Say which budget the arms share, or by how much theirs differ from their controls'."""
    match = declared(study).get("match")
    text = f" Steps of each arm were set so that {match} agree with its control's." if match else ""
    lines = unmatched(study, results)
    if not lines:
        return text
    how = "Budgets that still differ" if match else "Not matched"
    return f"{text} {how}, by more than a tenth: {'; '.join(lines)}."


def _place(study: Study, primary: Primary, result: ArmResult) -> str:
    """An arm without a control is one, or its control was not run."""
    control = study.record.control.get(primary.factor or "")
    return "control" if control in (None, result.levels.get(primary.factor or "")) else "—"


def _family(study: Study) -> str:
    family = declared(study).get("family")
    return f"the declared family: {', '.join(family)}" if family else "all differences to controls"


def _arm_frame(study: Study, results: Sequence[ArmResult], words: Mapping[str, str]) -> pd.DataFrame:
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for r in results:
        others = {factor: level for factor, level in r.levels.items() if factor != "arm"}
        row: dict[str, Any] = {"arm": r.label, **others, "seeds": len(r.seeds), "control": r.control}
        named = {
            "estimate": r.estimate,
            "difference": r.difference,
            "difference_crossed": r.crossed,
            "gain_over_base": r.gain,
            "gain_from_choice": r.choice,
            "gain_from_skill": r.skill,
        }
        for name, interval in named.items():
            row |= interval_columns(name, interval)
        rows.append(
            row
            | {"p_holm": r.p_holm, "verdict": words.get(r.label), "base": r.base}
            | r.means
            | _spent_columns(spent(study, r))
            | {"flags": "; ".join(r.flags), "run_ids": " ".join(r.run_ids)}
        )
    return pd.DataFrame(rows)


def interval_columns(name: str, interval: Interval | None) -> dict[str, Any]:
    parts = ("low", "high", "se", "df", "p_value")
    if interval is None:
        return {name: None, **{f"{name}_{part}": None for part in parts}}
    return {name: interval.estimate, **{f"{name}_{part}": getattr(interval, part) for part in parts}}
