"""The verdict on a warm process's growth, by hand."""

from __future__ import annotations

import pytest

from harness.launch.compose import Composer
from tests.benchmarks.resources import KINDS, SHORT, grows, growth


def test_growth_is_from_the_second_reading_on() -> None:
    # 10 to 50 runs fill buffers; then 15 MiB over 150 runs: 102.4 KiB a run.
    readings = {
        10: {"resident_mib": 100.0, "open_files": 9.0, "threads": 3.0},
        50: {"resident_mib": 200.0, "open_files": 6.0, "threads": 4.0},
        200: {"resident_mib": 215.0, "open_files": 6.0, "threads": 4.0},
    }
    found = growth(readings)
    assert found == {"kib_a_run": pytest.approx(102.4), "open_files": 0.0, "threads": 0.0}
    assert grows(found)
    readings[200]["resident_mib"] = 214.0
    assert not grows(growth(readings))
    readings[200]["open_files"] = 7.0
    assert grows(growth(readings))


def test_every_kind_of_run_is_a_valid_one() -> None:
    composer = Composer()
    names = {composer.config([*SHORT, *kind]).objective.name for kind in KINDS}
    assert len(names) == len(KINDS) - 1  # GRPO comes twice
