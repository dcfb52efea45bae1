"""Locks that let one process at a time into a folder: `flock`, which the kernel or the file server keeps.

A lock ends with its process, however that ends. Where a server keeps it beyond its holder's machine, nobody
takes it: a machine that does not answer may still be writing. The message names the holder.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import socket
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from harness.records.published import make_folder
from harness.records.reasons import naming


class Held(RuntimeError):
    """Another process holds the folder; the message says which."""


NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
STUDY_LOCK = ".study.lock"


def clear_temporaries(folder: Path) -> None:
    """Remove the unfinished files of a killed process; a finished file has another name."""
    for path in folder.rglob(".*.tmp"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def hold(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold `folder`/.lock. Raises Held at once when another process has it, unless `wait`.

    Raises OSError, with what to do, on a file system without locks.
    """
    make_folder(folder)
    with _locked(folder / ".lock", wait=wait) as file:
        if file is None:
            holder = (folder / ".lock").read_text(encoding="utf-8").strip() or "another process"
            raise Held(
                f"{folder} is held by {holder}; wait for it, or stop it and launch again (if its machine is "
                "gone, the file server frees the lock)"
            )
        clear_temporaries(folder)
        with naming(folder / ".lock"):
            file.truncate(0)
            file.write(_me())
            file.flush()
        yield


@contextmanager
def study_lock(study: Path, *, needed: bool = True) -> Iterator[None]:
    """Wait for and hold the files that the launches of a study merge into: study.json, jobs.json.

    Its runs are not held by it. Unless `needed`, a disk that cannot be written is gone on without.
    """
    with ExitStack() as stack:
        try:
            make_folder(study)
            stack.enter_context(_locked(study / STUDY_LOCK, wait=True))
        except OSError:
            if needed:
                raise
        yield


@contextmanager
def _locked(path: Path, *, wait: bool) -> Iterator[IO[str] | None]:
    """The open file, locked until the context ends; None where another process has it, unless `wait`."""
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield None
            return
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            remedy = (
                "this file system has no locks (flock): mount it with them (Lustre: -o flock, NFS: v4 or "
                "lockd), or set output_dir to one that has"
            )
            raise OSError(error.errno, remedy, str(path)) from error
        try:
            yield file
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)


@contextmanager
def hold_all(folders: Iterable[Path]) -> Iterator[None]:
    """Hold several folders, waiting for each in order of name: no two processes wait for each other."""
    with ExitStack() as stack:
        for folder in sorted(set(folders)):
            stack.enter_context(hold(folder, wait=True))
        yield


def _me() -> str:
    """`process 8 on beta since 2026-11-29T18:02, Slurm job 12`: who holds a lock, for a reader."""
    job = os.environ.get("SLURM_JOB_ID")
    since = datetime.now(UTC).isoformat(timespec="minutes").removesuffix("+00:00")
    place = f"process {os.getpid()} on {socket.gethostname()} since {since} UTC"
    return place + (f", Slurm job {job}" if job else "")
