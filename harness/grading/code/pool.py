"""Programs run against tests, in servers (`jail.py`) that are started once and serve many programs."""

from __future__ import annotations

import atexit
import os
import queue
import select
import sys
import threading
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from harness.grading.code.confine import Refused
from harness.grading.code.limits import ALL_SECONDS
from harness.grading.code.pipes import READY, frame
from harness.grading.code.values import NotData, decode, encode

WORKERS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1  # programs run at once
_ROOT = Path(__file__).resolve().parents[3]
_START = "import sys; sys.path.insert(0, {!r}); from harness.grading.code.jail import serve; serve()"
_PATIENCE = 15.0  # seconds beyond all limits after which a server is given up


@dataclass(frozen=True, slots=True)
class Suite:
    """Tests of a program: each passes if it raises nothing.

    `setup` is code that they stand on. What they call and do not define (`entry_point`) is the program's.
    """

    entry_point: str
    tests: tuple[str, ...]
    setup: str = ""


class _Server:
    """One confined process that runs one program after another."""

    def __init__(self) -> None:
        import subprocess  # here: who grades numbers starts no process, and does not wait for the import

        # Not -I: it would ignore the seed of hashes.
        command = [sys.executable, "-P", "-s", "-S", "-c", _START.format(str(_ROOT))]
        libraries = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**libraries, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"},
            cwd="/",
            bufsize=0,
        )
        said = self._line(time.monotonic() + _PATIENCE)
        if said != READY:
            self.end()
            reason = said.decode(errors="replace").strip().removeprefix("refused: ") or "it did not start"
            raise Refused(reason)

    def run(self, program: str, tests: Suite) -> list[str]:
        """What came of each test. Raises OSError where the server is lost."""
        asked = encode({"entry_point": tests.entry_point, "tests": tests.tests, "setup": tests.setup})
        assert self.process.stdin is not None
        self.process.stdin.write(frame(asked.encode()) + frame(program.encode(errors="replace")))
        line = self._line(time.monotonic() + ALL_SECONDS + _PATIENCE)
        if not line:
            raise OSError("the server is lost")
        try:
            found = decode(line)
        except NotData:
            found = []
        return [str(one) for one in found] if len(found) == len(tests.tests) else ["lost"] * len(tests.tests)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()

    def _line(self, until: float) -> bytes:
        assert self.process.stdout is not None
        found = bytearray()
        while not found.endswith(b"\n"):
            left = max(0.0, until - time.monotonic())
            if not select.select([self.process.stdout], [], [], left)[0]:
                return b""
            part = os.read(self.process.stdout.fileno(), 1 << 16)
            if not part:
                return b""
            found += part
        return bytes(found)


class _Pool:
    """Idle servers of this process, at most one a core at work; more threads wait."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.idle: queue.LifoQueue[_Server | None] = queue.LifoQueue()
        for _ in range(WORKERS):
            self.idle.put(None)

    def run(self, program: str, tests: Suite) -> list[str]:
        """Run on an idle server; one that was left before it had answered is never used again."""
        server, answered = self.idle.get(), None
        try:
            server = server or _Server()
            found = server.run(program, tests)
            answered = server
            return found
        except OSError:
            return ["lost"] * len(tests.tests)
        finally:
            if server is not answered and server is not None:
                server.end()
            self.idle.put(answered)

    def end(self) -> None:
        while self.owner == os.getpid() and not self.idle.empty():
            if (server := self.idle.get()) is not None:
                server.end()


_lock = threading.Lock()
_pools: list[_Pool] = []


def run_tests(program: str, tests: Suite) -> list[str]:
    """Run a program against each test: `passed`, or the name of what was raised; `lost` without an answer.

    A thread may call it beside others. Raises Refused where this machine cannot confine a program.
    """
    with _lock:
        if not _pools or _pools[-1].owner != os.getpid():  # a forked process has servers of its own
            _pools[:] = [_Pool()]
            atexit.register(_pools[-1].end)
        pool = _pools[-1]
    return pool.run(program, tests)


@lru_cache(maxsize=1)
def refusal() -> str | None:
    """Why no program can be run on this machine, in one line; None where it can."""
    try:
        found = run_tests("def f():\n    return 1", Suite("f", ("assert f() == 1",)))
    except Refused as error:
        return str(error)
    return None if found == ["passed"] else f"a program that is right is {found[0]}"
