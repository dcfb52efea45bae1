"""Checks of all runs of a sweep before one starts: packages, models, data, folders, names."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.data.documents import check_benchmark, problems_to_evaluate
from harness.data.load import check_corpus, check_data, load_split
from harness.data.normalise import exact_key
from harness.data.references import check_references
from harness.evaluation.eval_tasks import eval_tasks
from harness.identity import teacher_base
from harness.launch.status import finished
from harness.model.files.source import HubNotReached, check_model
from harness.model.files.teacher_files import check_teacher
from harness.model.preflight import check_packages, describe
from harness.records.records import GENERATED
from harness.schema.data_config import SPLITS
from harness.schema.own_function import own_functions
from harness.schema.prompts import make_prompt
from harness.schema.run_config import ConfigError, RunConfig
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
    codecs: dict[str, Codec | None] = {}

    def model(config: RunConfig) -> None:
        codecs[_model(config)] = _check_model(config)

    def folder(config: RunConfig) -> None:
        _check_folder(
            Path(config.output_dir), [other for other in configs if other.output_dir == config.output_dir]
        )

    checks: tuple[tuple[Callable[[RunConfig], object], Callable[[RunConfig], Hashable]], ...] = (
        (_check_lengths, lambda c: (c.output_dir, c.study, c.objective.name, c.model.name)),
        (check_packages, id),
        (model, lambda c: (_model(c), *sorted(c.templates))),
        (_check_own_functions, id),
        (lambda c: check_data(c.data), _data),
        (check_references, lambda c: (_data(c), _objective(c))),
        (
            _check_splits,
            lambda c: (c.measured_data.model_dump_json(), *c.eval.splits, *map(repr, c.eval.search)),
        ),
        (_check_kept_text, lambda c: c.model.kept_text),
        (check_corpus, id),
        (lambda c: _check_prompts(c, codecs[_model(c)]), lambda c: (_model(c), _data(c))),
        (
            _check_benchmarks,
            lambda c: (c.measured_data.template, *(b.model_dump_json() for b in c.eval.benchmarks)),
        ),
        (_check_lm_eval, _waits_for_lm_eval),
        (lambda c: check_teacher(c.objective, c.model), lambda c: (_model(c), _objective(c))),
        (_check_teachers_model, lambda c: (_model(c), _objective(c), c.data.template)),
        (_probe_own_functions, lambda c: (_objective(c), _data(c))),
        (folder, lambda c: c.output_dir),
        (check_apart, lambda c: (_data(c), str(c.stage and c.stage.data))),
    )
    for check, key in checks:
        for config in _distinct(configs, key):
            check(config)
    _check_names(jobs)


def _model(config: RunConfig) -> str:
    return config.model.model_dump_json()


def _data(config: RunConfig) -> str:
    return config.data.model_dump_json()


def _objective(config: RunConfig) -> str:
    return config.objective.model_dump_json()


def _check_benchmarks(config: RunConfig) -> None:
    for benchmark in config.eval.benchmarks:
        check_benchmark(benchmark, config.measured_data.template)


def _waits_for_lm_eval(config: RunConfig) -> Hashable:
    """Tasks of lm-eval that the run still needs: a finished one is skipped, also where no hub is reached."""
    asked = tuple(asked.model_dump_json() for asked in config.eval.lm_eval)
    return asked if asked and finished(config) is None else ()


def _check_lm_eval(config: RunConfig) -> None:
    if _waits_for_lm_eval(config):
        from harness.evaluation.lm_eval_tasks import check_lm_eval

        for asked in config.eval.lm_eval:
            check_lm_eval(asked)


def _distinct(configs: Sequence[RunConfig], key: Callable[[RunConfig], Hashable]) -> list[RunConfig]:
    """One config for each value of `key`, in the order of their first."""
    return list({key(config): config for config in configs}.values())


def _check_folder(path: Path, configs: Sequence[RunConfig]) -> None:
    """Raises ConfigError for a folder that cannot be written, unless there is nothing to write."""
    existing = next(p for p in (path, *path.absolute().parents) if p.exists())
    try:
        if existing.is_dir():
            with tempfile.TemporaryFile(dir=existing):
                return
        wrong = f"{existing} is a file; name a folder"
    except OSError as error:
        wrong = f"{existing} is not writable ({error.strerror}); choose another: output_dir=/a/folder"
    if any(finished(config) is None for config in configs):
        raise ConfigError(f"output_dir={path}: {wrong}")


def _check_model(config: RunConfig) -> Codec | None:
    try:
        return check_model(config.model, config.templates)
    except HubNotReached as error:
        known = config.model.dims and config.trainer.engine == "native"  # verl has other needs
        raise HubNotReached(f"{describe(config)}; {error}" if known else str(error)) from None


def _check_teachers_model(config: RunConfig) -> None:
    """Raises ConfigError for a teacher that the launch makes from files that are not there or do not fit."""
    if (made := teacher_base(config)) is not None:
        check_model(made.model, {config.data.template})


def _check_prompts(config: RunConfig, codec: Codec | None) -> None:
    """Raises ConfigError for a problem with a token outside the embedding, where one lacks some."""
    if codec is None or codec.fits:
        return
    for problem in (p for split in ("train", *config.eval.splits) for p in load_split(config.data, split)):
        try:
            make_prompt(problem, config.data.template, codec.prompt_ids)
        except ValueError as error:
            raise ConfigError(f"data={config.data.name}: problem {problem.id}: {error}") from None


def _check_own_functions(config: RunConfig) -> None:
    """Raises ConfigError for a function that comes with a model."""
    for place, own in own_functions(config.model_dump()):
        path = Path(own["path"].rpartition(":")[0]).expanduser()
        if _comes_with_a_model(path):
            raise ConfigError(
                f"{place}.path={own['path']}: it stands in a model's folder, and code that comes with one "
                "is never run; copy what you have read and trust to a file of your own"
            )


def _comes_with_a_model(file: Path) -> bool:
    """Whether a file stands in the folder of a model, or in one inside it."""
    folders = {*file.absolute().parents[:3], *file.resolve().parents[:3]}
    settings = [folder / "config.json" for folder in folders]
    return any(path.is_file() and b'"model_type"' in path.read_bytes()[:100_000] for path in settings)


def _probe_own_functions(config: RunConfig) -> None:
    """Raises ConfigError for a reward, advantage or loss of the user's own that fails when tried."""
    if any(place.startswith("objective.") for place, _ in own_functions(config.model_dump())):
        from harness.training.own_functions import OwnFunctionError, probe  # imports torch

        try:
            probe(config.objective, load_split(config.data, "train")[:4])
        except OwnFunctionError as error:
            raise ConfigError(str(error)) from None


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
    for asked in config.eval.search:
        if empty := [split for split in asked.splits if is_empty(split)]:
            raise ConfigError(
                f"eval.search: {asked.label} with splits=[{','.join(asked.splits)}]: data={data.name} has no "
                f"problems of the split {empty[0]}; name others"
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
