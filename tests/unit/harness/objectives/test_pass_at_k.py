"""Advantages of the best of k: against all subsets, the paper's closed form, and the gradient of pass@k."""

from __future__ import annotations

from itertools import combinations, product
from math import comb, sqrt
from statistics import mean, pstdev

import pytest
import torch

from harness.objectives.advantages import Std, group_normalized, pass_at_k


def of(rewards: list[float], k: int, std: Std = "population") -> list[float]:
    ids = torch.zeros(len(rewards), dtype=torch.long)
    found = pass_at_k(
        rewards=torch.tensor(rewards, dtype=torch.float64), group_ids=ids, k=k, std=std, eps=0.0
    )
    return found.tolist()


@pytest.mark.parametrize("k", [1, 2, 3, 5])
@pytest.mark.parametrize("std", ["none", "population"])
@pytest.mark.parametrize("seed", range(6))
def test_it_is_what_all_subsets_say(k: int, std: Std, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rewards = (torch.randint(-2, 4, (7,), generator=generator) / 3).tolist()  # with ties, some below 0
    best = {subset: max(rewards[i] for i in subset) for subset in combinations(range(7), k)}
    spread = pstdev(best.values())
    assert spread > 0.05
    scale = 1.0 if std == "none" else spread
    expected = [
        (mean(x for subset, x in best.items() if i in subset) - mean(best.values())) / scale for i in range(7)
    ]
    assert of(rewards, k, std) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("right", "k"), [(1, 2), (3, 2), (3, 4), (5, 3)])
def test_it_is_the_papers_closed_form(right: int, k: int) -> None:
    """arXiv:2508.10751: R = 1 - C(wrong, k) / C(n, k), and sigma = sqrt(R (1 - R))."""
    size, wrong = 8, 8 - right
    best = 1 - comb(wrong, k) / comb(size, k)
    sigma = sqrt(best * (1 - best))
    of_right = (1 - best) / sigma
    of_wrong = (1 - best - comb(wrong - 1, k - 1) / comb(size - 1, k - 1)) / sigma
    found = of([1.0] * right + [0.0] * wrong, k)
    assert found == pytest.approx([of_right] * right + [of_wrong] * wrong, abs=1e-12)


def test_numbers_by_hand() -> None:
    # Rewards 1, 0, 0 and pairs: bests 1, 1, 0, mean 2/3. With the right one 1; with a wrong one 1 and 0.
    assert of([1.0, 0.0, 0.0], 2, "none") == pytest.approx([1 / 3, 1 / 2 - 2 / 3, 1 / 2 - 2 / 3])
    # one of four, k = 2: 3 of 6 pairs; 1 - 1/2; a wrong one is in one of three such pairs
    assert of([0.0, 1.0, 0.0, 0.0], 2, "none") == pytest.approx([-1 / 6, 1 / 2, -1 / 6, -1 / 6])


def test_with_one_sample_it_is_the_normalised_reward() -> None:
    rewards, ids = torch.tensor([1.0, 0.5, 0.0, 3.0, 1.0]), torch.tensor([4, 4, 4, 9, 9])
    found = pass_at_k(rewards=rewards, group_ids=ids, k=1, std="population", eps=1e-6)
    torch.testing.assert_close(
        found, group_normalized(rewards=rewards, group_ids=ids, std="population", eps=1e-6)
    )


@pytest.mark.parametrize(("size", "k"), [(4, 1), (4, 2), (5, 3)])
def test_its_expected_gradient_is_that_of_pass_at_k(size: int, k: int) -> None:
    """Summed over every group of right and wrong samples of a policy that is right with probability p.

    Centred, not divided: E[sum_i A_i d log pi(o_i)] = (n/k - 1) d pass@k. Subsets with i give (n/k) d pass@k;
    the mean over all subsets, which depends on the samples too, takes one of it away.
    """
    p, found = 0.3, 0.0
    for outcome in product([1.0, 0.0], repeat=size):
        probability = p ** sum(outcome) * (1 - p) ** (size - sum(outcome))
        slopes = [1 / p if r else -1 / (1 - p) for r in outcome]
        found += probability * sum(a * s for a, s in zip(of(list(outcome), k, "none"), slopes, strict=True))
    assert found == pytest.approx((size / k - 1) * k * (1 - p) ** (k - 1), rel=1e-9)


def test_subsets_that_are_all_as_good_teach_exactly_nothing() -> None:
    # One wrong sample in seven, rewards 1.2: any two hold a right one.
    assert of([1.2] * 6 + [0.0], 2) == [0.0] * 7
    assert of([1.2] * 7, 3) == [0.0] * 7
    assert of([1.0, 0.0], 2) == [0.0, 0.0]


def test_a_group_smaller_than_k_is_refused() -> None:
    with pytest.raises(ValueError, match="k=3: a group holds 2 samples; lower k"):
        pass_at_k(rewards=torch.zeros(5), group_ids=torch.tensor([0, 0, 0, 1, 1]), k=3, std="none", eps=0.0)
