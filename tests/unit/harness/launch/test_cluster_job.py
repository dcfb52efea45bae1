"""What a cluster's job does with its runs: outcomes in its file, its exit code, what a requeue begins."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from harness.launch import cluster_job, signals
from harness.launch.cluster_job import STOPPED, SlurmJob, run_batch
from harness.launch.worker import Work
from harness.records.cluster_jobs import JobState, RunState, read_state, write_state
from harness.records.progress import Reporter
from harness.schema.run_config import RunConfig
from tests.unit.harness.launch.test_slurm import part, works

SAID: list[str] = []  # names of the runs that were called, in order
ACTIONS: dict[str, str] = {}  # `s1`: what it does


def run(config: RunConfig, *, overrides: Sequence[str], report: Reporter) -> str:
    action = ACTIONS.get(f"s{config.seed}", "finished")
    SAID.append(f"s{config.seed}")
    report("training", 1, 2, "accuracy 0.5")
    if action.startswith("SIG"):
        os.kill(os.getpid(), getattr(signal, action))
    if action == "raise":
        raise RuntimeError("out of luck")
    report(action, 1, 1, "process 8 on beta" if action == "held" else "")
    return action


@pytest.fixture
def batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Work]:
    """Three runs, called in this process; its handlers and its output are put back."""
    SAID.clear()
    ACTIONS.clear()
    monkeypatch.setattr("harness.launch.worker._redirect", lambda log: None)
    monkeypatch.setattr("harness.launch.worker.EXECUTE", "never compared")
    found = [work for work in works(tmp_path, "seed=0,1,2", "device=cpu") if not work.is_base]
    with signals.installed():
        yield [replace(work, function=f"{__name__}:run") for work in found]


def outcomes(folder: Path, job: str = "7") -> dict[str, str | None]:
    return {part(name): row.outcome for name, row in read_state(folder, job).runs.items()}


@pytest.mark.parametrize(
    ("actions", "code"),
    [
        ({}, 0),
        ({"s1": "raise"}, 1),
        ({"s1": "held"}, 3),
        ({"s0": "held", "s1": "failed"}, 1),
        ({"s2": "skipped"}, 0),
    ],
)
def test_a_jobs_exit_code_is_that_of_its_worst_run(
    batch: list[Work], actions: dict[str, str], code: int, tmp_path: Path
) -> None:
    ACTIONS.update(actions)
    assert run_batch(batch, folder=tmp_path, job="7", with_gpu=False) == code
    expected = {name: actions.get(name, "finished").replace("raise", "failed") for name in ("s0", "s1", "s2")}
    assert outcomes(tmp_path) == expected and SAID == ["s0", "s1", "s2"]
    reasons = {part(name): row.reason for name, row in read_state(tmp_path, "7").runs.items()}
    assert reasons["s1"] == {"raise": "RuntimeError: out of luck", "held": "process 8 on beta"}.get(
        actions.get("s1", ""), "accuracy 0.5" if actions.get("s1") == "failed" else ""
    )


def test_a_signal_ends_the_job_and_its_run_has_no_outcome(batch: list[Work], tmp_path: Path) -> None:
    ACTIONS["s1"] = "SIGUSR2"
    assert run_batch(batch, folder=tmp_path, job="7", with_gpu=False) == STOPPED
    assert outcomes(tmp_path) == {"s0": "finished", "s1": None} and SAID == ["s0", "s1"]
    assert signals.announced() == signal.SIGUSR2
    ACTIONS.clear()
    assert run_batch(batch, folder=tmp_path, job="7", with_gpu=False) == 0  # requeued: the job has its number
    assert SAID == ["s0", "s1", "s1", "s2"] and set(outcomes(tmp_path).values()) == {"finished"}


def test_a_failed_run_is_called_again_by_a_requeued_job(batch: list[Work], tmp_path: Path) -> None:
    write_state(tmp_path, "7", JobState(runs={batch[0].name: RunState(outcome="failed")}))
    assert run_batch(batch[:1], folder=tmp_path, job="7", with_gpu=False) == 0 and SAID == ["s0"]


def test_processes_that_share_a_run_write_one_file(
    batch: list[Work], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    assert run_batch(batch[:1], folder=tmp_path, job="7", with_gpu=False) == 0
    assert SAID == ["s0"] and not (tmp_path / "7.json").exists()


@pytest.mark.parametrize(("cuda", "remedy"), [(None, "make setup GPU=1"), ("13.0", "leave the node out")])
def test_a_node_without_its_gpu_fails_a_run_that_is_for_one(
    batch: list[Work], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cuda: str | None, remedy: str
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.version.cuda", cuda)
    auto = replace(batch[0], config=batch[0].config.model_copy(update={"device": "auto"}))
    assert run_batch([auto, batch[1]], folder=tmp_path, job="7", with_gpu=True) == 1
    assert SAID == ["s1"]  # device=cpu is for no GPU
    reason = read_state(tmp_path, "7").runs[auto.name].reason
    assert reason.startswith("a GPU was asked for, and PyTorch sees none on ") and remedy in reason
    assert run_batch([auto], folder=tmp_path, job="8", with_gpu=False) == 0
    assert run_batch([replace(auto, on_cpu=True)], folder=tmp_path, job="9", with_gpu=True) == 0


def test_progress_is_written_when_a_phase_begins_and_then_rarely(tmp_path: Path) -> None:
    saying = cluster_job.Saying(tmp_path, "7", every=1000.0)
    saying.state.runs["a"] = RunState()
    for done in range(3):
        saying.progress("a", "training", done, 9, "")
    assert read_state(tmp_path, "7").runs["a"].done == 0
    saying.progress("a", "evaluating", 1, 9, "")
    assert (read_state(tmp_path, "7").runs["a"].phase, saying.state.runs["a"].total) == ("evaluating", 9)
    saying.every = 0.0
    saying.progress("a", "evaluating", 2, 9, "")
    assert read_state(tmp_path, "7").runs["a"].done == 2


@pytest.mark.parametrize("action", ["SIGUSR2", "SIGTERM", "finished", "raise"])
def test_the_time_limits_signal_is_passed_to_submitit_once_the_run_saved(
    batch: list[Work], action: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitit = pytest.importorskip("submitit")
    place = type("Place", (), {"num_tasks": 1, "job_id": "7"})
    monkeypatch.setattr(submitit, "JobEnvironment", place)
    told: list[int] = []
    signal.signal(signal.SIGUSR2, lambda number, frame: told.append(number))  # as Submitit does in a job
    ACTIONS["s0"] = action
    job = SlurmJob(batch[:1], str(tmp_path), with_gpu=False)
    with pytest.raises(SystemExit) as ended:
        job()
    assert told == ([signal.SIGUSR2] if action == "SIGUSR2" else [])
    assert ended.value.code == {"finished": 0, "raise": 1}.get(action, STOPPED)
    again = job.checkpoint()
    assert isinstance(again, submitit.core.utils.DelayedSubmission) and again.function is job
