"""One process a folder; the lock goes with its process, however that ends."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from harness.records import locks
from harness.records.locks import STUDY_LOCK, Held, hold, hold_all, study_lock

CONTEXT = multiprocessing.get_context("fork")


def _holder(folder: Path, ready: Connection) -> None:
    with hold(folder):
        ready.send(os.getpid())
        ready.recv()  # until it is told, or killed


def start(folder: Path) -> tuple[multiprocessing.process.BaseProcess, Connection, int]:
    ours, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=_holder, args=(folder, theirs), daemon=True)
    process.start()
    theirs.close()
    assert ours.poll(20)
    return process, ours, ours.recv()


def test_a_second_process_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    process, pipe, pid = start(tmp_path / "run")
    with pytest.raises(Held) as caught, hold(tmp_path / "run"):
        pytest.fail("held twice")
    assert f"process {pid} on {socket.gethostname()}" in str(caught.value)
    assert "stop it and launch again" in str(caught.value)
    with hold(tmp_path / "other"):  # another folder is free
        pass
    pipe.send("done")
    process.join(20)
    with hold(tmp_path / "run"):
        assert (tmp_path / "run" / ".lock").read_text().startswith(f"process {os.getpid()} ")


def test_the_lock_dies_with_its_process(tmp_path: Path) -> None:
    process, _, pid = start(tmp_path)
    os.kill(pid, signal.SIGKILL)
    process.join(20)
    assert process.exitcode == -signal.SIGKILL
    with hold(tmp_path):
        pass


def test_a_failure_inside_frees_the_folder(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="inside"), hold(tmp_path):
        raise RuntimeError("inside")
    with hold(tmp_path):
        pass


def test_waiting_ends_when_the_holder_is_killed(tmp_path: Path) -> None:
    process, _, pid = start(tmp_path)
    waiter = CONTEXT.Process(target=_wait_for, args=(tmp_path,), daemon=True)
    waiter.start()
    waiter.join(0.3)
    assert waiter.is_alive() and not (tmp_path / "entered").exists()
    os.kill(pid, signal.SIGKILL)
    process.join(20)
    waiter.join(20)
    assert waiter.exitcode == 0 and (tmp_path / "entered").exists()


def _wait_for(folder: Path) -> None:
    with hold(folder, wait=True):
        (folder / "entered").touch()


def test_what_a_killed_process_was_writing_is_cleared(tmp_path: Path) -> None:
    (tmp_path / "checkpoints" / ".step_000002.77.tmp").mkdir(parents=True)
    (tmp_path / "checkpoints" / ".step_000002.77.tmp" / "model.safetensors").write_text("half")
    (tmp_path / ".run.json.77.tmp").write_text("half")
    (tmp_path / "run.json").write_text("whole")
    (tmp_path / "notes.tmp").write_text("a user's")
    with hold(tmp_path):
        assert sorted(p.name for p in tmp_path.rglob("*")) == [
            ".lock",
            "checkpoints",
            "notes.tmp",
            "run.json",
        ]
    assert (tmp_path / "run.json").read_text() == "whole"


def test_a_refused_process_clears_nothing(tmp_path: Path) -> None:
    process, pipe, _ = start(tmp_path)
    (tmp_path / ".run.json.77.tmp").write_text("being written by the holder")
    with pytest.raises(Held), hold(tmp_path):
        pass
    assert (tmp_path / ".run.json.77.tmp").exists()
    pipe.send("done")
    process.join(20)


def test_several_folders_are_held_at_once_and_in_one_order(tmp_path: Path) -> None:
    """Two processes that ask for the same two in opposite order would wait for each other for ever."""
    taken: list[str] = []

    @contextmanager
    def noted(folder: Path, *, wait: bool) -> Iterator[None]:
        assert wait
        taken.append(folder.name)
        yield

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(locks, "hold", noted)
        with hold_all([tmp_path / "b", tmp_path / "a", tmp_path / "b"]):
            assert taken == ["a", "b"]
    process, pipe, _ = start(tmp_path / "a")
    with hold_all([tmp_path / "b"]):  # not kept waiting by a holder of another
        pass
    waiter = CONTEXT.Process(target=_wait_for_all, args=(tmp_path,), daemon=True)
    waiter.start()
    waiter.join(0.3)
    assert waiter.is_alive() and not (tmp_path / "entered").exists()
    pipe.send("done")
    waiter.join(20)
    assert waiter.exitcode == 0 and (tmp_path / "entered").exists()
    process.join(20)


def _wait_for_all(folder: Path) -> None:
    with hold_all([folder / "b", folder / "a"]):
        (folder / "entered").touch()


def _add_ones(study: Path, number: int) -> None:
    """Read, wait, write: loses additions unless one process does it at a time."""
    for _ in range(number):
        with study_lock(study):
            found = int((study / "sum").read_text())
            time.sleep(0.001)
            (study / "sum").write_text(str(found + 1))


def test_what_launches_merge_is_theirs_one_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "sum").write_text("0")
    processes = [CONTEXT.Process(target=_add_ones, args=(tmp_path, 20)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert (tmp_path / "sum").read_text() == "80"


def test_the_study_lock_takes_no_run_and_none_of_its_unfinished_files(tmp_path: Path) -> None:
    run = tmp_path / "run"
    process, pipe, _ = start(run)
    unfinished = run / ".metrics.jsonl.abc.tmp"
    unfinished.write_text("a run is writing this")
    with study_lock(tmp_path):
        assert unfinished.exists()
    pipe.send("done")
    process.join(20)
    with hold(run):  # whose own next holder removes it
        assert not unfinished.exists()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_refused_with_a_remedy(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    for lock in (hold(tmp_path / "run"), study_lock(tmp_path)):
        with pytest.raises(OSError, match=r"no locks \(flock\): mount it with them") as caught, lock:
            pytest.fail("not held")
        assert "set output_dir to one that has" in str(caught.value)
        assert Path(caught.value.filename).name in (".lock", STUDY_LOCK)
    with study_lock(tmp_path, needed=False):  # nothing to run: nothing to lose
        pass


def test_an_error_of_the_work_inside_is_no_error_of_the_lock(tmp_path: Path) -> None:
    with pytest.raises(BlockingIOError, match="inside"), hold(tmp_path):
        raise BlockingIOError("inside")
    with pytest.raises(OSError, match="inside"), study_lock(tmp_path, needed=False):
        raise OSError("inside")


def test_who_holds_a_lock_is_said_with_its_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    with hold(tmp_path):
        said = (tmp_path / ".lock").read_text()
    assert said.startswith(f"process {os.getpid()} on {socket.gethostname()} since 2")
    assert said.endswith(" UTC, Slurm job 4711")
