"""The equivalence test that compares warm with fresh runs, on numbers worked by hand."""

from __future__ import annotations

import pytest

from tests.benchmarks.warm_equals_fresh import tost


def test_tost_by_hand() -> None:
    # Mean 0.01, sd 0.01, n 4: standard error 0.005; t(0.95, 3) = 2.3534, so 0.01 +- 0.01177.
    found = tost([0.0, 0.0, 0.02, 0.02], 0.03)
    error = (4 * 0.01**2 / 3) ** 0.5 / 2  # 0.005774
    assert found["mean"] == pytest.approx(0.01)
    assert found["interval_90"] == pytest.approx([0.01 - 2.353363 * error, 0.01 + 2.353363 * error])
    assert found["equivalent"] and found["p"] < 0.05  # 0.0236 < 0.03
    assert not tost([0.0, 0.0, 0.02, 0.02], 0.02)["equivalent"]  # the upper end lies outside


def test_equal_to_the_bit_is_equivalent_and_a_constant_shift_is_not() -> None:
    assert tost([0.0] * 10, 0.03)["equivalent"]
    assert not tost([0.05] * 10, 0.03)["equivalent"]
