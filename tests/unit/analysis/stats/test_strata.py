"""Shares on one mix of cells."""

from __future__ import annotations

import pytest

from analysis.stats.strata import standardised_shares


def test_another_mix_alone_is_no_change() -> None:
    """Easy derivations are valid in 90 %, hard ones in 50 %; training changes how many of each there are."""
    before, after = {"easy": (9, 10), "hard": (15, 30)}, {"easy": (90, 100), "hard": (5, 10)}
    assert standardised_shares(before, after) == pytest.approx((24 / 40, 24 / 40))  # pooled: 60 % and 86 %


def test_by_hand() -> None:
    before, after = {"a": (1, 2), "b": (3, 6), "c": (4, 4)}, {"a": (3, 4), "b": (1, 3), "d": (5, 5)}
    # c and d are in one of the two alone. Weights 2 and 6: (1 + 3)/8, and (2 · 3/4 + 6 · 1/3)/8.
    assert standardised_shares(before, after) == pytest.approx((0.5, 3.5 / 8))
    assert standardised_shares({"a": (1, 2)}, {"a": (0, 0), "b": (1, 1)}) is None
