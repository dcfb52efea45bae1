"""A checkpoint counts as evaluated where its records are there and whole; a launch says what it redoes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.evaluation.eval_tasks import EvalTask, eval_tasks
from harness.identity import base_folder, run_folder
from harness.launch.status import checkpoint_name, decide, evaluation_folders, finished, mark_evaluated
from harness.records.lines import write_samples
from harness.records.records import samples_of, write_json, write_record
from harness.schema.run_config import RunConfig
from tests.damage import DAMAGE as TABLE
from tests.unit.analysis.conftest import evaluation
from tests.unit.harness.stubs import record
from tests.unit.harness.tiny import configure


def write_evaluation(task: EvalTask, folder: Path, step: int) -> Path:
    path = task.record_path(folder, checkpoint_name(step))
    made = evaluation(0.5, split=task.label, seed=0, step=step, run_id=None, base="b")
    about = {"key": task.key, "task": task.task_name()}
    about["samples_sha256"] = write_samples(samples_of(path), [{"completion": "4"}])
    write_record(path, made.model_copy(update=about))
    return path


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    """A finished run of three steps, evaluated on two splits, with its base."""
    found = configure(f"output_dir={tmp_path}", "eval.splits=[train,test]")
    for folder, step in ((base_folder(found), 0), (run_folder(found), 3)):
        for task in eval_tasks(found):
            write_evaluation(task, folder, step)
        mark_evaluated(found, folder, step)
    (run_folder(found) / "checkpoints" / "step_000003").mkdir(parents=True)
    record(found, "finished", steps_done=3, finished="2026-01-01T00:01:00+00:00")
    return found


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def nulled(path: Path) -> None:
    path.write_text("null")


def nested(path: Path) -> None:
    path.write_text("[" * 100_000)


def undecodable(path: Path) -> None:
    path.write_bytes(b'["\xff"]')


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def pipe_instead(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGE = (emptied, nulled, nested, undecodable, folder_instead, pipe_instead)


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("step", [0, 3])
def test_a_damaged_mark_costs_that_evaluation_alone(
    config: RunConfig, step: int, damage: Callable[[Path], None]
) -> None:
    assert decide(config)[0] == "skip" and finished(config) is not None
    path = evaluation_folders(config, run_folder(config) if step else base_folder(config), step)[0] / ".done"
    damage(path)
    action, why = decide(config)
    assert (
        action == "evaluate" and why.startswith(f"{path}: ") and "\n" not in why and finished(config) is None
    )
    if path.is_dir():
        path.rmdir()
    mark_evaluated(config, run_folder(config) if step else base_folder(config), step)
    assert decide(config)[0] == "skip"


@pytest.mark.parametrize("damage", [*DAMAGE, Path.unlink])
@pytest.mark.parametrize("step", [0, 3])
def test_a_finished_runs_damaged_or_deleted_record_is_evaluated_again(
    config: RunConfig, step: int, damage: Callable[[Path], None]
) -> None:
    folder = run_folder(config) if step else base_folder(config)
    path = [task.record_path(folder, checkpoint_name(step)) for task in eval_tasks(config)][1]
    damage(path)
    action, why = decide(config)
    assert action == "evaluate" and why.startswith(f"{path}: ") and finished(config) is None


@pytest.mark.parametrize("damage", TABLE.values(), ids=TABLE)
@pytest.mark.parametrize("step", [0, 3])
def test_damaged_completions_are_named_and_evaluated_again(
    config: RunConfig, step: int, damage: Callable[[Path], None]
) -> None:
    folder = run_folder(config) if step else base_folder(config)
    path = samples_of(next(eval_tasks(config)).record_path(folder, checkpoint_name(step)))
    damage(path)
    action, why = decide(config)
    assert action == "evaluate" and why.startswith(f"{path}: ") and "\n" not in why


def test_completions_that_cannot_be_had_again_cost_no_run(config: RunConfig) -> None:
    samples_of(next(eval_tasks(config)).record_path(run_folder(config), "step_000003")).unlink()
    (run_folder(config) / "checkpoints" / "step_000003").rmdir()
    assert decide(config)[0] == "skip"


def test_what_cannot_be_evaluated_again_is_trained_again_and_says_so(config: RunConfig) -> None:
    path = next(eval_tasks(config)).record_path(run_folder(config), "step_000003")
    path.unlink()
    (run_folder(config) / "checkpoints" / "step_000003").rmdir()
    action, why = decide(config)
    assert action == "run" and why.endswith("; its last checkpoint is gone, so it is trained again")


def test_a_task_without_problems_has_no_record_and_is_done(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is it looked for by a mark of an early version, which names what was asked and no files."""
    path = evaluation_folders(config, run_folder(config), 3)[0] / ".done"
    train, test = (task.record_path(run_folder(config), "step_000003") for task in eval_tasks(config))
    write_json(path, {"asked": ["test", "train"], "records": [f"{train.parent.name}/{train.name}"]})
    test.unlink()
    assert decide(config)[0] == "skip"
    path.write_text(json.dumps(["test", "train"]))
    monkeypatch.setattr(EvalTask, "problems", lambda self: [])
    assert decide(config)[0] == "skip"
    monkeypatch.setattr(EvalTask, "problems", lambda self: ["one"])
    assert decide(config) == ("evaluate", f"{test}: cannot be read (No such file or directory)")


def test_an_old_mark_with_its_records_is_believed(config: RunConfig) -> None:
    for folder, step in ((base_folder(config), 0), (run_folder(config), 3)):
        (evaluation_folders(config, folder, step)[0] / ".done").write_text(json.dumps(["test", "train"]))
    assert decide(config)[0] == "skip"


def test_a_damaged_run_record_is_a_run_to_do(config: RunConfig) -> None:
    (run_folder(config) / "run.json").write_text("null")
    action, why = decide(config)
    assert action == "run" and why == f"{run_folder(config) / 'run.json'}: not a JSON object"
