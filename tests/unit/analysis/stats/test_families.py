"""Effects by family: numbers worked by hand, and when one family carries an effect."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats as sps

from analysis.stats.families import by_family, largest_family, over_families

# Two seeds more than needed, five problems: a a b b c. Family means a 10, b 2, c 0 (in points / 100).
EFFECTS = np.array(
    [
        [0.10, 0.12, 0.02, 0.02, 0.00],
        [0.08, 0.10, 0.03, 0.01, 0.01],
        [0.10, 0.10, 0.00, 0.04, -0.01],
    ]
)
FAMILIES = ["a", "a", "b", "b", "c"]


def test_each_family_has_its_mean_interval_and_share() -> None:
    a, b, c = by_family(EFFECTS, FAMILIES)
    assert [x.family for x in (a, b, c)] == ["a", "b", "c"] and [x.num_problems for x in (a, b, c)] == [
        2,
        2,
        1,
    ]
    # a by seed: 0.11, 0.09, 0.10: mean 0.10, sd 0.01, half width 4.303 · 0.01 / √3 = 0.0248.
    assert a.interval.estimate == pytest.approx(0.10)
    assert a.interval.high == pytest.approx(0.10 + sps.t.ppf(0.975, 2) * 0.01 / 3**0.5)
    # b by seed: 0.02, 0.02, 0.02: no spread, no interval. c: 0, 0.01, −0.01.
    assert b.interval.low is None and b.interval.estimate == pytest.approx(0.02)
    assert c.interval.estimate == pytest.approx(0.0)
    # The whole: 0.72 / 15 = 0.048. Sums: a 0.60, b 0.12, c 0.00: shares 5/6, 1/6, 0.
    assert [x.share for x in (a, b, c)] == pytest.approx([5 / 6, 1 / 6, 0], abs=1e-12)


def test_new_families_vary_by_the_spread_of_family_means() -> None:
    found = over_families(EFFECTS, FAMILIES)
    expected = sps.ttest_1samp([0.10, 0.02, 0.0], 0).confidence_interval(0.95)
    assert found.estimate == pytest.approx(0.04) and found.df == 2  # each family once: not 0.048
    assert (found.low, found.high) == pytest.approx(tuple(expected)) and "families" in found.varies
    two = over_families(EFFECTS[:, :4], FAMILIES[:4])
    assert two.low is None and two.reason == "2 families: 3 are needed for an interval"
    assert over_families(EFFECTS[:, :2], ["a", "a"]).reason == "1 family: 3 are needed for an interval"
    flat = over_families(np.full((3, 3), 0.1), ["a", "b", "c"])
    assert flat.reason == "no spread between families: an interval is not estimable"


def test_its_coverage_holds_where_families_are_drawn_anew() -> None:
    """sd over families 9 as measured; a t over seeds of the same studies covers far less."""
    rng = np.random.default_rng(3)
    names = [f"f{i % 6}" for i in range(30)]
    hits, seeds_hits, runs = 0, 0, 600
    for _ in range(runs):
        means = rng.normal(5, 9, 6)
        effects = np.array([[means[i % 6] for i in range(30)]]) + rng.normal(0, 6, (5, 30))
        interval = over_families(effects, names)
        hits += interval.low <= 5 <= interval.high
        over_seeds = sps.ttest_1samp(effects.mean(axis=1), 0).confidence_interval(0.95)
        seeds_hits += over_seeds[0] <= 5 <= over_seeds[1]
    assert hits / runs == pytest.approx(0.95, abs=0.03) and seeds_hits / runs < 0.6


def test_one_family_carries_an_effect_that_the_others_do_not_show() -> None:
    most = largest_family(EFFECTS, FAMILIES)
    assert most is not None and (most.family, most.num_families) == ("a", 3)
    # Without a, by seed: 0.04/3, 0.05/3, 0.03/3: mean 0.0133, sd 1/300, half width 0.0083: above 0.
    assert most.rest is not None and most.rest.low == pytest.approx(
        0.04 / 3 - sps.t.ppf(0.975, 2) / 300 / 3**0.5
    )
    assert most.rest.low > 0 and not most.carries
    noisy = EFFECTS.copy()
    noisy[0, 4], noisy[1, 4] = 0.09, -0.09  # c moves by seed: 0 is inside without a
    carried = largest_family(noisy, FAMILIES)
    assert carried is not None and carried.family == "a" and carried.carries
    # Seeds do not tell the others from 0 (sd 0.3). 0.10 of 0.21 is less than half, 0.13 of 0.24 is more.
    others = [[0.38, 0.03], [-0.22, 0.03], [0.08, 0.03]]
    for first, carries in ((0.10, False), (0.13, True)):
        most = largest_family([[first, *row] for row in others], ["a", "b", "c"])
        assert most is not None and most.family == "a" and most.carries == carries


def test_the_largest_is_the_one_in_the_direction_of_the_effect() -> None:
    effects = np.tile([-0.30, 0.10, -0.05], (4, 1)) + np.arange(4)[:, None] * 0.001
    most = largest_family(effects, ["a", "b", "c"])
    assert most is not None and most.family == "a" and most.share > 1  # b goes the other way


def test_one_family_alone_none_and_wrong_lists() -> None:
    alone = largest_family(EFFECTS[:, :2], ["a", "a"])
    assert alone is not None and alone.rest is None and alone.carries and alone.share == 1
    assert largest_family(EFFECTS, [None] * 5) is None
    assert largest_family(np.zeros((3, 2)), ["a", "b"]) is None
    named = by_family(EFFECTS, ["a", "a", "b", "b", None])
    assert [part.family for part in named] == ["a", "b", "unnamed"]
    with pytest.raises(ValueError, match="families: 2 for 5 problems"):
        by_family(EFFECTS, ["a", "b"])
