"""The metrics against hand-worked numbers and against enumeration of every subset or outcome."""

from __future__ import annotations

from collections import Counter
from itertools import combinations, product
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.stats.metrics import (
    avg_at_k,
    best_constant_answer,
    decompose_shares,
    kind_shares,
    maj_at_k,
    pair_auc,
    pass_at_k,
    pass_curve,
)


def test_avg_at_k_by_hand() -> None:
    # p = 3/4 and 0/4: mean 3/8. Sampling: (3/4 · 1/4 / 3 + 0) / 2² = (1/16) / 4 = 1/64, se 1/8.
    # Problems: sd of (0.75, 0) = 0.75 / sqrt(2), over sqrt(2): 0.375.
    result = avg_at_k([[True, True, True, False], [False] * 4])
    assert result.value == 0.375
    assert result.se_sampling == pytest.approx(0.125)
    assert result.se_problems == pytest.approx(0.375)
    assert (result.n_problems, result.k, result.per_problem) == (2, 4, (0.75, 0.0))


def test_standard_errors_that_the_data_cannot_give_are_none() -> None:
    assert avg_at_k([[True], [False]]).se_sampling is None
    assert avg_at_k([[True, False]]).se_problems is None
    assert maj_at_k([[True]], [["a"]], 1).se_sampling is None
    assert pass_at_k([[True]], 1).se_sampling is None


def test_a_curve_is_pass_at_each_k() -> None:
    correct = [[True, False, False, False], [True, True, False, True], [False] * 4]
    assert pass_curve(correct, [1, 2, 4]) == {k: pass_at_k(correct, k).value for k in (1, 2, 4)}
    with pytest.raises(ValueError, match="k=5: problem 0 has 4 samples"):
        pass_curve(correct, [1, 5])


def test_pass_at_k_by_hand() -> None:
    # n=4, c=1, k=2: 1 − C(3,2)/C(4,2) = 1 − 3/6 = 1/2. Variance 1/4 − C(3,4)/C(4,4) = 1/4: se 1/2.
    result = pass_at_k([[True, False, False, False]], 2)
    assert result.value == 0.5
    assert result.se_sampling == pytest.approx(0.5)


@given(st.integers(2, 8), st.data())
def test_pass_at_k_is_the_mean_over_subsets(n: int, data: st.DataObject) -> None:
    row = data.draw(st.lists(st.booleans(), min_size=n, max_size=n))
    k = data.draw(st.integers(1, n))
    subsets = [any(s) for s in combinations(row, k)]
    assert pass_at_k([row], k).value == pytest.approx(sum(subsets) / len(subsets))


@pytest.mark.parametrize(("n", "k"), [(4, 1), (4, 2), (6, 3), (7, 2)])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_pass_at_k_variance_is_unbiased_when_2k_fits(n: int, k: int, p: float) -> None:
    # E over c ~ Binomial(n, p) of the estimated variance must equal the true variance of the estimator.
    values, variances, weights = [], [], []
    for row in product([False, True], repeat=n):
        result = pass_at_k([row], k)
        values.append(result.value)
        variances.append(result.se_sampling**2)
        weights.append(p ** sum(row) * (1 - p) ** (n - sum(row)))
    mean = np.dot(weights, values)
    assert np.dot(weights, variances) == pytest.approx(np.dot(weights, np.square(values)) - mean**2)


def test_pass_at_n_uses_the_empirical_binomial() -> None:
    # n=2, c=1, k=2: under Binomial(2, 1/2) the score is 1 unless both fail, P = 3/4: variance 3/16.
    assert pass_at_k([[True, False]], 2).se_sampling == pytest.approx(sqrt(3 / 16))


def test_pass_at_1_is_avg() -> None:
    rows = [[True, False, False], [True, True, False], [False] * 3]
    one, avg = pass_at_k(rows, 1), avg_at_k(rows)
    assert one.value == pytest.approx(avg.value)
    assert one.se_sampling == pytest.approx(avg.se_sampling)


def _vote(keys: tuple[str | None, ...]) -> float:
    """Brute force: the right answer is "r"."""
    votes = Counter(k for k in keys if k is not None)
    if not votes:
        return 0.0
    top = max(votes.values())
    winners = [k for k, v in votes.items() if v == top]
    return 1 / len(winners) if "r" in winners else 0.0


def _maj(row: tuple[str | None, ...], k: int):
    return maj_at_k([[a == "r" for a in row]], [row], k)


def test_maj_by_hand() -> None:
    # r r w, k=2: {rr} 1, {rw} 1/2 twice -> 2/3. Plain vote of all three: 1.
    assert _maj(("r", "r", "w"), 2).value == pytest.approx(2 / 3)
    assert _maj(("r", "r", "w"), 3).value == 1.0
    # One vote against two abstentions wins; all abstaining is wrong; a three-way tie is 1/3.
    assert _maj(("r", None, None), 3).value == 1.0
    assert _maj((None, None), 2).value == 0.0
    assert _maj(("r", "a", "b"), 3).value == pytest.approx(1 / 3)


keys = st.lists(st.sampled_from(["r", "a", "b", "c", None]), min_size=2, max_size=8).map(tuple)


@settings(max_examples=150, deadline=None)
@given(keys, st.data())
def test_maj_is_the_mean_over_subsets(row: tuple[str | None, ...], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(row)))
    subsets = [_vote(s) for s in combinations(row, k)]
    assert _maj(row, k).value == pytest.approx(sum(subsets) / len(subsets), abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(["r", "a", "b", None]), min_size=2, max_size=5).map(tuple))
def test_plain_vote_variance_is_the_exact_bootstrap(row: tuple[str | None, ...]) -> None:
    scores = np.array([_vote(s) for s in product(row, repeat=len(row))])  # n^n equally likely redraws
    assert _maj(row, len(row)).se_sampling == pytest.approx(scores.std(), abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(keys.filter(lambda r: len(r) > 2), st.data())
def test_maj_jackknife_against_explicit_deletion(row: tuple[str | None, ...], data: st.DataObject) -> None:
    n = len(row)
    k = data.draw(st.integers(1, n - 1))
    deleted = []
    for j in range(n):
        subsets = [_vote(s) for s in combinations(row[:j] + row[j + 1 :], k)]
        deleted.append(sum(subsets) / len(subsets))
    expected = sqrt((n - 1) / n * np.sum((np.array(deleted) - np.mean(deleted)) ** 2))
    assert _maj(row, k).se_sampling == pytest.approx(expected, abs=1e-7)


def test_maj_at_64_stays_exact() -> None:
    # 40 r, 24 w, k=63: dropping any one sample leaves r ahead; k=1 is the plain accuracy.
    row = ("r",) * 40 + ("w",) * 24
    assert _maj(row, 63).value == pytest.approx(1.0, abs=1e-12)
    assert _maj(row, 1).value == pytest.approx(40 / 64, abs=1e-12)
    assert _maj(row, 1).se_sampling == pytest.approx(sqrt(40 * 24 / 64**2 / 63), abs=1e-9)


def test_correct_samples_are_one_class() -> None:
    # "1/2" and "0.5" are both right; together they beat the two "3"s only as one class of three.
    result = maj_at_k([[True, True, True, False, False]], [["1/2", "0.5", "1/2", "3", "3"]], 5)
    assert result.value == 1.0


@pytest.mark.parametrize(
    ("correct", "answers", "k", "words"),
    [
        ([[True]], [["a"]], 2, "problem 0 has 1 samples"),
        ([[True]], [["a"]], 0, "k=0"),
        ([], [], 1, "no problems"),
        ([[True]], [[None]], 1, "no extracted answer"),
        ([[True, False]], [["a", "a"]], 1, "both correct and wrong"),
        ([[True, False]], [["a"]], 1, "has 1, correct has 2"),
    ],
)
def test_bad_votes_are_named(correct, answers, k: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        maj_at_k(correct, answers, k)


def test_decompose_gain_by_hand() -> None:
    # Before: 2 direct (0 right), 2 stepped (1 right): p = 1/2, 1/2; a = 0, 1/2; accuracy 1/4.
    # After: 1 direct (0 right), 3 stepped (3 right): p' = 1/4, 3/4; a' = 0, 1; accuracy 3/4.
    # Choice: (−1/4)·0 + (1/4)·1/2 = 1/8. Skill: 1/4·0 + 3/4·1/2 = 3/8. Sum 1/2 = 3/4 − 1/4.
    before = kind_shares([[False, False, True, False]], [[False, False, True, True]])
    after = kind_shares([[False, True, True, True]], [[False, True, True, True]])
    assert (before, after) == (
        {"direct": (0.5, 0.0), "stepped": (0.5, 0.5)},
        {"direct": (0.25, 0.0), "stepped": (0.75, 1.0)},
    )
    result = decompose_shares(before, after)
    assert (result.total, result.from_choice, result.from_skill) == pytest.approx((1 / 2, 1 / 8, 3 / 8))


flags = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=6)


@given(flags, flags)
def test_decomposition_adds_up_to_the_change(before, after) -> None:
    c0, s0 = zip(*before, strict=True)
    c1, s1 = zip(*after, strict=True)
    result = decompose_shares(kind_shares([c0], [s0]), kind_shares([c1], [s1]))
    assert result.total == pytest.approx(np.mean(c1) - np.mean(c0))


def test_a_kind_that_is_new_counts_as_choice() -> None:
    # Before all direct and wrong, after all stepped and right: no step was taken before, so Δ is choice.
    result = decompose_shares(kind_shares([[False]], [[False]]), kind_shares([[True]], [[True]]))
    assert (result.from_choice, result.from_skill) == (1.0, 0.0)


def test_pair_auc_counts_a_tie_half() -> None:
    # One right sample at .5 against wrong ones at .5 (a tie) and .1 (won): 1.5 of 2 pairs.
    assert pair_auc([[True, False, False]], [[0.5, 0.5, 0.1]]) == 0.75
    assert pair_auc([[True, True]], [[0.5, 0.1]]) is None


def test_best_constant_answer() -> None:
    assert best_constant_answer(["7", "3", "7", "1"]) == ("7", 0.5)
    assert best_constant_answer(["b", "a"]) == ("a", 0.5)
    with pytest.raises(ValueError, match="empty"):
        best_constant_answer([])
