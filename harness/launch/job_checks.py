"""What is checked of all runs of a sweep before one starts: packages, models, data, folders, names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.data.documents import check_benchmark
from harness.data.load import check_corpus, check_data
from harness.model.files.source import HubNotReached, check_model
from harness.model.files.teacher_files import check_teacher
from harness.model.preflight import check_packages, describe
from harness.schema.run_config import ConfigError, RunConfig, check_folder

if TYPE_CHECKING:
    from harness.launch.jobs import Job


def check_jobs(jobs: Sequence[Job]) -> None:
    """Raises ConfigError: one line with field, value and remedy."""
    seen: dict[str, Job] = {}
    for job in jobs:
        check_packages(job.config)
    for config in {_model_key(job.config): job.config for job in jobs}.values():
        try:
            check_model(config.model, config.templates)
        except HubNotReached as error:
            raise HubNotReached(f"{describe(config)}; {error}" if config.model.dims else str(error)) from None
    for data in {job.config.data.model_dump_json(): job.config.data for job in jobs}.values():
        check_data(data)
    for job in jobs:
        check_corpus(job.config)
    for template, benchmark in {(j.config.data.template, b) for j in jobs for b in j.config.eval.benchmarks}:
        check_benchmark(benchmark, template)
    for config in {_teacher_key(job.config): job.config for job in jobs}.values():
        check_teacher(config.objective, config.model)
    for folder in {job.config.output_dir for job in jobs}:
        check_folder(Path(folder))
    for job in jobs:
        other = seen.setdefault(job.run_id, job)
        if other is not job:
            raise ConfigError(
                f"two arms are the same run {job.run_id}: {other.levels} and {job.levels}; "
                "drop one, or let them differ in replicate for an A/A pair"
            )


def _model_key(config: RunConfig) -> str:
    return f"{config.model.model_dump_json()} {sorted(config.templates)}"


def _teacher_key(config: RunConfig) -> str:
    return f"{config.model.model_dump_json()} {config.objective.model_dump_json()}"
