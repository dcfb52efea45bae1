"""Tasks that lm-eval ran on bases and checkpoints, as rows: one a run, task and metric."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from analysis.study.load import Study
from harness.records import records
from harness.records.lm_eval import LmEvalRecord, lm_eval_paths, read_lm_eval


@dataclass(frozen=True)
class TaskScores:
    """One metric of one task: values by arm and seed after training, and of the same seed's base.

    `after` and `base` are seed -> value by arm. A seed stands in both only where the documents are the same.
    """

    task: str
    metric: str
    higher_is_better: bool | None
    num_documents: int
    after: dict[str, dict[str, float]]
    base: dict[str, dict[str, float]]


def lm_eval_scores(study: Study) -> list[TaskScores]:
    """Every metric of every task, at the checkpoint that each finished run is judged by."""
    found: dict[tuple[str, str], TaskScores] = {}
    bases: dict[Path, list[LmEvalRecord]] = {}
    judged = study.finished[study.finished["arm"].notna()] if len(study.runs) else study.runs
    for run in judged.to_dict("records"):
        own = _read(study.folder / str(run["run_id"]), study.damaged)
        base = study.folder.parent / records.BASES / str(run.get("base_id"))
        if base not in bases:
            bases[base] = _read(base, study.damaged)
        for record in own:
            if record.step == run["checkpoint"]:
                before = next((b for b in bases[base] if (b.key, b.task) == (record.key, record.task)), None)
                _add(found, record, before, str(run["arm"]), str(run["seed"]))
    return list(found.values())


def _read(folder: Path, damaged: list[str]) -> list[LmEvalRecord]:
    found = []
    for path in lm_eval_paths(folder):
        try:
            found.append(read_lm_eval(path))
        except records.RecordError as error:
            damaged.append(str(error))
    return found


def _add(
    found: dict[tuple[str, str], TaskScores],
    record: LmEvalRecord,
    before: LmEvalRecord | None,
    arm: str,
    seed: str,
) -> None:
    """Enter what a run's record says. Of a group its own row counts, and its tasks' too."""
    same = before is not None and before.documents == record.documents
    for task, metrics in record.results.items():
        ups = record.higher_is_better.get(task, {})
        for metric, value in metrics.items():
            up = ups.get(metric.partition(",")[0])
            number = record.num_documents.get(task, sum(record.num_documents.values()))
            scores = found.setdefault((task, metric), TaskScores(task, metric, up, number, {}, {}))
            scores.after.setdefault(arm, {})[seed] = value
            if before is not None and same and metric in before.results.get(task, {}):
                scores.base.setdefault(arm, {})[seed] = before.results[task][metric]
