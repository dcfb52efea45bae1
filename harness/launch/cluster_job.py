"""What a cluster's job or task does: its runs one after another, each in a file how far it is.

Slurm and Ray call it on a node that shares the study's folder with the launch.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.launch import signals
from harness.launch.jobs import DONE
from harness.launch.worker import Outcome, Work, run_work
from harness.records.cluster_jobs import RunState, read_state, write_state

SAY_EVERY = 5.0  # seconds between two writes of a run's progress
EXIT = {"finished": 0, "skipped": 0, "held": 3}  # exit code of a job by its run's outcome; else 1
STOPPED = 143  # as a shell counts SIGTERM


@dataclass
class Saying:
    """Writes how far a job's runs are, at most every `every` seconds while a phase lasts."""

    folder: Path
    job: str
    every: float = SAY_EVERY
    last: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        """Read what the job said before it was requeued."""
        self.state = read_state(self.folder, self.job)
        self.state.host = socket.gethostname()

    def write(self) -> None:
        self.last = time.monotonic()
        write_state(self.folder, self.job, self.state)

    def progress(self, name: str, phase: str, done: int, total: int, note: str) -> None:
        row, same = self.state.runs[name], self.state.runs[name].phase == phase
        row.phase, row.done, row.total, row.note = phase, done, total, note
        if not same or time.monotonic() - self.last > self.every:
            self.write()

    def end(self, name: str, outcome: Outcome) -> None:
        row = self.state.runs[name]
        row.outcome, row.reason = outcome
        self.write()


def run_batch(works: Sequence[Work], *, folder: Path, job: str, with_gpu: bool) -> int:
    """Run a job's works in order and write their outcomes. Returns the exit code, that of the worst run.

    A run that is interrupted stays without an outcome: the job's end is a stop or a requeue, which its
    caller knows (STOPPED). Of processes that share a run the first writes alone.
    """
    signals.install()
    saying = Saying(folder, job) if os.environ.get("RANK", "0") == "0" else None
    codes = [0]
    works[0].log.parent.mkdir(parents=True, exist_ok=True)
    for work in works:
        if saying is not None:
            if (earlier := saying.state.runs.get(work.name)) and earlier.outcome in DONE:
                continue
            saying.state.runs[work.name] = RunState()
            saying.write()
        outcome = _no_gpu(work) if with_gpu else None
        outcome = outcome or _run(work, saying)
        if outcome[0] == "interrupted":
            return STOPPED
        if saying is not None:
            saying.end(work.name, outcome)
        codes.append(EXIT.get(outcome[0], 1))
    return 1 if 1 in codes else max(codes)


def _run(work: Work, saying: Saying | None) -> Outcome:
    """Run one work; what it said last is the reason of an outcome without one."""
    note = ""

    def send(*message: object) -> None:
        nonlocal note
        _, phase, done, total, said = message
        note = str(said) or note
        if saying is not None:
            saying.progress(work.name, str(phase), int(str(done)), int(str(total)), str(said))

    outcome, reason = run_work(work, send)
    return outcome, reason or (note if outcome in ("held", "skipped", "failed") else "")


def _no_gpu(work: Work) -> Outcome | None:
    """The outcome of a run that was to have a GPU on a node that shows none; None where it has one.

    On the CPU it would go on under the same name, a hundred times slower.
    """
    import torch

    if work.config.device == "cpu" or work.on_cpu or torch.cuda.is_available():
        return None
    why = f"a GPU was asked for, and PyTorch sees none on {socket.gethostname()}"
    if torch.version.cuda is None and torch.version.hip is None:
        return "failed", f"{why}: this PyTorch is built for CPUs alone; make setup GPU=1, or set device=cpu"
    return "failed", f"{why}; set device=cpu with hydra.launcher.gpus=0, or leave the node out"


@dataclass
class SlurmJob:
    """The function that Submitit pickles, calls in the job, and pickles again before a requeue."""

    works: list[Work]
    folder: str
    with_gpu: bool

    def __call__(self) -> None:
        import submitit

        requeue = signal.getsignal(
            signal.SIGUSR2
        )  # Submitit's: pickles this, calls `scontrol requeue`, exits
        place = submitit.JobEnvironment()
        if place.num_tasks > 1:
            shared, at = submitit.helpers.TorchDistributedEnvironment(), os.environ.get("MASTER_ADDR")
            shared.export(set_cuda_visible_devices=False, overwrite=True)
            os.environ["MASTER_ADDR"] = at or shared.master_addr  # the user may name a faster network
        try:
            code = run_batch(self.works, folder=Path(self.folder), job=place.job_id, with_gpu=self.with_gpu)
        except KeyboardInterrupt:  # between two runs
            code = STOPPED
        if code == STOPPED and signals.announced() == signal.SIGUSR2 and callable(requeue):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # Slurm's, as soon as the requeue is under way
            requeue(signal.SIGUSR2, None)
        raise SystemExit(code)

    def checkpoint(self) -> object:
        """What runs after a requeue: the same works, whose runs go on from what they saved."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)
