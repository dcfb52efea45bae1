"""Signals that end a launch: Ctrl-C at once, one that announces the machine's end after a step is saved.

A scheduler sends SIGTERM (or SIGUSR1, SIGUSR2, SIGHUP) some 30 s before it kills.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

ANNOUNCED = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
STEP_GRACE = 15.0  # seconds that a run has to end its step and save; then its last checkpoint is what is left
SAME = 2.0  # a launcher passes a signal on that a scheduler may have sent to all: within 2 s it is one signal


class Preempted(KeyboardInterrupt):
    """The machine is about to be taken away; the message says by which signal."""


class Left(Preempted):
    """The launch ended, and its jobs go on elsewhere."""


class _Notice:
    """What this process was told: when and by which signal, and whether a training loop looks at it."""

    at: float | None = None
    signal = 0
    loop = False


def install() -> None:
    """Let each announcing signal that is not ignored (nohup) stop this process's run."""
    _Notice.at, _Notice.loop = None, False
    for number in ANNOUNCED:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _told)


@contextmanager
def installed() -> Iterator[None]:
    """Install the handlers, and put back what was there."""
    before = {number: signal.getsignal(number) for number in ANNOUNCED}
    install()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _told(number: int, _: Any) -> None:
    """Note the first signal where a training loop runs; else, and for a second one, raise Preempted."""
    now, before = time.monotonic(), _Notice.at
    if before is not None and now - before < SAME:
        return
    _Notice.at, _Notice.signal = now, number
    if before is not None or not _Notice.loop:
        raise Preempted(f"stopped by {signal.Signals(number).name}")


def preempted() -> bool:
    """Whether the training loop is asked to save its state and end."""
    return _Notice.at is not None


def announced() -> int:
    """The signal that ended this process's run; 0 where there was none."""
    return _Notice.signal if _Notice.at is not None else 0


@contextmanager
def saving() -> Iterator[None]:
    """Hold signals back while a loop that asks `preempted` runs, each for STEP_GRACE seconds at most."""
    done = threading.Event()
    threading.Thread(target=_hurry, args=(done,), daemon=True).start()
    _Notice.loop = True
    try:
        yield
    finally:
        _Notice.loop = False
        done.set()


def hold_back(held: bool = True) -> None:
    """Only note a first signal that comes from now on, as the run ends anyway and is recorded; or no more."""
    _Notice.loop = held


def _hurry(done: threading.Event) -> None:
    """Repeat a signal that was held back for STEP_GRACE seconds: the second one counts."""
    while not done.wait(0.2):
        if _Notice.at is not None and time.monotonic() - _Notice.at > STEP_GRACE:
            os.kill(os.getpid(), _Notice.signal)  # a real one, which also wakes a process that sleeps
            return


def was_interrupt(error: BaseException) -> bool:
    """Whether an interrupt is behind an error: inside an import it comes out as another kind."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, KeyboardInterrupt):
        seen = seen.__cause__ or seen.__context__
    return seen is not None
