"""Child processes for a sweep, from a fork server that has paid the imports once.

On CPUs there is a child for each job; each GPU has one lasting child, whose engine serves run after run
(harness.rollout.process_cache).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.launch.jobs import EXECUTE, load
from harness.records.progress import Display, Throttle
from harness.records.reasons import reason_of
from harness.schema.run_config import RunConfig

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess

# What a run imports on its way, paid once in the fork server instead of in every child.
PRELOAD = [
    "torch",
    "harness.launch.execute",
    "harness.evaluation.engine_lm",
    "lm_eval.evaluator",
    "lm_eval.tasks",
    "wandb",
]
GRACE = 20.0  # seconds a child has to stop after Ctrl-C
Outcome = tuple[str, str]


@dataclass(frozen=True)
class Work:
    """One job: a base to pretrain or a run. `function` is `module:name`; `needs` names bases it waits for.

    The function is called with the config, `report`, and for a run its `overrides`. Works of one `engine`
    follow each other in a lasting child.
    """

    name: str
    config: RunConfig
    overrides: tuple[str, ...]
    function: str
    cost: float
    needs: tuple[str, ...] = ()
    is_base: bool = False
    priority: float = 0.0
    engine: str = ""

    @property
    def log(self) -> Path:
        return Path(self.config.output_dir) / self.config.study / "logs" / f"{self.name}.txt"


def run_all(
    works: Sequence[Work], *, workers: int, display: Display, devices: Sequence[str] = ()
) -> dict[str, Outcome]:
    """Run every job, `workers` at once, longest first; a run starts once its bases were tried.

    A child that dies costs its own job: outcome ("failed", "killed by signal 9"). On KeyboardInterrupt the
    children are stopped, their outcomes recorded as interrupted, and the interrupt is raised again. With
    `devices` (values of CUDA_VISIBLE_DEVICES) there is one lasting child each, and it is replaced when a run
    failed: an error on a GPU may leave the whole process unable to use it.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_preload(works))
    pending = sorted(works, key=lambda w: -max(w.priority, w.cost))
    seats: list[str | None] = list(devices) or [None] * workers
    active: dict[str, _Child] = {}
    idle: list[_Child] = []
    outcomes: dict[str, Outcome] = {}
    try:
        while pending or active:
            while (seats or idle) and (ready := _ready(pending, outcomes, works)):
                child = idle.pop() if idle else _Child(context, seats.pop())
                work = next((w for w in ready if w.engine == child.engine), ready[0])
                pending.remove(work)
                display.start(work.name)
                active[work.name] = child
                child.start(work)
            for name in _ended(active, display):
                child = active.pop(name)
                outcomes[name] = child.outcome()
                display.end(name, *outcomes[name])
                if child.usable:
                    idle.append(child)
                else:
                    seats.append(child.device)
    except KeyboardInterrupt:
        _stop(active, display)
        raise
    finally:
        for child in idle:
            child.close()
    return outcomes


def _preload(works: Sequence[Work]) -> list[str]:
    """Modules for the fork server to import; W&B where a run is tracked, none of ours for stand-ins."""
    modules = {w.function.partition(":")[0] for w in works}
    tracked = any(w.config.tracking.mode != "disabled" for w in works)
    heavy = PRELOAD if EXECUTE.partition(":")[0] in modules else ()
    return [*(name for name in heavy if name != "wandb" or tracked), *modules]


def _ready(pending: Sequence[Work], outcomes: Mapping[str, Outcome], works: Sequence[Work]) -> list[Work]:
    """The jobs that may start now, in order: every base that they need was tried."""
    missing = {w.name for w in works if w.is_base} - outcomes.keys()
    return [w for w in pending if missing.isdisjoint(w.needs)]


def _ended(active: dict[str, _Child], display: Display) -> list[str]:
    """Show the children's messages, and name those that ended. Waits up to half a second."""
    ready = wait([c.messages for c in active.values() if not c.closed], timeout=0.5)
    for name, child in active.items():
        if child.messages in ready:
            for phase, done, total, note in child.receive():
                display.update(name, phase, done, total, note)
    return [name for name, child in active.items() if child.done]


class _Child:
    """A process, a pipe for its jobs and a pipe for its messages.

    Each child has pipes of its own: a shared queue stays locked when a writer is killed. Without a `device`
    it ends after its first job.
    """

    def __init__(self, context: Any, device: str | None) -> None:
        self.device, self.closed, self.last_note, self.engine = device, False, "", ""
        self.result: Outcome | None = None
        self.messages, writer = context.Pipe(duplex=False)
        reader, self.jobs = context.Pipe(duplex=False)
        # What runs on a GPU may start processes of its own, which a daemon may not.
        arguments = (reader, writer, device)
        self.process: ForkServerProcess = context.Process(
            target=_serve, args=arguments, daemon=device is None
        )
        self.process.start()
        reader.close()
        writer.close()

    def start(self, work: Work) -> None:
        self.work, self.result, self.last_note, self.engine = work, None, "", work.engine
        work.log.parent.mkdir(parents=True, exist_ok=True)
        with suppress(BrokenPipeError):  # it died while it was idle; its exit code says so
            self.jobs.send(work)
        if self.device is None:
            self.jobs.close()

    @property
    def done(self) -> bool:
        """Whether its job has ended, well or not."""
        if self.closed or not self.process.is_alive():
            return True
        return self.device is not None and self.result is not None

    @property
    def usable(self) -> bool:
        """Whether it can be given another job."""
        return not self.messages.closed

    def receive(self) -> list[tuple[str, int, int, str]]:
        found = []
        try:
            while self.messages.poll():
                kind, *rest = self.messages.recv()
                if kind == "progress":
                    found.append(tuple(rest))
                    self.last_note = rest[-1] or self.last_note
                else:
                    self.result = (rest[0], rest[1])
        except (EOFError, OSError):
            self.closed = True
        return found  # type: ignore[return-value]

    def outcome(self) -> Outcome:
        """How the job ended. The process has ended too afterwards, unless it can take another job."""
        self.receive()
        lasts = self.device is not None and not self.closed and self.process.is_alive()
        if not (lasts and self.result and self.result[0] in ("finished", "skipped", "held")):
            self.close()
        if self.result:
            outcome, reason = self.result
            return outcome, reason or (self.last_note if outcome in ("held", "skipped", "failed") else "")
        code = self.process.exitcode
        if code is not None and code < 0:
            return "failed", f"killed by signal {-code}"
        return "failed", f"its process ended with exit code {code}; see {self.work.log}"

    def close(self) -> None:
        """Send no more jobs: the process ends by itself; a lasting one is killed after GRACE seconds."""
        self.jobs.close()
        self.process.join(GRACE)
        if self.process.is_alive() and self.device is not None:
            self.process.kill()
            self.process.join(5)
        self.messages.close()


def _stop(active: dict[str, _Child], display: Display) -> None:
    """Send SIGINT, so that a run can record that it was interrupted; after GRACE seconds SIGKILL."""
    for child in active.values():
        if child.process.pid:
            _signal(child.process.pid, signal.SIGINT)
    deadline = time.monotonic() + GRACE
    try:
        for child in active.values():
            child.process.join(max(0.0, deadline - time.monotonic()))
    finally:
        for name, child in active.items():
            if child.process.is_alive():
                child.process.kill()
                child.process.join(5)
            display.end(name, "interrupted")


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _serve(jobs: Connection, messages: Connection, device: str | None) -> None:
    """Take jobs until there are no more. This runs in the child."""
    # A process group of its own: Ctrl-C reaches the parent alone, which then stops each child once.
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    threading.Thread(target=_die_with_parent, daemon=True).start()
    with suppress(EOFError, KeyboardInterrupt):
        while True:
            work = jobs.recv()
            messages.send(("result", *_run(work, messages)))
    messages.close()


def _run(work: Work, messages: Connection) -> Outcome:
    """Pin threads, send the job's output to its log, run it, say how it ended."""
    with suppress(OSError):  # as above: then the output goes to the parent's
        _redirect(work.log)
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(work.config.threads)
    report = Throttle(lambda *message: messages.send(("progress", *_message(*message))))
    try:
        function = load(work.function)
        if work.is_base:
            function(work.config, report)
            return "finished", ""
        return function(work.config, overrides=list(work.overrides), report=report), ""
    except KeyboardInterrupt:
        return "interrupted", "stopped by the user"
    except BaseException as error:
        with suppress(OSError):  # the log's disk is full
            traceback.print_exc()
        return "failed", reason_of(error)


def _message(phase: str, done: int, total: int, note: str = "") -> tuple[str, int, int, str]:
    return phase, done, total, note


def _redirect(log: Path) -> None:
    """Send all output of this process to a log: libraries would write over the parent's display."""
    sys.stdout.flush()
    sys.stderr.flush()
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def _die_with_parent() -> None:
    """End this process when its parent dies: a killed sweep must not leave runs behind."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
