"""Stage by stage: accuracy after each stage of a pipeline, what each added, and what each cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from analysis.stats.intervals import Interval
from analysis.stats.text import compact, interval_text
from analysis.study.bases import BASE, over_seeds
from analysis.study.contrasts import METRICS, ArmResult, Primary, Rows, final_rows, paired, what_varies
from analysis.study.load import Study
from analysis.study.stages import COSTS, Stage, rows_before, stage_rows, stages_of
from analysis.tables.table import Table, to_frame

MEASURES = ("avg", "greedy", "pass")
WORDS = {
    "sampled_tokens": "sampled tokens",
    "teacher_tokens": "of a teacher",
    "trained_tokens": "trained tokens",
    "flops": "FLOPs",
    "seconds": "seconds",
    "gpu_seconds": "GPU seconds",
}
ALL = "all stages"


def stages_table(study: Study, primary: Primary, results: Sequence[ArmResult]) -> Table:
    """A row for each arm's base, stages, and their sum; no rows in a study without pipelines."""
    found = {r.label: stages_of(study, r.label) for r in results}
    rows = [row for label, stages in found.items() if stages for row in _rows(study, primary, label, stages)]
    costs = [name for name in COSTS if any(row["costs"].get(name) for row in rows)]
    gain = METRICS[primary.metric]
    columns = ["arm", "stage", "objective", "seeds", *(METRICS[m] for m in MEASURES)]
    columns += [f"{gain}: added by the stage", "gain over the untrained base", *(WORDS[c] for c in costs)]
    note = (
        f"Accuracies in points on {study.task_text(primary.task)}, {study.checkpoint_text}; brackets: t over "
        f"seeds, differences paired by seed; what varies: {what_varies(study)}. Costs are means over seeds; "
        "a stage that arms share was run once, and is in the sum of each of them. FLOPs count a teacher's "
        "sampling and the stages that train it, not its pretraining."
    )
    if any(stage.is_teachers for stages in found.values() for stage in stages):
        note += (
            " A teacher's stages have their own accuracy, and what they added to it, and no part in the gain."
        )
    if made := _teachers_made(study):
        note += f" Pretraining the teachers took {made} FLOPs."
    if any(row["apart"] for row in rows):
        note += " Stages that were evaluated by another protocol than the arm's last have no accuracy here."
    raw = to_frame([_numbers(row, costs) for row in rows])
    return Table("stages", "Stage by stage", columns, [_cells(row, costs) for row in rows], raw, note)


def _rows(study: Study, primary: Primary, label: str, stages: Sequence[Stage]) -> list[dict[str, Any]]:
    base = final_rows(study, label, primary.task, base=True)
    last = final_rows(study, label, primary.task)
    rows = [_row(study, primary, label, Stage(0, BASE, "—", {}), base, before={}, base={}, costs={})]
    before: Rows = base
    summed = dict.fromkeys(COSTS, 0.0)
    for stage in stages:
        own = comparable(stage_rows(study, stage, primary.task), last)
        costs = _costs(study, stage)
        summed = {name: summed[name] + costs[name] for name in COSTS}
        if stage.is_teachers:  # another model's gain is not the arm's
            began = comparable(rows_before(study, stage, primary.task), last)
            rows.append(_row(study, primary, label, stage, own, before=began, base={}, costs=costs))
            continue
        rows.append(_row(study, primary, label, stage, own, before=before, base=base, costs=costs))
        before = own
    if len(stages) > 1:
        whole = Stage(0, ALL, "", stages[-1].runs)
        rows.append(_row(study, primary, label, whole, last, before={}, base=base, costs=summed))
    return rows


def comparable(rows: Rows, last: Rows) -> Rows:
    """The rows by the protocol of the arm's last stage, seed by seed."""
    return {seed: row for seed, row in rows.items() if seed in last and row["key"] == last[seed]["key"]}


def _row(
    study: Study,
    primary: Primary,
    label: str,
    stage: Stage,
    own: Rows,
    *,
    before: Rows,
    base: Rows,
    costs: Mapping[str, float],
) -> dict[str, Any]:
    level, varies = primary.level, what_varies(study)
    return {
        "arm": label,
        "stage": stage,
        "seeds": len(own),
        "apart": bool(stage.runs) and len(own) < len(stage.runs),
        "measures": {name: over_seeds(study, own, name, level) for name in MEASURES},
        "added": paired(own, before, primary.metric, level=level, varies=varies),
        "gain": paired(own, base, primary.metric, level=level, varies=varies),
        "costs": dict(costs),
    }


def _costs(study: Study, stage: Stage) -> dict[str, float]:
    """Means over a stage's runs of each cost."""
    runs = study.runs[study.runs["run_id"].isin(stage.runs.values())]
    found = {}
    for name in COSTS:
        values = [float(v) for v in runs[name].dropna()] if name in runs else []
        found[name] = fmean(values) if values else 0.0
    return found


def _teachers_made(study: Study) -> str:
    """FLOPs of pretraining each teacher that was made here, added up; empty without one."""
    if "teacher_flops" not in study.runs:
        return ""
    made = study.runs[study.runs["teacher_flops"].notna()].drop_duplicates("teacher_id")
    return compact(float(made["teacher_flops"].sum())) if len(made) else ""


def _cells(row: Mapping[str, Any], costs: Sequence[str]) -> list[str]:
    stage: Stage = row["stage"]
    name = f"{stage.index} {stage.name}" if stage.index else stage.name
    name += ", the teacher" * stage.is_teachers
    measures = [interval_text(row["measures"][m]) for m in MEASURES]
    gains = [interval_text(row[part], signed=True) for part in ("added", "gain")]
    spent = [compact(row["costs"].get(c) or None) for c in costs]
    return [row["arm"], name, stage.objective, str(row["seeds"]), *measures, *gains, *spent]


def _numbers(row: Mapping[str, Any], costs: Sequence[str]) -> dict[str, object]:
    stage: Stage = row["stage"]
    found: dict[str, object] = {"arm": row["arm"], "index": stage.index, "stage": stage.name}
    found |= {"objective": stage.objective, "seeds": row["seeds"], "teacher": stage.is_teachers}
    intervals: dict[str, Interval | None] = {**row["measures"], "added": row["added"], "gain": row["gain"]}
    for name, interval in intervals.items():
        for end, part in {"": "estimate", "_low": "low", "_high": "high", "_p_value": "p_value"}.items():
            found[f"{name}{end}"] = getattr(interval, part, None)
    return found | {name: row["costs"].get(name) for name in costs} | {"runs": " ".join(stage.runs.values())}
