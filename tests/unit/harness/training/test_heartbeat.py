"""When a process takes another for gone, and what it says then, with a clock and a store of a test's own."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from harness.training import distributed, heartbeat
from harness.training.heartbeat import Heartbeat

LIMIT = 10.0  # seconds; a look each two


class Store:
    """torchrun's store, in this process."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    def set(self, key: str, value: str) -> None:
        self.values[key] = value.encode()

    def get(self, key: str) -> bytes:
        return self.values[key]

    def check(self, keys: Sequence[str]) -> bool:
        return all(key in self.values for key in keys)


def ended_at(monkeypatch: pytest.MonkeyPatch, looks: Sequence[tuple[float, bool]]) -> float | None:
    """Seconds at which process 0 ends; `looks` are seconds since the one before, and if process 1 counted."""
    store, clock, ends = Store(), [0.0], list[float]()
    monkeypatch.setattr(heartbeat, "_store", lambda limit: store)
    monkeypatch.setattr(heartbeat.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(heartbeat.os, "_exit", lambda code: ends.append(clock[0]))
    script = iter(looks)

    class Script(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            seconds, counted = next(script, (0.0, None))
            clock[0] += seconds
            if counted:
                store.set("r1-heartbeat/1", str(clock[0]))
            return counted is None

    store.set("r1-heartbeat/1", "0")
    beating = Heartbeat(0, 2, limit=LIMIT)
    beating._stopped = Script()
    beating._run()
    return ends[0] if ends else None


def test_a_process_that_counts_no_more_is_gone_after_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    counts, silent = (2.0, True), (2.0, False)
    assert ended_at(monkeypatch, [counts] * 20) is None
    assert ended_at(monkeypatch, [counts] * 3 + [silent] * 5) is None  # 10 s are not more than the limit
    assert ended_at(monkeypatch, [counts] * 3 + [silent] * 6) == 18.0
    assert ended_at(monkeypatch, ([counts] + [silent] * 5) * 3) is None


def test_a_pause_of_all_processes_is_no_silence_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container is paused for an hour: this process looks before the other has counted again."""
    counts, silent, paused = (2.0, True), (2.0, False), (3600.0, False)
    assert ended_at(monkeypatch, [counts, paused, counts, counts]) is None
    assert ended_at(monkeypatch, [counts, paused, silent, counts, silent]) is None
    # A process that does not come back is still noticed: the pause counts as half the limit.
    assert ended_at(monkeypatch, [counts, paused] + [silent] * 6) == 3602.0 + 3 * 2.0


def test_a_run_is_recorded_with_what_the_failed_process_has_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Store()
    monkeypatch.setattr(heartbeat, "_store", lambda limit: store)
    first, second = (Heartbeat(rank, 2, limit=LIMIT) for rank in range(2))
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    gone: Any = RuntimeError("[pair.cc:553] Connection closed by peer [127.0.0.1]:23784")
    monkeypatch.setattr(distributed._State, "heartbeat", first)
    assert (distributed.lost_peer(gone) or "").startswith("another of 2 processes is gone (Connection closed")
    monkeypatch.setattr(distributed._State, "heartbeat", second)
    distributed.tell_failure("process 1: ValueError: no such task")
    assert second.told() == []
    monkeypatch.setattr(distributed._State, "heartbeat", first)
    assert distributed.lost_peer(gone) == "process 1: ValueError: no such task"
    assert distributed.lost_peer(ValueError("own")) is None
