"""Two engines agree where their curves' difference is within the noise of seeds, and not beyond it."""

from __future__ import annotations

import pytest

from tests.benchmarks.two_engines import agreement


def test_curves_within_seed_noise_agree() -> None:
    one = [[0.0, 0.0, 0.4, 0.6], [0.0, 0.0, 0.5, 0.7], [0.0, 0.0, 0.3, 0.5]]  # last halves: 0.5, 0.6, 0.4
    other = [[9.0, 9.0, 0.5, 0.5], [9.0, 9.0, 0.6, 0.6], [9.0, 9.0, 0.55, 0.45]]  # 0.5, 0.6, 0.5
    found = agreement(one, other)
    assert found["difference"] == pytest.approx(1.6 / 3 - 0.5)
    assert found["agree"] and found["low"] < 0 < found["high"]


def test_curves_beyond_it_do_not() -> None:
    one = [[0.50, 0.50], [0.51, 0.51], [0.49, 0.49]]
    found = agreement(one, [[x + 0.2 for x in curve] for curve in one])
    assert found["difference"] == pytest.approx(0.2) and not found["agree"]


def test_equal_curves_agree() -> None:
    assert agreement([[1.0, 1.0]] * 2, [[1.0, 1.0]] * 2)["agree"]
