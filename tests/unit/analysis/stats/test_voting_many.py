"""Votes of hundreds of samples: their variance by simulation, and that it takes no time."""

from __future__ import annotations

import time

import numpy as np
import pytest

from analysis.stats import voting
from analysis.stats.metrics import maj_at_k, vote_accuracy


@pytest.mark.parametrize(
    "votes", [(20, (5, 10, 15), 4), (3, (1, 1, 2, 3, 5), 10), (30, (28,), 2), (9, (9, 9, 9), 9)]
)
def test_the_simulated_variance_is_near_the_exact_one(votes: tuple[int, tuple[int, ...], int]) -> None:
    right, wrong, abstained = votes
    n = right + sum(wrong) + abstained
    assert n <= voting.EXACT_VOTES
    exact = voting.vote_variance(right, wrong, abstained, n)
    assert voting._simulated(right, wrong, abstained) == pytest.approx(exact, rel=0.05)


def test_all_draws_can_abstain() -> None:
    """One right sample among 99 that abstain: it is drawn at least once in 1 − 0.99^100 of all draws."""
    drawn = 1 - 0.99**100
    assert voting.vote_variance(1, (), 99, 100) == pytest.approx(drawn * (1 - drawn), rel=0.05)


def test_hundreds_of_samples_take_no_time_and_the_value_alone_is_the_same() -> None:
    rng = np.random.default_rng(0)
    correct = [[bool(x) for x in row] for row in rng.random((40, 256)) < rng.random((40, 1))]
    answers = [[-1 if c else int(rng.integers(60)) for c in row] for row in correct]
    start = time.perf_counter()
    found = maj_at_k(correct, answers, 256)
    assert time.perf_counter() - start < 5  # exactly, it is more than ten minutes
    assert found.se_sampling is not None and 0 < found.se_sampling < 0.5
    assert vote_accuracy(correct, answers, 256) == found.value
    few = [row[:5] for row in correct], [row[:5] for row in answers]
    assert vote_accuracy(*few, 3) == maj_at_k(*few, 3).value
