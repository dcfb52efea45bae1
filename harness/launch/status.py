"""The progress of a run, read from its folder alone. Imports no torch."""

from __future__ import annotations

import json
from pathlib import Path

from harness.identity import base_folder, benchmark_key, eval_key, run_folder
from harness.records.code_state import code_state
from harness.records.records import NewerRecord, RecordError, RunRecord, read_run, write_text
from harness.schema.run_config import RunConfig


def checkpoint_name(step: int) -> str:
    """Name of a checkpoint under eval/; step 0 is the base."""
    return f"step_{step:06d}" if step else "base"


def evaluation_folders(config: RunConfig, folder: Path, step: int) -> list[Path]:
    """Folders of a checkpoint's evaluations by the present protocols: the splits', then each benchmark's."""
    keys = [eval_key(config), *(benchmark_key(config, b) for b in config.eval.benchmarks)]
    return [folder / "eval" / f"{checkpoint_name(step)}-{key}" for key in dict.fromkeys(keys)]


def _asked(config: RunConfig, step: int) -> set[str]:
    found = {*config.eval.splits, *(f"{b.name}-{benchmark_key(config, b)}" for b in config.eval.benchmarks)}
    controls = {f"{name} as {t}" for name in found for t in config.eval.base_templates}
    return found if step else found | controls


def mark_evaluated(config: RunConfig, folder: Path, step: int) -> None:
    """Write down that every split and benchmark asked for has its record."""
    done = _asked(config, step) | _evaluated(config, folder, step)
    write_text(_done_file(config, folder, step), json.dumps(sorted(done)))


def is_evaluated(config: RunConfig, step: int) -> bool:
    """Whether the checkpoint (step 0: the base) was evaluated on every split and benchmark asked for."""
    folder = run_folder(config) if step else base_folder(config)
    return _asked(config, step) <= _evaluated(config, folder, step)


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
    if record is None:
        return None
    steps = checkpoints_to_evaluate(config, record.steps_done)
    done = record.status == "finished" and all(is_evaluated(config, step) for step in steps)
    return record if done else None


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


def _evaluated(config: RunConfig, folder: Path, step: int) -> set[str]:
    path = _done_file(config, folder, step)
    return set(json.loads(path.read_text())) if path.exists() else set()


def skip_note(record: RunRecord) -> str:
    """Why a finished run is not run again, and whether other code made it."""
    made, now = record.code.get("commit"), code_state()["commit"]
    other = f", made by commit {made[:10]}, this is {now[:10]}" if made and now and made != now else ""
    return f"finished {record.finished}{other}"
