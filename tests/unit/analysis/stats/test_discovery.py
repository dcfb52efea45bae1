"""Problems and solutions beyond the base: by hand, and against every way to halve the samples."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from analysis.stats.discovery import beyond_base, beyond_by_chance, novelty


def test_problems_beyond_the_base_by_hand() -> None:
    # arm of 4: 2, 1, 0, 4 right, pass@1 .5, .25, 0, 1; base of 4: 0, 1, 0, 2 right
    arm, base = [2, 1, 0, 4], [0, 1, 0, 2]
    # pass@4 of the base 0, 1, 0, 1, mean 1/2: the first problem's 1/2 is not above the mean
    assert beyond_base(arm, base, arm_samples=4, base_samples=4, k=4) == 0.0
    assert beyond_base([3, 1, 0, 4], base, arm_samples=4, base_samples=4, k=4) == 0.25
    # pass@2: 0, 1/2, 0, 1 − C(2,2)/C(4,2) = 5/6, mean 1/3: the first and the last
    assert beyond_base(arm, base, arm_samples=4, base_samples=4, k=2) == 0.5
    # pass@1: 0, 1/4, 0, 1/2, mean 3/16: the second is not above its own
    assert beyond_base(arm, base, arm_samples=4, base_samples=4, k=1) == 0.5
    # 4 of 16 is the same pass@1 as 1 of 4
    assert beyond_base([4], [1], arm_samples=16, base_samples=4, k=1) == 0.0
    with pytest.raises(ValueError, match="k=5"):
        beyond_base(arm, base, arm_samples=4, base_samples=4, k=5)


def test_an_untrained_model_is_not_beyond_itself() -> None:
    # Problems that are solved once in 1,500 samples: the base's pass@256 is 1 − (1 − 1/1500)^256 = 16 %, and
    # a second set of its own samples solves 0.84 × 0.16 = 13 % that the first did not, by one hit of 256 each
    rng = np.random.default_rng(0)
    first, second = rng.binomial(256, 1 / 1500, size=(2, 400))
    assert np.mean((first == 0) & (second > 0)) > 0.1
    assert beyond_base(second, first, arm_samples=256, base_samples=256, k=256) == 0.0
    assert beyond_by_chance(first, samples=256) == 0.0
    # a model that solves half of them every third time is
    trained = np.where(np.arange(400) < 200, 85, second)
    share = beyond_base(trained, first, arm_samples=256, base_samples=256, k=256)
    assert share == np.mean(first[:200] == 0) / 2


@pytest.mark.parametrize("samples", [2, 5, 6])
def test_chance_is_the_mean_over_all_halvings(samples: int) -> None:
    counts = [0, 0, 1, 2]
    half, total, ways = samples // 2, 0.0, 0
    mean = np.mean([_pass(c, samples, half) for c in counts])
    for chosen in combinations(range(samples), half):
        rest = [i for i in range(samples) if i not in chosen]
        ways += 1
        for c in counts:
            hits = [i < c for i in range(samples)]
            none_here = not any(hits[i] for i in chosen)
            total += none_here and sum(hits[i] for i in rest) / len(rest) > mean + 1e-12
    assert beyond_by_chance(counts, samples=samples) == pytest.approx(total / ways / len(counts))


def _pass(right: int, samples: int, k: int) -> float:
    """pass@k over all choices of k samples."""
    chosen = list(combinations(range(samples), k))
    return sum(any(i < right for i in some) for some in chosen) / len(chosen)


def test_chance_needs_two_samples() -> None:
    with pytest.raises(ValueError, match="samples=1"):
        beyond_by_chance([1], samples=1)


def test_new_templates_by_hand() -> None:
    valid = np.array([[True, True, False], [True, False, True]])
    ours = [["a", "b", "c"], ["a", None, "d"]]
    base = [["a", None, "x", None], ["b", "b", None, "x"]]
    logprobs = [[-1.0, -3.0, None], [-1.2, None, -9.0]]
    found = novelty(valid, ours, base, logprobs)
    # first problem: a is the base's, b is not; second: neither a nor d is, and d is of no problem
    assert (found.valid, found.new, found.unseen) == (4, 3, 1)
    # b −3.0, a −1.2, d −9.0; log(1/4) = −1.386: b and d are rarer
    assert found.logprob == pytest.approx(-4.4) and found.rarer == 2
    bare = novelty(valid, ours, base, None)
    assert (bare.new, bare.logprob, bare.rarer) == (3, None, None)
    none = novelty(np.zeros((2, 3), bool), ours, base, logprobs)
    assert (none.valid, none.new, none.logprob, none.rarer) == (0, 0, None, 0)
    with pytest.raises(ValueError, match="templates"):
        novelty(valid, ours, base[:1], logprobs)
