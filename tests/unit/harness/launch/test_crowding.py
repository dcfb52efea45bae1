"""How much longer runs take beside other programs, and what of a run's time was waiting for a core."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.launch import crowding
from harness.launch.crowding import busy_lines, others_at_work, stretch
from harness.training.accounting import Clock


@pytest.mark.parametrize(
    ("others", "workers", "threads", "factor"),
    [
        (0.0, 2, 1, 1.0),  # a core each
        (1.0, 1, 1, 1.0),  # one is left
        (3.0, 2, 1, 2.5),  # five programs on two cores
        (3.0, 1, 2, 2.5),
        (1.5, 1, 1, 1.25),
        (2.0, 4, 1, 1.5),  # two workers too many are asked for: six instead of four
    ],
)
def test_cores_are_shared_out_evenly(
    monkeypatch: pytest.MonkeyPatch, others: float, workers: int, threads: int, factor: float
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert stretch(others, workers, threads) == pytest.approx(factor)


def test_runs_that_have_just_ended_and_a_moments_work_are_no_load(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(crowding, "STAT", tmp_path / "stat")
    monkeypatch.setattr(crowding, "BETWEEN_LOOKS", 0.0)
    monkeypatch.setattr(os, "getloadavg", lambda: (3.0, 1.0, 1.0))
    (tmp_path / "stat").write_text("cpu 1 2 3\nprocs_running 2\n")  # this program and another
    assert others_at_work() == 1
    (tmp_path / "stat").write_text("procs_running 9\n")
    assert others_at_work() == 3
    monkeypatch.setattr(crowding, "STAT", tmp_path / "none")
    assert others_at_work() == 3


def test_a_busy_machine_is_said() -> None:
    (line,) = busy_lines(2.54)
    assert "2.5 times as long as on a quiet one" in line
    assert busy_lines(1.05) == []


@pytest.mark.skipif(not Path("/proc/thread-self/schedstat").exists(), reason="Linux alone says it")
def test_a_clock_tells_waiting_from_working() -> None:
    """Two programs on one core: about half of the time is the other's, and none of a sleep is."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(0.3)
        clock, began = Clock(), time.process_time()
        while time.process_time() - began < 0.5:
            pass
        assert clock.waited > 0.2
        assert clock.seconds - clock.waited == pytest.approx(0.5, abs=0.15)
        waited = clock.waited
        other.kill()
        other.wait()
        time.sleep(0.3)
        assert clock.waited - waited < 0.15
    finally:
        other.kill()
        os.sched_setaffinity(0, before)
