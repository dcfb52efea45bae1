"""Processes that run math-verify, under limits on wall time, CPU (RLIMIT_CPU) and memory (RLIMIT_AS).

No signal handler and no thread is used here. A worker gets no environment beyond what Python needs.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_WORKER = Path(__file__).with_name("symbolic_worker.py")
_LOST = frozenset({"startup", "wall", "cpu", "memory", "died"})


@dataclass(frozen=True, slots=True)
class Limits:
    """What one comparison may use: 2 to 3 s of CPU (the kernel counts seconds), which decides as a rule.

    The wall limit is the one that nothing passes; it is longer so that a busy machine does not change grades.
    A grade makes one comparison, or one more for each side of a chain of equations until one fails.
    """

    wall_s: float = 8.0
    cpu_s: float = 2.0
    memory_mib: int = 1024
    startup_s: float = 120.0
    max_workers: int = 2


class Worker:
    """One child process: started, asked, killed."""

    def __init__(self, limits: Limits) -> None:
        """Start the process; `ask` waits until it is ready."""
        kept = {key: os.environ[key] for key in ("LD_LIBRARY_PATH", "SYSTEMROOT") if key in os.environ}
        path = os.pathsep.join(entry for entry in sys.path if entry)
        self.limits = limits
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(_WORKER), str(limits.cpu_s), str(limits.memory_mib)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={
                **kept,
                "PYTHONPATH": path,
                "LANG": "C.UTF-8",
                "PYTHONHASHSEED": "0",
                "OMP_NUM_THREADS": "1",
            },
            cwd="/",
            start_new_session=True,
        )
        self.ready = False
        self.timed_out = False
        self._buffer = b""

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The worker's reply, or {"error": "startup" | "wall" | "cpu" | "died"} and the worker is dead."""
        assert self.process.stdin is not None
        if not self.ready:
            self.ready = self._read_line(self.limits.startup_s) is not None
            if not self.ready:
                return self._lost("startup")
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return self._lost("died")
        line = self._read_line(self.limits.wall_s)
        return json.loads(line) if line is not None else self._lost("died")

    def _read_line(self, timeout_s: float) -> bytes | None:
        """A line, or None at the end of the stream or after `timeout_s`, when the process is killed."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + timeout_s
        poll = select.poll()
        poll.register(self.process.stdout, select.POLLIN)
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                self.process.kill()
                self.timed_out = True
                return None
            chunk = os.read(self.process.stdout.fileno(), 65536)
            if not chunk:
                return None
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _lost(self, reason: str) -> dict[str, Any]:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(1.0)  # its exit status says which limit it met
        self.kill()
        if reason == "died" and self.timed_out:
            reason = "wall"
        elif reason == "died" and self.process.returncode == -signal.SIGXCPU:
            reason = "cpu"
        return {"equal": False, "error": reason, "latex": [], "evaluated": []}

    def kill(self) -> None:
        """End the process, reap it and close the pipes."""
        self.process.kill()
        self.process.wait()
        self.abandon()

    def abandon(self) -> None:
        """Close our ends of the pipes and leave the process alone (after a fork it is the parent's)."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


class Pool:
    """Up to `limits.max_workers` workers, started when first needed and replaced when lost."""

    def __init__(self, limits: Limits) -> None:
        """Start nothing yet."""
        self.limits = limits
        self.stats: Counter[str] = Counter()
        self._free = threading.Condition()
        self._idle: list[Worker] = []
        self._workers: set[Worker] = set()

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Compare in a free worker. Raises RuntimeError if a worker cannot start, twice in a row."""
        for _ in range(2):
            worker = self._take()
            self.stats["asked"] += 1
            try:
                reply = worker.ask(request)
            except BaseException:  # Ctrl-C, a caller's alarm: a half-read worker is no use, its place is
                self._give_back(worker, alive=False)
                raise
            if reply["error"]:
                self.stats[reply["error"] if reply["error"] in _LOST else "error"] += 1
            self._give_back(worker, alive=reply["error"] not in _LOST)
            if reply["error"] != "startup":
                return reply
        raise RuntimeError(
            f"the math-verify worker does not start: `{sys.executable} -c 'import math_verify'` shows why"
        )

    def _take(self) -> Worker:
        with self._free:
            while True:
                while self._idle:
                    worker = self._idle.pop()
                    if worker.process.poll() is None:
                        return worker
                    self.stats["died"] += 1
                    self._workers.discard(worker)
                    worker.abandon()
                if len(self._workers) < self.limits.max_workers:
                    worker = Worker(self.limits)
                    self._workers.add(worker)
                    self.stats["started"] += 1
                    return worker
                self._free.wait()

    def _give_back(self, worker: Worker, *, alive: bool) -> None:
        with self._free:
            if alive:
                self._idle.append(worker)
            else:
                worker.kill()
                self._workers.discard(worker)
            self._free.notify()

    def close(self) -> None:
        """Kill every worker."""
        with self._free:
            for worker in self._workers:
                worker.kill()
            self._workers.clear()
            self._idle.clear()

    def abandon(self) -> None:
        """Forget the parent's workers in a forked child, so that the parent alone talks to them."""
        for worker in self._workers:
            worker.abandon()
        self.__init__(self.limits)  # type: ignore[misc]  # the lock may have been held when the fork happened
