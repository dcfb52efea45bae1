"""How a run ends is recorded whatever happens: failure, interruption, a full disk, a damaged record."""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from harness.identity import base_folder, run_folder, weights_folder
from harness.launch import bookkeeping, evaluating, status
from harness.launch import execute as module
from harness.launch.bookkeeping import resolve_device
from harness.launch.execute import execute
from harness.launch.status import evaluation_folders
from harness.records.lines import MetricsWriter
from harness.records.locks import hold
from harness.records.records import NewerRecord, RunRecord, read_run, write_json, write_record
from harness.schema.run_config import RunConfig
from harness.training.accounting import resident_bytes
from harness.training.run_state import Run
from tests.unit.harness.tiny import configure, untrained_base


class Reports:
    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def __call__(self, phase: str, done: int, total: int, note: str = "") -> None:
        self.lines.append((phase, note))


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    """A run whose base is there, whose training writes one step and whose evaluation writes nothing."""
    found = configure(f"output_dir={tmp_path}", "eval.splits=[test]")
    untrained_base(base_folder(found))
    monkeypatch.setattr(module, "ensure_base", lambda config, report: base_folder(config))
    monkeypatch.setattr(evaluating, "evaluate", lambda engine, **keywords: [])
    monkeypatch.setattr(module, "train", trained)
    return found


def trained(run: Run, **_: object) -> None:
    run.counters.step, run.counters.tokens = 4, {"sampled": 12}
    MetricsWriter(run.folder / "metrics.jsonl").append({"step": 4, "updates": 2.0})
    weights_folder(run.folder, 4).parent.mkdir(exist_ok=True)
    untrained_base(run.folder / "made")
    (run.folder / "made" / "model").rename(weights_folder(run.folder, 4))


def raising(error: BaseException) -> Callable[..., None]:
    def train(run: Run, **_: object) -> None:
        raise error

    return train


def test_a_run_that_ends_well(config: RunConfig) -> None:
    reports = Reports()
    assert execute(config, overrides=["seed=0"], report=reports) == "finished"
    record = read_run(run_folder(config))
    assert (record.status, record.reason, record.steps_done) == ("finished", None, 4)
    assert record.overrides == ["seed=0"] and record.tokens == {"sampled": 12} and record.num_resumes == 0
    assert record.seconds["evaluate"] > 0 and record.finished is not None and record.peak_memory_bytes > 1e6
    assert (run_folder(config) / "config.yaml").exists()
    assert not (run_folder(config) / "error.txt").exists()


def test_a_runs_phases_add_up_to_its_time_without_what_its_base_took(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(config: RunConfig, report: object) -> Path:
        time.sleep(2)
        return base_folder(config)

    monkeypatch.setattr(module, "ensure_base", made)
    monkeypatch.setattr(
        evaluating, "evaluate", lambda engine, **asked: time.sleep(0.4 if asked["step"] else 1.0)
    )
    began = time.perf_counter()
    assert execute(config, overrides=[], report=Reports()) == "finished"
    wall = time.perf_counter() - began
    record = read_run(run_folder(config))
    assert 0.4 < record.seconds["evaluate"] < 1.0  # the last checkpoint, not the base
    assert 3.0 < record.base_seconds < 3.8  # made in 2, evaluated in 1
    assert wall - 0.4 < sum(record.seconds.values()) + record.base_seconds < wall


def test_a_runs_peak_memory_is_not_an_earlier_runs_of_the_process(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = b"x" * 10**9
    del held

    def needs_memory(engine: object, **_: object) -> None:
        b"x" * (4 * 10**8)

    monkeypatch.setattr(evaluating, "evaluate", needs_memory)
    before = resident_bytes()
    assert execute(config, overrides=[], report=Reports()) == "finished"
    record = read_run(run_folder(config))
    assert before + 3e8 < record.peak_memory["evaluate"] == record.peak_memory_bytes < before + 8e8
    assert record.peak_memory["setup"] > 0


def test_memory_that_runs_out_in_the_last_evaluation_names_it(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out(engine: object, **_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(evaluating, "evaluate", out)
    assert execute(config, overrides=[], report=Reports()) == "failed"
    reason = read_run(run_folder(config)).reason or ""
    assert "out of memory in evaluate" in reason and "rollout.max_batch_size" in reason


def test_a_failure_is_recorded_with_its_reason_and_does_not_raise(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports = Reports()
    monkeypatch.setattr(module, "train", raising(RuntimeError("the reward\nis made of cheese")))
    assert execute(config, overrides=[], report=reports) == "failed"
    record = read_run(run_folder(config))
    assert (record.status, record.reason) == ("failed", "RuntimeError: the reward is made of cheese")
    assert reports.lines[-1] == ("failed", "RuntimeError: the reward is made of cheese")
    error = (run_folder(config) / "error.txt").read_text()
    assert error.startswith("Traceback") and "is made of cheese" in error
    monkeypatch.setattr(module, "train", trained)
    assert execute(config, overrides=[], report=reports) == "finished"
    record = read_run(run_folder(config))
    assert (record.status, record.reason, record.num_resumes) == ("finished", None, 1)
    assert not (run_folder(config) / "error.txt").exists()  # of an attempt that is over


def test_an_interruption_is_recorded_and_passed_on(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "train", raising(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        execute(config, overrides=[], report=Reports())
    record = read_run(run_folder(config))
    assert (record.status, record.reason) == ("interrupted", "stopped by the user; launch again to go on")


def test_an_interrupt_that_an_import_wraps_is_one(config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    wrapped = RuntimeError("Error calling __set_name__ on '_SpecialForm' instance")
    wrapped.__cause__ = KeyboardInterrupt()
    monkeypatch.setattr(module, "train", raising(wrapped))
    with pytest.raises(KeyboardInterrupt):
        execute(config, overrides=[], report=Reports())
    assert read_run(run_folder(config)).status == "interrupted"
    assert not (run_folder(config) / "error.txt").exists()


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_called_one(
    error: Exception, config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "train", raising(error))
    assert execute(config, overrides=[], report=Reports()) == "failed"
    reason = read_run(run_folder(config)).reason
    assert reason is not None and reason.startswith("the disk is full; free some space and launch again")


def test_a_disk_too_full_for_the_record_still_says_so(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for place in (module, bookkeeping):
        monkeypatch.setattr(place, "write_record", full)
    reports = Reports()
    assert execute(config, overrides=[], report=reports) == "failed"
    note = reports.lines[-1][1]
    assert note.startswith("the disk is full") and "run.json could not be written: the disk is full" in note


def test_a_run_whose_last_record_could_not_be_written_has_not_finished(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(path: Path, record: RunRecord) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(bookkeeping, "write_record", gone)
    reports = Reports()
    assert execute(config, overrides=[], report=reports) == "failed"
    path = run_folder(config) / "run.json"
    assert reports.lines[-1][0] == "failed" and f"{path} could not be written" in reports.lines[-1][1]
    assert read_run(run_folder(config)).status == "running"
    monkeypatch.undo()


def test_a_reason_outlives_an_error_text_that_cannot_be_written(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def removes_the_folder(run: Run, **_: object) -> None:
        shutil.rmtree(run.folder)
        run.folder.write_text("a file in its place")
        raise RuntimeError("the reward is made of cheese")

    monkeypatch.setattr(module, "train", removes_the_folder)
    reports = Reports()
    assert execute(config, overrides=[], report=reports) == "failed"
    assert "the reward is made of cheese" in reports.lines[-1][1]
    assert "run.json could not be written" in reports.lines[-1][1]


def test_a_finished_run_is_skipped_and_untouched(config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    execute(config, overrides=[], report=Reports())
    before = (run_folder(config) / "run.json").read_bytes()
    monkeypatch.setattr(module, "train", raising(AssertionError("trained again")))
    reports = Reports()
    assert execute(config, overrides=[], report=reports) == "skipped"
    assert reports.lines[0][0] == "skipped" and "finished" in reports.lines[0][1]
    assert (run_folder(config) / "run.json").read_bytes() == before


def test_a_skip_says_when_another_commit_made_the_run(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute(config, overrides=[], report=Reports())
    record = read_run(run_folder(config)).model_copy(update={"code": {"commit": "a" * 40}})
    monkeypatch.setattr(status, "code_state", lambda: {"commit": "b" * 40})
    assert (
        status.skip_note(record)
        == f"finished {record.finished}, made by commit aaaaaaaaaa, this is bbbbbbbbbb"
    )
    for same in ("a" * 40, None):
        monkeypatch.setattr(status, "code_state", lambda commit=same: {"commit": commit})
        assert status.skip_note(record) == f"finished {record.finished}"


def test_a_split_that_is_missing_is_evaluated_without_training_again(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute(config, overrides=[], report=Reports())
    more = config.model_copy(
        update={"eval": config.eval.model_copy(update={"splits": ["test", "validation"]})}
    )
    asked: list[int] = []
    monkeypatch.setattr(evaluating, "evaluate", lambda engine, *, step, **_: asked.append(step))
    monkeypatch.setattr(module, "train", raising(AssertionError("trained again")))
    assert execute(more, overrides=[], report=Reports()) == "finished"
    assert asked == [4, 0]  # the base last: another run may have done it by then


@pytest.mark.timeout(60)  # a run that waits for the folder waits for ever
def test_a_run_waits_for_no_evaluation_of_the_base_but_its_own(config: RunConfig) -> None:
    """Runs of other seeds, or at other temperatures, evaluate the same base at the same time."""
    others = evaluation_folders(config.model_copy(update={"seed": 1}), base_folder(config), 0)
    with hold(base_folder(config) / "eval"), hold(others[0]):
        assert execute(config, overrides=[], report=Reports()) == "finished"


def test_checkpoints_that_were_never_kept_do_not_break_a_finished_run(config: RunConfig) -> None:
    """eval.at_steps is no part of run_id, so it can be asked of a run that was trained without it."""
    execute(config, overrides=[], report=Reports())
    later = config.model_copy(update={"eval": config.eval.model_copy(update={"at_steps": [2]})})
    assert run_folder(later) == run_folder(config)
    assert execute(later, overrides=[], report=Reports()) == "skipped"
    assert read_run(run_folder(config)).status == "finished"


@pytest.mark.parametrize("damage", ['{"run_id": ', "[]", "{}"])
def test_a_damaged_record_is_made_again(damage: str, config: RunConfig) -> None:
    execute(config, overrides=[], report=Reports())
    (run_folder(config) / "run.json").write_text(damage)
    (run_folder(config) / "checkpoints").rename(run_folder(config) / "aside")
    assert execute(config, overrides=[], report=Reports()) == "finished"
    assert read_run(run_folder(config)).status == "finished"


def test_a_newer_programs_record_is_not_overwritten(config: RunConfig) -> None:
    path = run_folder(config) / "run.json"
    write_json(path, {"schema_version": 2, "written": "later"})
    before = path.read_bytes()
    with pytest.raises(NewerRecord, match="update it"):
        execute(config, overrides=[], report=Reports())
    assert path.read_bytes() == before


def test_cuda_without_a_gpu_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="device=cuda: no GPU is visible to PyTorch; set device=cpu"):
        resolve_device(configure("device=cuda"))
    assert resolve_device(configure("device=auto")) == resolve_device(configure("device=cpu")) == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device(configure("device=auto")) == "cuda"
    assert resolve_device(configure("device=cpu")) == "cpu"


def test_a_held_folder_is_left_alone(config: RunConfig) -> None:
    reports = Reports()
    with hold(run_folder(config)):
        assert execute(config, overrides=[], report=reports) == "held"
    assert reports.lines[0][0] == "held" and "is held by process" in reports.lines[0][1]
    assert not (run_folder(config) / "run.json").exists()


def test_what_a_failed_run_has_used_is_told(config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its peak too, which a later phase, or the failure's, does not have."""

    def fails(run: Run, **_: object) -> None:
        before = resident_bytes()
        with run.timed("train"):
            held = b"x" * (4 * 10**8)
        del held
        run.counters.tokens = {"sampled": 7}
        with run.timed("sync"):
            raise RuntimeError(str(before))

    monkeypatch.setattr(module, "train", fails)
    assert execute(config, overrides=[], report=Reports()) == "failed"
    record = read_run(run_folder(config))
    before = int((record.reason or "").split()[-1])
    assert record.peak_memory_bytes > before + 3e8 and record.tokens == {"sampled": 7}
    assert record.seconds["train"] > 0


def test_a_run_that_goes_on_under_another_commit_says_so(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def at(commit: str | None, error: str = "stopped") -> tuple[RunRecord, list[tuple[str, str]]]:
        monkeypatch.setattr(bookkeeping, "code_state", lambda: {"commit": commit})
        monkeypatch.setattr(module, "train", raising(RuntimeError(error)))
        reports = Reports()
        execute(config, overrides=[], report=reports)
        return read_run(run_folder(config)), [line for line in reports.lines if line[0] == "resuming"]

    at("a" * 40)
    record, said = at("b" * 40)  # nothing was saved: it began anew
    assert record.code["earlier_commits"] == [] and not said
    (run_folder(config) / "resume").mkdir()
    record, said = at("b" * 40)
    assert record.code["earlier_commits"] == [] and not said
    record, said = at("c" * 40)
    assert record.code["earlier_commits"] == ["b" * 40]
    assert said == [("resuming", "begun by commit bbbbbbbbbb, this is cccccccccc")]
    assert at("a" * 40)[0].code["earlier_commits"] == ["b" * 40, "c" * 40]
    assert at(None)[1][0][1].endswith("this is unknown")  # outside a checkout


def test_what_a_resumed_run_has_used_is_kept(config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "train", raising(RuntimeError("first")))
    execute(config, overrides=[], report=Reports())
    first: RunRecord = read_run(run_folder(config))
    spent = first.model_copy(update={"gpu_seconds": 5.0, "started": "2026-01-01T00:00:00+00:00"})
    write_record(run_folder(config) / "run.json", spent)
    execute(config, overrides=[], report=Reports())
    second = read_run(run_folder(config))
    assert second.gpu_seconds == 5.0 and second.started == spent.started and second.num_resumes == 1
