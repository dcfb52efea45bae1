"""Signals: kills, interrupts, announced preemptions and stops, of single runs and of sweeps."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.campaign.runs import (
    VARIANTS,
    Ended,
    Verdict,
    Work,
    command,
    compared,
    last_line,
    launch,
    pick,
    until_done,
)

ASKED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2)
SPAN = 3.0  # seconds from a launch within which a strike falls; a tiny run takes about as long


def kill(work: Work, seed: int) -> Verdict:
    """SIGKILL a single run at random times, one to four times."""
    return _struck(work, seed, "kill", lambda dice: signal.SIGKILL, most=4)


def ask(work: Work, seed: int) -> Verdict:
    """Send a single run a signal that it may answer, some of them twice."""
    return _struck(work, seed, "signal", lambda dice: dice.choice(ASKED), most=2)


def _struck(
    work: Work, seed: int, kind: str, choose: Callable[[random.Random], int], *, most: int
) -> Verdict:
    dice = random.Random(f"{kind} {seed}")
    variant = pick(dice, list(VARIANTS))
    outputs, reference = work.fresh(seed), work.reference(variant)
    arguments, said = command(variant, outputs), []
    for _ in range(dice.randint(1, most)):
        number, delay = choose(dice), dice.uniform(0.0, SPAN)
        twice = kind == "signal" and dice.random() < 0.3
        ended = launch(arguments, lambda pid, n=number, d=delay, t=twice: _strike(pid, n, d, again=t))
        said.append(f"{signal.Signals(number).name} {delay:.2f}")
        if ended.hung:
            return Verdict(
                kind, seed, f"{variant}: {', '.join(said)}", "hang", last_line(ended), faults=len(said)
            )
        if kind == "signal" and (wrong := _wrong_end(ended)):
            return Verdict(
                kind, seed, f"{variant}: {', '.join(said)}", wrong, last_line(ended), faults=len(said)
            )
    outcome, detail = compared(until_done(arguments), outputs, reference)
    return Verdict(kind, seed, f"{variant}: {', '.join(said)}", outcome, detail, faults=len(said))


def _wrong_end(ended: Ended) -> str:
    """Outcome of a launch that a signal ended neither as interrupted nor as finished before; else empty."""
    if ended.traceback:
        return "traceback"
    return "" if ended.code in (0, 130) or ended.code < 0 else "lost"


def _strike(pid: int, number: int, delay: float, *, again: bool = False) -> None:
    time.sleep(delay)
    for _ in range(2 if again else 1):
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        time.sleep(0.05 if again else 0.0)


def stop(work: Work, seed: int) -> Verdict:
    """SIGSTOP a single run for a second, then let it go on."""
    dice = random.Random(f"stop {seed}")
    variant = pick(dice, list(VARIANTS))
    outputs, delay = work.fresh(seed), dice.uniform(0.0, SPAN)

    def during(pid: int) -> None:
        _strike(pid, signal.SIGSTOP, delay)
        _strike(pid, signal.SIGCONT, dice.uniform(0.2, 1.0))

    ended = launch(command(variant, outputs), during)
    outcome, detail = compared(ended, outputs, work.reference(variant))
    return Verdict("stop", seed, f"{variant}: SIGSTOP {delay:.2f}", outcome, detail)


def sweep(work: Work, seed: int) -> Verdict:
    """Strike a sweep of two runs: its launcher, one worker, or the whole session."""
    dice = random.Random(f"sweep {seed}")
    target = pick(dice, ("launcher", "worker", "session", "stopped worker", "asked"))
    warm = dice.random() < 0.5
    lines = ("seed=0,1", f"hydra.launcher.warm={str(warm).lower()}", "hydra.launcher.silence=4")
    reference = work.reference("grpo", "seed=0,1")
    outputs = work.fresh(seed)
    arguments = command("grpo", outputs, *lines)
    delay = dice.uniform(0.0, 6.0)
    ended = launch(arguments, lambda pid: _strike_sweep(pid, target, delay, outputs))
    what = f"{target} {'warm ' if warm else ''}{delay:.2f}"
    if ended.hung or (ended.traceback and target != "session"):
        return Verdict("sweep", seed, what, "hang" if ended.hung else "traceback", last_line(ended))
    outcome, detail = compared(until_done(arguments), outputs, reference)
    return Verdict("sweep", seed, what, outcome, detail)


def _strike_sweep(pid: int, target: str, delay: float, outputs: Path) -> None:
    if target in ("worker", "stopped worker"):
        if (worker := _worker(outputs)) is not None:
            time.sleep(delay / 4)
            _strike(worker, signal.SIGKILL if target == "worker" else signal.SIGSTOP, 0.0)
        return
    time.sleep(delay)
    with suppress(ProcessLookupError):
        if target == "session":
            os.killpg(pid, signal.SIGKILL)
        os.kill(pid, signal.SIGTERM if target == "asked" else signal.SIGKILL)


def _worker(outputs: Path) -> int | None:
    """Process that holds a run, as its lock says; waits until there is one."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        for lock in outputs.glob("s/*/.lock"):
            words = lock.read_text().split()
            if len(words) > 1 and words[1].isdigit():
                return int(words[1])
        time.sleep(0.02)
    return None
