"""Checks of all runs of a sweep before one starts: packages, models, data, folders, names."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.data.documents import check_benchmark, problems_to_evaluate
from harness.data.load import check_corpus, check_data, load_split
from harness.data.normalise import exact_key
from harness.data.references import check_references
from harness.evaluation.eval_tasks import eval_tasks
from harness.launch.status import finished
from harness.model.files.source import HubNotReached, check_model
from harness.model.files.teacher_files import check_teacher
from harness.model.preflight import check_packages, describe
from harness.records.records import GENERATED
from harness.schema.data_config import SPLITS
from harness.schema.prompts import make_prompt
from harness.schema.run_config import ConfigError, RunConfig, check_folder
from harness.schema.unread import unread

if TYPE_CHECKING:
    from harness.launch.jobs import Job
    from harness.model.files.codec import Codec

LONGEST_NAME = 255  # bytes of one part of a path


def check_jobs(jobs: Sequence[Job]) -> None:
    """Raises ConfigError: one line with field, value and remedy. What jobs share is checked once."""
    configs = [stage.config for job in jobs for stage in job.stages]
    for setting in unread(configs):
        if not setting.warn:
            raise ConfigError(setting.message)
    for config in _distinct(configs, lambda c: (c.output_dir, c.study, c.objective.name, c.model.name)):
        _check_lengths(config)
    for config in configs:
        check_packages(config)
    codecs = {
        config.model.model_dump_json(): _check_model(config)
        for config in _distinct(configs, lambda c: (c.model.model_dump_json(), *sorted(c.templates)))
    }
    for config in _distinct(configs, lambda c: c.data.model_dump_json()):
        check_data(config.data)
    for config in _distinct(configs, lambda c: (c.data.model_dump_json(), c.objective.model_dump_json())):
        check_references(config)
    for config in _distinct(configs, lambda c: (c.measured_data.model_dump_json(), *c.eval.splits)):
        _check_splits(config)
    for config in _distinct(configs, lambda c: c.model.kept_text):
        _check_kept_text(config)
    for config in configs:
        check_corpus(config)
    for config in _distinct(configs, lambda c: (c.model.model_dump_json(), c.data.model_dump_json())):
        _check_prompts(config, codecs[config.model.model_dump_json()])
    for template, benchmark in {(c.measured_data.template, b) for c in configs for b in c.eval.benchmarks}:
        check_benchmark(benchmark, template)
    for config in _distinct(configs, lambda c: (c.model.model_dump_json(), c.objective.model_dump_json())):
        check_teacher(config.objective, config.model)
    for config in _distinct(configs, lambda c: c.output_dir):
        _check_folder(Path(config.output_dir), [c for c in configs if c.output_dir == config.output_dir])
    for config in _distinct(configs, lambda c: (c.data.model_dump_json(), str(c.stage and c.stage.data))):
        check_apart(config)
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


def _check_lengths(config: RunConfig) -> None:
    """Raises ConfigError for names that no file system takes for a folder or file."""
    run = f"{config.objective.name}-{config.model.name}"
    # A hash, a seed and the words of a record or of a file that is being written follow some of them.
    places = [("study", config.study, 20), ("objective.name, model.name", run, 60)]
    places += [("output_dir", part, 0) for part in Path(config.output_dir).parts]
    places += [(f"eval.benchmarks.{b.name}.name", b.name, 60) for b in config.eval.benchmarks]
    for field, name, rest in places:
        if (size := len(os.fsencode(name))) > LONGEST_NAME - rest:
            raise ConfigError(
                f"{field}={name[:40]}...: {size} bytes, at most {LONGEST_NAME - rest}; shorten it"
            )


def _check_splits(config: RunConfig) -> None:
    """Raises ConfigError for a split without problems; the default list names every split that may be."""
    data = config.measured_data
    generated = data.dataset in GENERATED  # making them takes seconds, and their number is known

    def is_empty(split: str) -> bool:
        return not (data.size(split) if generated else problems_to_evaluate(data, split))

    if config.eval.samplings and is_empty("validation"):
        raise ConfigError(
            f"eval.temperatures, eval.top_ps: data={data.name} has no validation problems to choose "
            "the best one by; leave both out"
        )
    if set(config.eval.splits) == set(SPLITS):
        return
    for split in config.eval.splits:
        if is_empty(split):
            raise ConfigError(
                f"eval.splits=[{','.join(config.eval.splits)}]: data={data.name} has no problems of "
                f"the split {split}; leave it out"
            )


def _check_kept_text(config: RunConfig) -> None:
    if (name := config.model.kept_text) is None:
        return
    try:
        if not Path(name).is_file():
            raise ConfigError(f"model.kept_text={name}: no such file; name a UTF-8 text, or null")
        Path(name).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"model.kept_text={name}: {error.strerror}; name a UTF-8 text, or null") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"model.kept_text={name}: not UTF-8 at byte {error.start}; convert it") from None


def _check_names(jobs: Sequence[Job]) -> None:
    """Raises ConfigError for two arms that are one run, or share a stage and evaluate it in two ways."""
    seen: dict[str, Job] = {}
    for job in jobs:
        other = seen.setdefault(job.run_id, job)
        if other is not job:
            raise ConfigError(
                f"two arms are the same run {job.run_id}: {other.levels} and {job.levels}; "
                "drop one, or let them differ in replicate for an A/A pair"
            )
    for stage in (stage for job in jobs for stage in job.stages):
        other = seen.setdefault(stage.run_id, stage)
        if other.config.eval != stage.config.eval:
            raise ConfigError(
                f"the arms {other.levels} and {stage.levels} have the stage {stage.run_id} in common and "
                "evaluate it in two ways; give both the same eval, or put the arms into two studies"
            )


def check_apart(config: RunConfig) -> None:
    """Raises ConfigError for a stage that trains on a problem on which its pipeline is measured."""
    if config.stage is None or config.stage.data is None or config.data.dose is not None:
        return
    tasks = [task for task in eval_tasks(config) if task.split not in ("train", "perturbed")]
    measured = {exact_key(p.text): (task.label, p.id) for task in tasks for p in task.problems()}
    for problem in load_split(config.data, "train"):
        if (found := measured.get(exact_key(problem.text))) is not None:
            raise ConfigError(
                f"stage {config.stage.name}: data={config.data.name} trains on {problem.id}, which is "
                f"{found[1]} of {found[0]}; give it the pipeline's data_seed and sizes, or other problems"
            )
