"""Child processes for a sweep: one a job, from a fork server that has paid the imports once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.config import RunConfig
from harness.progress import Display, Throttle

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess

# What a run imports on its way, paid once in the fork server instead of in every child.
PRELOAD = ["torch", "harness.execute", "harness.engine_lm", "lm_eval.evaluator", "lm_eval.tasks", "wandb"]
GRACE = 20.0  # seconds a child has to stop after Ctrl-C
Outcome = tuple[str, str]


@dataclass(frozen=True)
class Work:
    """One job: a base to pretrain or a run. `function` is `module:name`; `needs` names the base it waits for.

    The function is called with the config, `report`, and for a run its `overrides`.
    """

    name: str
    config: RunConfig
    overrides: tuple[str, ...]
    function: str
    cost: float
    needs: str | None = None
    is_base: bool = False
    priority: float = 0.0

    @property
    def log(self) -> Path:
        return Path(self.config.output_dir) / self.config.study / "logs" / f"{self.name}.txt"


def run_all(works: Sequence[Work], *, workers: int, display: Display) -> dict[str, Outcome]:
    """Run every job, `workers` at once, longest first; a run starts once its base was tried.

    A child that dies costs its own job: outcome ("failed", "killed by signal 9"). On KeyboardInterrupt the
    children are stopped, their outcomes recorded as interrupted, and the interrupt goes on.
    """
    context = multiprocessing.get_context("forkserver")
    modules = {w.function.partition(":")[0] for w in works}
    context.set_forkserver_preload([*(PRELOAD if "harness.execute" in modules else []), *modules])
    pending = sorted(works, key=lambda w: -max(w.priority, w.cost))
    active: dict[str, _Child] = {}
    outcomes: dict[str, Outcome] = {}
    bases = {w.name for w in works if w.is_base}
    try:
        while pending or active:
            for work in _ready(pending, waiting_for=bases - outcomes.keys(), room=workers - len(active)):
                pending.remove(work)
                display.start(work.name)
                active[work.name] = _Child(context, work)
            for name in _ended(active, display):
                outcomes[name] = active.pop(name).outcome()
                display.end(name, *outcomes[name])
    except KeyboardInterrupt:
        _stop(active, display)
        raise
    return outcomes


def _ready(pending: Sequence[Work], *, waiting_for: set[str], room: int) -> list[Work]:
    return [w for w in pending if w.needs not in waiting_for][: max(0, room)]


def _ended(active: dict[str, _Child], display: Display) -> list[str]:
    """Pass on what the children said, and name those that ended; waits up to half a second."""
    ready = wait([c.messages for c in active.values() if not c.closed], timeout=0.5)
    for child in active.values():
        if child.messages in ready:
            for phase, done, total, note in child.receive():
                display.update(child.work.name, phase, done, total, note)
    return [name for name, child in active.items() if child.closed or not child.process.is_alive()]


class _Child:
    """A process, and the pipe through which it says where it is and how it ended.

    Each child has a pipe of its own: a shared queue stays locked when a writer is killed.
    """

    def __init__(self, context: Any, work: Work) -> None:
        self.work, self.closed, self.last_note = work, False, ""
        self.result: Outcome | None = None
        self.messages, writer = context.Pipe(duplex=False)
        work.log.parent.mkdir(parents=True, exist_ok=True)
        self.process: ForkServerProcess = context.Process(target=_child, args=(work, writer), daemon=True)
        self.process.start()
        writer.close()

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
        self.receive()
        self.process.join(GRACE)
        code = self.process.exitcode
        self.messages.close()
        if self.result:
            outcome, reason = self.result
            return outcome, reason or (self.last_note if outcome in ("held", "skipped", "failed") else "")
        if code is not None and code < 0:
            return "failed", f"killed by signal {-code}"
        return "failed", f"its process ended with exit code {code}; see {self.work.log}"


def _stop(active: dict[str, _Child], display: Display) -> None:
    """SIGINT first, so that a run can say it was interrupted; SIGKILL for what is left after the grace."""
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


def _child(work: Work, messages: Connection) -> None:
    """Runs in the child: pin threads, send the job's output to its log, run it, say how it ended."""
    # A process group of its own: Ctrl-C reaches the parent alone, which then stops each child once.
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _redirect(work.log)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(work.config.threads)
    report = Throttle(lambda *message: messages.send(("progress", *_message(*message))))
    module, _, name = work.function.partition(":")
    function = getattr(import_module(module), name)
    try:
        if work.is_base:
            function(work.config, report)
            result = ("finished", "")
        else:
            result = (function(work.config, overrides=list(work.overrides), report=report), "")
    except KeyboardInterrupt:
        result = ("interrupted", "stopped by the user")
    except BaseException as error:
        traceback.print_exc()
        result = ("failed", f"{type(error).__name__}: {error}".splitlines()[0])
    messages.send(("result", *result))
    messages.close()


def _message(phase: str, done: int, total: int, note: str = "") -> tuple[str, int, int, str]:
    return phase, done, total, note


def _redirect(log: Path) -> None:
    """Warnings and bars of libraries would tear the parent's display."""
    sys.stdout.flush()
    sys.stderr.flush()
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def _die_with_parent() -> None:
    """A sweep that was killed must not leave runs behind that nobody waits for."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
