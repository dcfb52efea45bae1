"""Newly solved problems against every split into halves, and what chance alone gives."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from analysis.stats.coverage import half_coverage, least_right, never_then_often


def by_all_splits(first: np.ndarray, second: np.ndarray) -> float:
    n = first.shape[1]
    found = []
    for a, b in zip(first, second, strict=True):
        splits = list(combinations(range(n), n // 2))
        for half in splits:
            rest = [i for i in range(n) if i not in half]
            often = b[rest].sum() >= max(1, -(-len(rest) // 4))
            found.append(not a[list(half)].any() and often)
    return float(np.mean(found))


@pytest.mark.parametrize("n", [2, 5, 8])
def test_the_share_is_that_of_all_splits(n: int) -> None:
    rng = np.random.default_rng(n)
    first, second = rng.random((12, n)) < 0.15, rng.random((12, n)) < 0.4
    assert half_coverage(first, second) == pytest.approx(by_all_splits(first, second))
    assert half_coverage(first, first) == pytest.approx(by_all_splits(first, first))


def test_by_hand() -> None:
    # n = 4, halves of 2, one right sample of the other half is enough. The base never solves the problem and
    # the arm solves it in sample 0 alone: it counts where 0 is in B, in C(3, 2) = 3 of C(4, 2) = 6 splits.
    assert half_coverage([[0, 0, 0, 0]], [[1, 0, 0, 0]]) == pytest.approx(0.5)
    # The base solves it in sample 0: 0 must be in B for it to be never solved in A, and so for the chance.
    assert half_coverage([[1, 0, 0, 0]], [[1, 0, 0, 0]]) == pytest.approx(0.5)
    assert half_coverage([[1, 1, 1, 1]], [[1, 1, 1, 1]]) == 0.0
    assert half_coverage([[0]], [[1]]) is None
    assert [least_right(n) for n in (1, 2, 4, 8, 9, 16, 128)] == [1, 1, 1, 2, 3, 4, 32]


def test_a_model_against_itself_on_common_random_numbers_gains_nothing() -> None:
    """The arm is the base on the same seeds (equal samples), or on others: both are what chance gives."""
    rng = np.random.default_rng(0)
    p = rng.uniform(0, 0.3, 20_000)[:, None]
    base, again = (rng.random((20_000, 8)) < p for _ in range(2))
    chance = half_coverage(base, base)
    assert half_coverage(base, base.copy()) == chance
    assert half_coverage(base, again) == pytest.approx(chance, abs=0.008)  # two standard errors
    assert chance > 0.05  # else this could not fail


def test_never_then_often_takes_counts() -> None:
    assert never_then_often([0, 0, 1, 0], [4, 3, 16, 0], least=4) == 0.25
    with pytest.raises(ValueError, match="a count for each problem"):
        never_then_often([0], [1, 2], least=1)
    with pytest.raises(ValueError, match=r"\[problems, samples\]"):
        half_coverage([[0, 1]], [[0, 1, 1]])
