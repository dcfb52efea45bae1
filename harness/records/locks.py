"""Locks that let one process at a time into a folder. A lock ends with its process, however that ends."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from harness.records.published import make_folder
from harness.records.reasons import naming


class Held(RuntimeError):
    """Another process holds the folder; the message says which."""


def clear_temporaries(folder: Path) -> None:
    """Remove the unfinished files of a killed process; a finished file has another name."""
    for path in folder.rglob(".*.tmp"):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


@contextmanager
def hold(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold `folder`/.lock. Raises Held at once when another process has it, unless `wait`."""
    make_folder(folder)
    path = folder / ".lock"
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise Held(f"{folder} is held by {holder}; wait for it, or stop it and launch again") from None
        clear_temporaries(folder)
        with naming(path):
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.flush()
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)


@contextmanager
def hold_all(folders: Iterable[Path]) -> Iterator[None]:
    """Hold several folders, waiting for each in order of name: no two processes wait for each other."""
    with ExitStack() as stack:
        for folder in sorted(set(folders)):
            stack.enter_context(hold(folder, wait=True))
        yield
