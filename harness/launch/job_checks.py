"""Checks of all runs of a sweep before one starts: packages, models, data, folders, names."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.data.documents import check_benchmark
from harness.data.load import check_corpus, check_data, load_split
from harness.launch.status import finished
from harness.model.files.source import HubNotReached, check_model
from harness.model.files.teacher_files import check_teacher
from harness.model.preflight import check_packages, describe
from harness.schema.prompts import make_prompt
from harness.schema.run_config import ConfigError, RunConfig, check_folder
from harness.schema.unread import unread

if TYPE_CHECKING:
    from harness.launch.jobs import Job
    from harness.model.files.codec import Codec


def check_jobs(jobs: Sequence[Job]) -> None:
    """Raises ConfigError: one line with field, value and remedy. What jobs share is checked once."""
    configs = [job.config for job in jobs]
    for setting in unread(configs):
        if not setting.warn:
            raise ConfigError(setting.message)
    for config in configs:
        check_packages(config)
    codecs = {
        config.model.model_dump_json(): _check_model(config)
        for config in _distinct(configs, lambda c: (c.model.model_dump_json(), *sorted(c.templates)))
    }
    for config in _distinct(configs, lambda c: c.data.model_dump_json()):
        check_data(config.data)
    for config in configs:
        check_corpus(config)
    for config in _distinct(configs, lambda c: (c.model.model_dump_json(), c.data.model_dump_json())):
        _check_prompts(config, codecs[config.model.model_dump_json()])
    for template, benchmark in {(c.data.template, b) for c in configs for b in c.eval.benchmarks}:
        check_benchmark(benchmark, template)
    for config in _distinct(configs, lambda c: (c.model.model_dump_json(), c.objective.model_dump_json())):
        check_teacher(config.objective, config.model)
    for config in _distinct(configs, lambda c: c.output_dir):
        _check_folder(Path(config.output_dir), [c for c in configs if c.output_dir == config.output_dir])
    _check_names(jobs)


def _distinct(configs: Sequence[RunConfig], key: Callable[[RunConfig], Hashable]) -> list[RunConfig]:
    """One config for each value of `key`, in the order of their first."""
    return list({key(config): config for config in configs}.values())


def _check_folder(path: Path, configs: Sequence[RunConfig]) -> None:
    """Raises ConfigError for a folder that cannot be written, unless there is nothing to write."""
    try:
        check_folder(path)
    except ConfigError:
        if any(finished(config) is None for config in configs):
            raise


def _check_model(config: RunConfig) -> Codec | None:
    try:
        return check_model(config.model, config.templates)
    except HubNotReached as error:
        raise HubNotReached(f"{describe(config)}; {error}" if config.model.dims else str(error)) from None


def _check_prompts(config: RunConfig, codec: Codec | None) -> None:
    """Raises ConfigError for a problem with a token outside the embedding, where one lacks some."""
    if codec is None or codec.fits:
        return
    for problem in (p for split in ("train", *config.eval.splits) for p in load_split(config.data, split)):
        try:
            make_prompt(problem, config.data.template, codec.prompt_ids)
        except ValueError as error:
            raise ConfigError(f"data={config.data.name}: problem {problem.id}: {error}") from None


def _check_names(jobs: Sequence[Job]) -> None:
    seen: dict[str, Job] = {}
    for job in jobs:
        other = seen.setdefault(job.run_id, job)
        if other is not job:
            raise ConfigError(
                f"two arms are the same run {job.run_id}: {other.levels} and {job.levels}; "
                "drop one, or let them differ in replicate for an A/A pair"
            )
