"""What Ray calls on a node: a run's task, and the meeting place of a sharded run's processes."""

from __future__ import annotations

import os
import socket
from contextlib import closing
from pathlib import Path

from harness.launch import signals
from harness.launch.cluster_job import STOPPED, run_batch
from harness.launch.worker import Outcome, Work
from harness.records.cluster_jobs import read_state


def stop_file(folder: Path, job: str) -> Path:
    """A file that is there while a launch stops: its tasks that begin then do nothing."""
    return folder / f"{job.rpartition('-')[0]}.stop"


def address() -> tuple[str, int]:
    """Address and a free port of the node where the first process of a sharded run will be."""
    import ray

    with closing(socket.socket()) as found:
        found.bind(("", 0))
        return ray.util.get_node_ip_address(), found.getsockname()[1]


def task(
    work: Work,
    folder: str,
    job: str,
    cwd: str,
    with_gpu: bool,
    rank: int,
    number: int,
    meeting: tuple[str, int],
) -> Outcome:
    """Run one work on a node: its outcome. A signal that ends the node ends this process: Ray tells."""
    try:
        os.chdir(cwd)
    except OSError as error:
        where = f"{cwd}: {error.strerror} on {socket.gethostname()}"
        return "failed", f"{where}; nodes share the folder of a study"
    if number > 1:
        os.environ |= {"MASTER_ADDR": meeting[0], "MASTER_PORT": str(meeting[1]), "LOCAL_RANK": "0"}
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(number)}
    if stop_file(Path(folder), job).exists():
        return "interrupted", "stopped by the user"
    code = run_batch([work], folder=Path(folder), job=job, with_gpu=with_gpu)
    if code == STOPPED and signals.announced():
        os._exit(STOPPED)
    if code == STOPPED or rank > 0:
        return ("interrupted", "stopped by the user") if code == STOPPED else ("finished", "")
    row = read_state(Path(folder), job).runs[work.name]
    return row.outcome or "failed", row.reason
