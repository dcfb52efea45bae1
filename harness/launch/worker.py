"""The child process of a sweep: takes jobs, sends progress and signs of life."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from harness.identity import run_id
from harness.launch import signals
from harness.launch.jobs import EXECUTE, load
from harness.records.progress import Throttle
from harness.records.reasons import reason_of
from harness.schema.run_config import RunConfig

BEAT = 1.0  # seconds between two signs of life
Outcome = tuple[str, str]


@dataclass(frozen=True)
class Work:
    """One job: a base to pretrain or a run. `function` is `module:name`; `needs` names bases it waits for.

    `stages` names the runs whose last checkpoints it reads, of this launch: its start, its teacher. The
    function is called with the config, `report`, and for a run its `overrides`. Works of one `engine` follow
    each other in a lasting child.
    """

    name: str
    config: RunConfig
    overrides: tuple[str, ...]
    function: str
    cost: float
    needs: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    is_base: bool = False
    on_cpu: bool = False  # a base that the CPU pretrains, wherever its run goes
    priority: float = 0.0
    engine: str = ""

    @property
    def log(self) -> Path:
        return Path(self.config.output_dir) / self.config.study / "logs" / f"{self.name}.txt"


def serve(jobs: Connection, messages: Connection, device: str | None) -> None:
    """Take jobs until there are no more."""
    # A process group of its own: Ctrl-C reaches the parent alone, which then stops each child once.
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signals.install()
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    lock = threading.Lock()  # a message is written in one piece

    def send(*message: Any) -> None:
        with lock:
            messages.send(message)

    threading.Thread(target=_die_with_parent, daemon=True).start()
    threading.Thread(target=_beat, args=(send,), daemon=True).start()
    with suppress(EOFError, KeyboardInterrupt):
        while True:
            work = jobs.recv()
            send("result", *run_work(work, send))
    messages.close()


def _beat(send: Callable[..., None]) -> None:
    """Show that this process runs at all: a stopped one has no thread that could."""
    with suppress(OSError):  # the parent is gone, or the pipe closed: the end
        while True:
            send("alive")
            time.sleep(BEAT)


def run_work(work: Work, send: Callable[..., None]) -> Outcome:
    """Pin threads, send the job's output to its log, run it, say how it ended."""
    with suppress(OSError):  # the disk is full: then the output goes to the parent's
        _redirect(work.log)
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(work.config.threads)
    report = Throttle(lambda *message: send("progress", *_message(*message)))
    try:
        function = load(work.function)
        if work.function == EXECUTE and (name := run_id(work.config)) != work.name:
            raise ValueError(
                f"it would be {name} by now: what it reads (a data file, a model, a function's rows) has "
                "changed since the launch; launch again"
            )
        if work.is_base:
            function(work.config, report)
            return "finished", ""
        return function(work.config, overrides=list(work.overrides), report=report), ""
    except KeyboardInterrupt:
        return "interrupted", "stopped by the user"
    except BaseException as error:
        if signals.was_interrupt(error):
            return "interrupted", "stopped by the user"
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
