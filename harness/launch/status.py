"""The progress of a run, read from its folder alone. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, model_validator

from harness.evaluation.eval_tasks import EvalTask, eval_tasks, search_files
from harness.identity import (
    base_folder,
    benchmark_key,
    eval_key,
    lm_eval_key,
    run_folder,
    sampling_keys,
    start_folder,
    teacher_stage,
)
from harness.records.code_state import code_state
from harness.records.lm_eval import lm_eval_path, read_lm_eval
from harness.records.reading import RecordError, read_json
from harness.records.records import (
    NewerRecord,
    RunRecord,
    read_eval,
    read_run,
    read_whole_eval,
    samples_of,
    write_json,
)
from harness.records.search import read_whole_search
from harness.schema.eval_config import LmEvalConfig
from harness.schema.run_config import RunConfig


class Done(BaseModel):
    """Content of eval/<checkpoint>-<key>/.done; an early one is the list `asked` alone.

    `asked` names splits, benchmarks and templates; `records` the files that they left, None if not known.
    """

    asked: list[str]
    records: list[str] | None = None

    @model_validator(mode="before")
    @classmethod
    def _early(cls, value: Any) -> Any:
        return {"asked": value} if isinstance(value, list) else value


def checkpoint_name(step: int) -> str:
    """Name of a checkpoint under eval/; step 0 is the base."""
    return f"step_{step:06d}" if step else "base"


def evaluation_folders(config: RunConfig, folder: Path, step: int) -> list[Path]:
    """Folders of a checkpoint's evaluations by the main protocols of now: the splits', each benchmark's."""
    return _folders(
        folder, step, [eval_key(config), *(benchmark_key(config, b) for b in config.eval.benchmarks)]
    )


def sampling_folders(config: RunConfig, folder: Path, step: int) -> list[Path]:
    """Folders of a checkpoint's evaluations at `eval.temperatures`."""
    return _folders(folder, step, list(sampling_keys(config).values()))


def written_folders(config: RunConfig, folder: Path, step: int) -> list[Path]:
    """Every folder that an evaluation of this checkpoint may write to."""
    apart = lm_eval_records(config, folder, step) | search_records(config, folder, step)
    others = [path.parent for path in apart.values()]
    return [*evaluation_folders(config, folder, step), *sampling_folders(config, folder, step), *others]


def _folders(folder: Path, step: int, keys: list[str]) -> list[Path]:
    return [folder / "eval" / f"{checkpoint_name(step)}-{key}" for key in dict.fromkeys(keys)]


def _asked(config: RunConfig, step: int) -> set[str]:
    found = {*config.eval.splits, *(f"{b.name}-{benchmark_key(config, b)}" for b in config.eval.benchmarks)}
    controls = {f"{name} as {t}" for name in found for t in config.eval.base_templates}
    found |= {_lm_eval_name(config, asked) for asked in config.eval.lm_eval}
    found |= set(search_records(config, Path(), step))
    found |= {f"{split}-{key}" for split in config.eval.splits for key in sampling_keys(config).values()}
    return found if step else found | controls


def _lm_eval_name(config: RunConfig, asked: LmEvalConfig) -> str:
    return f"lm_eval {asked.task}-{lm_eval_key(config, asked)}"


def lm_eval_records(config: RunConfig, folder: Path, step: int) -> dict[str, Path]:
    """Paths of a checkpoint's records of `eval.lm_eval`, by what a .done file calls them."""
    at = checkpoint_name(step)
    return {
        _lm_eval_name(config, asked): lm_eval_path(folder, at, lm_eval_key(config, asked), asked.task)
        for asked in config.eval.lm_eval
    }


def search_records(config: RunConfig, folder: Path, step: int) -> dict[str, Path]:
    """Paths of a checkpoint's records of `eval.search`, by what a .done file calls them."""
    files = search_files(config, folder, checkpoint_name(step))
    return {f"search {path.parent.name.rpartition('-')[2]} {split}": path for _, split, path in files}


def mark_evaluated(config: RunConfig, folder: Path, step: int) -> None:
    """Write down that every split and benchmark asked for was evaluated, and which records that left."""
    path = _done_file(config, folder, step)
    try:
        earlier = _read_done(path)
    except RecordError:  # a damaged one, which this replaces
        earlier = Done(asked=[], records=[])
    now = [_short(record) for _, record in _record_paths(config, folder, step)]
    records = {name for name in [*(earlier.records or []), *now] if (folder / "eval" / name).exists()}
    apart = lm_eval_records(config, folder, step) | search_records(config, folder, step)
    waiting = {name for name, record in apart.items() if not record.exists()}
    asked = (_asked(config, step) | set(earlier.asked)) - waiting
    write_json(path, {"asked": sorted(asked), "records": sorted(records)})


def is_evaluated(config: RunConfig, step: int, folder: Path | None = None) -> bool:
    """Whether the checkpoint (step 0: the base) was evaluated on every split and benchmark asked for."""
    return unevaluated(config, step, folder) is None


def start_of(config: RunConfig) -> tuple[Path, int] | None:
    """(folder, step) of the checkpoint that a stage begins from; None for a run that begins from its base.

    Raises ValueError where the stage before is not trained, or its checkpoint is gone.
    """
    return _finished_stage(config, start_folder(config), "begins")


def teacher_of(config: RunConfig) -> tuple[Path, int] | None:
    """(folder, step) of the checkpoint that teaches a stage; None where no stage does. Raises as above."""
    return _finished_stage(config, teacher_stage(config), "learns")


def _finished_stage(config: RunConfig, folder: Path | None, verb: str) -> tuple[Path, int] | None:
    """(folder, step) of the last checkpoint of an earlier stage in a folder; None without a folder.

    `verb` says what the run does "from" it. Raises ValueError as `start_of` does.
    """
    if folder is None:
        return None
    assert config.stage is not None
    record, who = readable(folder), f"stage {config.stage.name} of pipeline={config.stage.pipeline}"
    if record is None or record.status != "finished":
        why = "there is none yet" if record is None else record.status
        raise ValueError(f"{who} {verb} from {folder}, which is not finished ({why}); launch the pipeline")
    if not (folder / "checkpoints" / checkpoint_name(record.steps_done)).exists():
        raise ValueError(
            f"{who} {verb} from {folder}, whose last checkpoint is gone; delete that folder and launch the "
            "pipeline again to train it anew"
        )
    return folder, record.steps_done


def start_evaluated(config: RunConfig) -> str | None:
    """Why the checkpoint that a stage begins from must be evaluated by the stage's protocol; None if it was.

    It was the last of the stage before, whose own evaluation it mostly is. Nothing is asked of a stage whose
    start was deleted since it was trained: its own numbers stand.
    """
    try:
        found = start_of(config)
    except ValueError:
        return None
    return None if found is None else unevaluated(config, found[1], found[0])


def unevaluated(config: RunConfig, step: int, folder: Path | None = None) -> str | None:
    """Why a checkpoint (step 0: the base) must be evaluated; None where each record is there and whole.

    `folder` is that of another run, the stage before.
    """
    if folder is None:
        folder = run_folder(config) if step else base_folder(config)
    path, weights = _done_file(config, folder, step), folder / "checkpoints" / checkpoint_name(step)
    try:
        done = _read_done(path)
        if not _asked(config, step) <= set(done.asked):
            return f"an evaluation of {'step ' + str(step) if step else 'the base'} is missing"
        for task, record in _record_paths(config, folder, step):
            if record.exists() or _had_record(done, task, record):
                lost = not samples_of(record).exists() and step and not weights.exists()
                read = read_eval if lost else read_whole_eval  # the numbers stand without completions
                read(record)
        for record in lm_eval_records(config, folder, step).values():
            read_lm_eval(record)
        for record in search_records(config, folder, step).values():
            read_whole_search(record)
    except RecordError as error:
        return error.what
    return None


def _had_record(done: Done, task: EvalTask, path: Path) -> bool:
    """Whether an evaluation left a record, which one without problems does not; early files do not say."""
    return bool(task.problems()) if done.records is None else _short(path) in done.records


def _record_paths(config: RunConfig, folder: Path, step: int) -> list[tuple[EvalTask, Path]]:
    tasks = (task for task in eval_tasks(config) if not (task.base_only and step))
    return [(task, task.record_path(folder, checkpoint_name(step))) for task in tasks]


def _short(path: Path) -> str:
    """`step_000006-1a2b3c4d/aime_gen_test_k.json`: a record's path under eval/."""
    return f"{path.parent.name}/{path.name}"


def checkpoints_to_evaluate(config: RunConfig, steps_done: int) -> list[int]:
    """Steps to evaluate: the base (0), the checkpoints of `eval.at_steps` that exist, and the last.

    `eval.at_steps` is no part of a run's name: a run trained without it has no weights of those steps.
    """
    folder = run_folder(config) / "checkpoints"
    asked = {s for s in config.eval.at_steps if (folder / f"step_{s:06d}").exists()}
    return sorted({0, *(s for s in asked if s <= steps_done), steps_done})


def finished(config: RunConfig) -> RunRecord | None:
    """The record of a run that is trained and evaluated as asked, else None.

    A damaged record counts as none, so that the run is done again; a newer program's raises NewerRecord.
    """
    record = readable(run_folder(config))
    if record is None or record.status != "finished" or _to_evaluate(config, record) is not None:
        return None
    return record


def _to_evaluate(config: RunConfig, record: RunRecord) -> str | None:
    """Why a trained run is to be evaluated, by its first checkpoint that is not; None if all are."""
    steps = checkpoints_to_evaluate(config, record.steps_done)
    why = next((why for step in steps if (why := unevaluated(config, step))), None)
    return why or start_evaluated(config)


def decide(config: RunConfig) -> tuple[str, str]:
    """(run | resume | evaluate | skip, why). A damaged run.json is a run to be done again."""
    folder = run_folder(config)
    try:
        record = read_run(folder) if (folder / "run.json").exists() else None
    except RecordError as error:
        return "run", str(error) if isinstance(error, NewerRecord) else error.what
    if record is None:
        return "run", ""
    if record.status != "finished":
        return "resume", "interrupted" if record.status != "failed" else f"failed: {record.reason}"
    if (why := _to_evaluate(config, record)) is None:
        return "skip", skip_note(record)
    if not (folder / "checkpoints" / checkpoint_name(record.steps_done)).exists():
        return "run", f"{why}; its last checkpoint is gone, so it is trained again"
    return "evaluate", why


def readable(folder: Path) -> RunRecord | None:
    """The run record of a folder; None where there is none or it is damaged. Raises NewerRecord."""
    try:
        return read_run(folder)
    except NewerRecord:
        raise
    except RecordError:
        return None


def _done_file(config: RunConfig, folder: Path, step: int) -> Path:
    return evaluation_folders(config, folder, step)[0] / ".done"


def _read_done(path: Path) -> Done:
    """What a checkpoint was evaluated on: nothing without a file. Raises RecordError for a damaged one."""
    if not path.exists():
        return Done(asked=[], records=[])
    return read_json(path, Done, remedy="launch the run again to evaluate it again")


def decision_text(action: str, note: str) -> str:
    """What a launch says of `decide` before it starts; empty where the run's own progress says it."""
    said = {"skip": "skipped", "evaluate": "to be evaluated again", "run": "to be run again"}
    return f"{said[action]}: {note}" if note and action in said else ""


def skip_note(record: RunRecord) -> str:
    """Why a finished run is not run again, and whether other code made it."""
    made, now = record.code.get("commit"), code_state()["commit"]
    other = f", made by commit {made[:10]}, this is {now[:10]}" if made and now and made != now else ""
    return f"finished {record.finished}{other}"
