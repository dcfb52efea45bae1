"""pass@k at every k against all subsets; k* by hand, by its coverage, and in the committed study `bridge`."""

from __future__ import annotations

import csv
from collections import defaultdict
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from analysis.stats.coverage import never_then_often
from analysis.stats.crossing import crossing, pass_at_every_k

BRIDGE = Path(__file__).parents[1] / "older_studies" / "bridge" / "problems.csv"


def test_pass_at_every_k_counts_all_subsets() -> None:
    n, rights = 6, [0, 1, 3, 6]
    found = pass_at_every_k(rights, n)
    for k in range(1, n + 1):
        subsets = list(combinations(range(n), k))
        shares = [sum(any(i < c for i in s) for s in subsets) / len(subsets) for c in rights]
        assert found[k - 1] == pytest.approx(np.mean(shares))
    assert pass_at_every_k([1], 256)[[0, 127, 255]] == pytest.approx([1 / 256, 0.5, 1.0])
    with pytest.raises(ValueError, match="from 0 to n=2"):
        pass_at_every_k([3], 2)


def test_k_star_and_its_interval_by_hand() -> None:
    """Differences base − arm of three seeds at k = 1..4, half width t(2) · sd / √3 = 4.303 · sd / 1.732."""
    d = np.array(
        [
            [-3.0, -1.0, 0.5, 3.0],
            [-3.2, -0.5, 1.0, 3.2],
            [-2.8, -1.5, 0.0, 2.8],
        ]
    )
    # Means −3, −1, 0.5, 3; sds 0.2, 0.5, 0.5, 0.2; half widths 0.50, 1.24, 1.24, 0.50. So only k = 1 is shown
    # below 0 and only k = 4 above it.
    found = crossing(d + 10, np.full((3, 4), 10.0))
    assert (found.k, found.low, found.high) == (3, 2, 4) and found.text == "3 [2, 4]"
    turned = crossing(np.full((3, 4), 10.0), d + 10)  # the base is ahead at k = 1 already
    assert (turned.k, turned.low, turned.high) == (1, 1, None) and turned.text == "1 [1, >4]"


def test_an_arm_that_stays_ahead_is_never_overtaken() -> None:
    d = -np.array([[3.0, 2.0, 1.0], [3.1, 2.1, 1.1], [2.9, 1.9, 0.9]])
    found = crossing(d, np.zeros((3, 3)))
    # half widths 0.25: shown below at every k
    assert (found.k, found.low, found.high) == (None, 4, None) and found.text == ">3 [>3, >3]"


def test_few_seeds_have_no_interval_and_equal_curves_decide_nothing() -> None:
    two = crossing(np.array([[1.0, 2.0], [1.0, 3.0]]), np.array([[2.0, 2.0], [2.0, 2.0]]))
    assert (two.k, two.low, two.high) == (2, None, None) and two.text == "2" and two.reason
    same = crossing(np.ones((3, 2)), np.ones((3, 2)))
    assert (same.k, same.low, same.high) == (1, 1, None)
    with pytest.raises(ValueError, match=r"\[seeds, n\]"):
        crossing(np.ones((3, 2)), np.ones((2, 2)))


def test_the_interval_covers_k_star() -> None:
    """Seeds whose whole curve shifts: D(k) = (k − 6.5)/10 crosses 0 between 6 and 7, so k* = 7 of 12."""
    rng, k = np.random.default_rng(3), np.arange(1, 13)
    truth = (k - 6.5) / 10
    hits = 0
    for _ in range(600):
        d = truth + rng.normal(0, 0.3, (5, 1)) + rng.normal(0, 0.05, (5, 12))
        found = crossing(d, np.zeros_like(d))
        assert found.low is not None
        hits += found.low <= 7 and (found.high is None or found.high >= 7)
    assert hits / 600 > 0.95 - 3 * 0.009  # nominal less three standard errors
    assert hits / 600 < 1.0  # and an interval, not everything


def right_samples() -> tuple[dict[str, list[np.ndarray]], dict[str, list[np.ndarray]]]:
    """Right samples of 16 of each problem, by arm and seed: of the bases, and of the trained arms."""
    found: tuple[dict[str, list[np.ndarray]], ...] = (defaultdict(list), defaultdict(list))
    for row in csv.DictReader(BRIDGE.open()):
        found[row["step"] != "0"][row["arm"]].append(np.array(row["right"].split(), dtype=int))
    return found


@pytest.mark.parametrize(("arm", "k"), [("sft", 8), ("kl", 12), ("clip", 4)])
def test_k_star_of_the_committed_study_on_even_k(arm: str, k: int) -> None:
    """The published reading looked at even k alone; over all k the base overtakes at or just before it."""
    base, trained = right_samples()
    curves = [np.stack([pass_at_every_k(c, 16) for c in of[arm]]) for of in (base, trained)]
    found = crossing(*curves)
    assert found.k in (k - 1, k) and found.low is not None and found.low <= found.k
    even = crossing(curves[0][:, 1::2], curves[1][:, 1::2])
    assert even.k is not None and 2 * even.k == k


def test_coverage_of_the_committed_study() -> None:
    """Never of 16 before and at least 4 of 16 after: 0.8 % (sft), 0.1 % (kl). Lost 12.1, won 9.6 % (sft)."""
    base, trained = right_samples()

    def share(first: list[np.ndarray], second: list[np.ndarray], least: int) -> float:
        pairs = zip(first, second, strict=True)
        return 100 * float(np.mean([never_then_often(a, b, least=least) for a, b in pairs]))

    assert round(share(base["sft"], trained["sft"], 4), 1) == 0.8
    assert round(share(base["kl"], trained["kl"], 4), 1) == 0.1
    assert round(share(trained["sft"], base["sft"], 1), 1) == 12.1
    assert round(share(base["sft"], trained["sft"], 1), 1) == 9.6
