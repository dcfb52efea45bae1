"""The part of `--plan` about pipelines: which stages there are, which arms share them. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.launch.costs import estimate
from harness.launch.jobs import Job
from harness.records.progress import duration
from harness.records.records import RunRecord


def stage_rows(
    arms: Mapping[str, Sequence[Job]], todo: Mapping[str, str], records: Sequence[RunRecord]
) -> list[tuple[str, ...]]:
    """A row for each stage of each set of arms that share it; empty without a pipeline.

    Columns: stage, its arms, runs (one a seed however many arms share it), how many are to do, most tokens
    that one samples, time of one.
    """
    users: dict[str, dict[str, Job]] = {}
    places: dict[str, tuple[int, str]] = {}
    for label, job in ((label, job) for label, jobs in arms.items() for job in jobs if job.config.stage):
        for index, stage in enumerate(job.stages, start=1):
            users.setdefault(stage.run_id, {})[label] = stage
            places.setdefault(stage.run_id, (index, _name(stage, job)))
    groups: dict[tuple[int, str, tuple[str, ...]], list[Job]] = {}
    for run_id, by_arm in users.items():
        groups.setdefault((*places[run_id], tuple(by_arm)), []).append(next(iter(by_arm.values())))
    if not groups:
        return []
    rows: list[tuple[str, ...]] = [("stage", "of arms", "runs", "to do", "tokens a run ≤", "time a run")]
    for (index, name, labels), jobs in sorted(groups.items(), key=lambda item: item[0][0]):
        guess = estimate(jobs[0].config, records)
        left = sum(todo[job.run_id] != "skip" for job in jobs)
        cells = (str(len(jobs)), str(left), f"{guess.sampled_tokens:,}", duration(guess.seconds))
        rows.append((f"{index} {name}", " | ".join(labels), *cells))
    return rows


def _name(stage: Job, job: Job) -> str:
    """A stage's name in its pipeline, with its model where that is a teacher's."""
    assert stage.config.stage is not None
    name, model = stage.config.stage.name, stage.config.model.name
    return name if model == job.config.model.name else f"{name} ({model})"
