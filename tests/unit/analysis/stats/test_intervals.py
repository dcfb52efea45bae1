"""Wilson's interval against numbers worked by hand."""

from __future__ import annotations

import pytest

from analysis.stats.intervals import wilson


def test_wilson() -> None:
    # z^2 = 3.841459. 0 of n: [0, z^2 / (n + z^2)]; n of n: [n / (n + z^2), 1].
    assert wilson(0.0, 3) == pytest.approx((0.0, 3.841459 / 6.841459))
    assert wilson(1.0, 3) == pytest.approx((3 / 6.841459, 1.0))
    # 5 of 10: centre 1/2, half width z sqrt(1/40 + z^2/400) / (1 + z^2/10) = 0.263397
    assert wilson(0.5, 10) == pytest.approx((0.236593, 0.763407), abs=1e-5)
    low, high = wilson(0.5, 10, level=0.5)
    assert 0.236593 < low < 0.5 < high < 0.763407
    with pytest.raises(ValueError, match="n=0: give one trial or more"):
        wilson(0.0, 0)
