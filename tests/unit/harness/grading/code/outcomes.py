"""Run hostile programs and gather what came of them, for the tests and for the benchmark's table."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from harness.grading.code.limits import ALL_SECONDS
from harness.grading.code.pool import WORKERS, run_tests
from tests.unit.harness.grading.code.forgeries import by_kind
from tests.unit.harness.grading.code.hostile import NUM_ANSWERS, SOLUTION, TESTS, Attempt

FORGERIES = frozenset(by_kind())  # a forged answer is no loot, and may be what `loot` seems to say
SLACK = 5.0  # seconds of a busy machine


@dataclass(frozen=True, slots=True)
class Outcome:
    """An attempt, what came of each test, how long it took, and of a right program on the same server."""

    attempt: Attempt
    tests: list[str]
    seconds: float
    afterwards: list[str]

    @property
    def passed(self) -> bool:
        """Whether a test passed that only a solution passes."""
        return "passed" in self.tests[:NUM_ANSWERS]

    @property
    def escaped(self) -> bool:
        """Whether the program got hold of something."""
        return self.tests[-1] not in ("passed", "RuntimeError") and self.attempt.kind not in FORGERIES

    @property
    def hung(self) -> bool:
        return self.seconds > ALL_SECONDS + SLACK or set(self.afterwards) != {"passed"}


def outcome(attempt: Attempt) -> Outcome:
    """Run one, then a right program."""
    start = time.perf_counter()
    tests = run_tests(attempt.program, TESTS)
    return Outcome(attempt, tests, time.perf_counter() - start, run_tests(SOLUTION, TESTS))


def outcomes(attempts: Sequence[Attempt]) -> list[Outcome]:
    """Run all of them, as many at once as there are cores."""
    with ThreadPoolExecutor(WORKERS) as threads:
        return list(threads.map(outcome, attempts))


@contextmanager
def listener() -> Iterator[tuple[int, list[object]]]:
    """Open a port of this machine; gives it, and who has connected."""
    callers: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen() -> None:
            while True:
                try:
                    connection, who = server.accept()
                except OSError:
                    return
                callers.append(who)
                connection.close()

        threading.Thread(target=listen, daemon=True).start()
        yield server.getsockname()[1], callers
        server.shutdown(socket.SHUT_RDWR)
