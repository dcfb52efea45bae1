"""How far a run has come, read from its folder alone. Imports no torch."""

from __future__ import annotations

import json
from pathlib import Path

from harness.code_state import code_state
from harness.config import RunConfig
from harness.identity import base_folder, eval_key, run_folder
from harness.records import NewerRecord, RecordError, RunRecord, read_run, write_text


def evaluation_name(config: RunConfig, step: int) -> str:
    """Folder of one evaluation under eval/: the checkpoint (step 0: the base) and the protocol's key."""
    return (f"step_{step:06d}" if step else "base") + f"-{eval_key(config)}"


def mark_evaluated(config: RunConfig, folder: Path, step: int) -> None:
    """Say that every split asked for has its record."""
    done = set(config.eval.splits) | _evaluated(config, folder, step)
    write_text(folder / "eval" / evaluation_name(config, step) / ".done", json.dumps(sorted(done)))


def is_evaluated(config: RunConfig, step: int) -> bool:
    """Whether the checkpoint (step 0: the base) has been evaluated on every split asked for."""
    folder = run_folder(config) if step else base_folder(config)
    return set(config.eval.splits) <= _evaluated(config, folder, step)


def checkpoints_to_evaluate(config: RunConfig, steps_done: int) -> list[int]:
    """The base (0), the checkpoints asked for that exist, and the last.

    `eval.at_steps` is no part of a run: one that was trained without it has no weights of those steps.
    """
    kept = run_folder(config) / "checkpoints"
    asked = {s for s in config.eval.at_steps if (kept / f"step_{s:06d}").exists()}
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


def _evaluated(config: RunConfig, folder: Path, step: int) -> set[str]:
    path = folder / "eval" / evaluation_name(config, step) / ".done"
    return set(json.loads(path.read_text())) if path.exists() else set()


def skip_note(record: RunRecord) -> str:
    """Why a finished run is not run again, and whether other code made it."""
    made, now = record.code.get("commit"), code_state()["commit"]
    other = f", made by commit {made[:10]}, this is {now[:10]}" if made and now and made != now else ""
    return f"finished {record.finished}{other}"
