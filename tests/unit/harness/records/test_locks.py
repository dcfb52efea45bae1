"""One process a folder; the lock goes with its process, however that ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from harness.records import locks
from harness.records.locks import Held, hold, hold_all

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
