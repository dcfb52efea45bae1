"""Notice that another process of a run is gone or stopped, and end this one.

A process that waits in an exchange cannot look for the others, and one that was stopped (SIGSTOP, a machine
that hangs) sends no error. So a thread of each process counts up its own number in torchrun's store and reads
the others'; a number that stands still for `limit` seconds ends this process. A process that only works long
still counts: its thread does.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

LEFT = b"left"
EXIT_CODE = 1


class Heartbeat:
    """Counts for process `rank` of `number`; after `limit` seconds without another's count, ends this one."""

    def __init__(self, rank: int, number: int, *, limit: float) -> None:
        self.rank, self.number, self.limit = rank, number, limit
        self.on_loss: Callable[[int, str], None] = lambda lost, reason: None
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._store = _store(limit)
        self._beat(0)

    def start(self) -> None:
        """Begin to count, once every process has written its first number."""
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Tell the others that this process leaves because it is done."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=self.limit)
        with suppress(RuntimeError):  # the store ends with its process
            self._store.set(self._key(self.rank), LEFT.decode())

    def tell(self, reason: str) -> None:
        """Leave a line for the others: why this process ends."""
        with suppress(RuntimeError):
            self._store.set(f"r1-failure/{self.rank}", reason)

    def told(self) -> list[str]:
        """What other processes left that ended, by their numbers."""
        found = []
        for key in (f"r1-failure/{rank}" for rank in range(self.number) if rank != self.rank):
            with suppress(RuntimeError):
                if self._store.check([key]):
                    found.append(self._store.get(key).decode())
        return found

    def _run(self) -> None:
        others = [rank for rank in range(self.number) if rank != self.rank]
        seen, silent = dict.fromkeys(others, b""), dict.fromkeys(others, 0.0)
        wait, count, before = min(5.0, self.limit / 5), 0, time.monotonic()
        while not self._stopped.wait(wait):
            count += 1
            found = self._exchange(count, others)
            now = time.monotonic()
            # All processes may have been stopped, a container that was paused say: this one's own absence is
            # no silence of the others, who need a look's time to count again.
            passed, before = min(now - before, self.limit / 2), now
            for other in others:
                if found.get(other, seen[other]) not in (seen[other], LEFT):
                    seen[other], silent[other] = found[other], 0.0
                    continue
                silent[other] += passed
                if found.get(other) != LEFT and silent[other] > self.limit and not self._stopped.is_set():
                    return self._end(other)

    def _exchange(self, count: int, others: list[int]) -> dict[int, bytes]:
        """Write this process's number and read the others'; none from a store that does not answer.

        A process that holds the store and is gone is noticed like any other: its number stands still.
        """
        try:
            self._beat(count)
            return {other: self._store.get(self._key(other)) for other in others}
        except RuntimeError:
            return {}

    def _end(self, other: int) -> None:
        reason = (
            f"process {other} of {self.number} gave no sign of life for {self.limit:g} s; launch again to go "
            "on (trainer.rank_timeout sets the limit)"
        )
        print(f"error: {reason}", file=sys.stderr, flush=True)
        with suppress(Exception):  # whatever the record says, this process must end
            self.on_loss(other, reason)
        os._exit(EXIT_CODE)

    def _beat(self, count: int) -> None:
        self._store.set(self._key(self.rank), str(count))

    def _key(self, rank: int) -> str:
        return f"r1-heartbeat/{rank}"


def _store(limit: float) -> Any:
    """A connection of its own to the store in which torchrun's processes met."""
    from torch.distributed import TCPStore

    return TCPStore(
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        is_master=False,
        wait_for_workers=False,
        timeout=timedelta(seconds=max(1.0, limit / 4)),  # of one question
    )
