"""The benchmarks' summary of a GPU's kernels: busy seconds without counting overlaps twice, and gaps."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from tests.benchmarks.profiling import summary, table
from tests.benchmarks.rollout_vllm import host_parts


def test_busy_seconds_and_gaps_by_hand() -> None:
    # Microseconds: a 0-10, b 5-12 overlaps it, a gap of 1,000, a 1012-1020, a gap of 10, c 1030-1040.
    found = summary([(1030, 1040, "c"), (0, 10, "a"), (5, 12, "b"), (1012, 1020, "a")], wall=0.002)
    assert found["busy_s"] == pytest.approx((12 + 8 + 10) * 1e-6) and found["wall_s"] == 0.002
    assert found["num_kernels"] == 4 and found["gaps_over_100us_s"] == pytest.approx(1e-3)
    assert [(k["name"], k["calls"]) for k in found["kernels"]] == [("a", 2), ("c", 1), ("b", 1)]
    assert [(g["after"], g["before"], g["ms"]) for g in found["gaps"]] == [("b", "a", 1.0), ("a", "c", 0.01)]
    assert "GPU busy 0.000 s of 0.002 s, 4 kernels" in table(found)
    assert summary([], wall=1.0)["busy_s"] == 0.0


def test_host_time_is_given_to_the_function_that_took_it() -> None:
    scheduler = SimpleNamespace(schedule=lambda: time.sleep(0.02), update_from_output=lambda: None)
    executor = SimpleNamespace(execute_model=lambda: time.sleep(0.04), sample_tokens=lambda: None)
    core = SimpleNamespace(scheduler=scheduler, model_executor=executor)
    names = vars(scheduler) | vars(executor)

    def work() -> None:
        scheduler.schedule(), executor.execute_model(), executor.execute_model()

    found = host_parts(core, work, steps=2)
    assert found["schedule_ms"] >= 10 and found["execute_model_ms"] >= 40
    assert found["sample_tokens_ms"] == found["update_from_output_ms"] == 0
    parts = sum(found.values()) - found["step_ms"]
    assert found["step_ms"] == pytest.approx(parts) and found["rest_ms"] >= 0
    assert vars(scheduler) | vars(executor) == names
