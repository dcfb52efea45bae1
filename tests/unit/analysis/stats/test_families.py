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


NAMES = [f"f{i}" for i in range(6)]


def test_new_families_have_the_sign_interval_of_their_median() -> None:
    """Seeds that move nothing: six families 0.0, 0.7, 1, 2, 3.4, 4.1 have the interval of order statistics.

    γ(1) = 1 − 2/64 = 0.96875, γ(2) = 1 − 14/64 = 0.78125, so I = 0.01875 / 0.1875 = 0.1 and the second has
    the weight λ = 5 · 0.1 / (1 + 4 · 0.1) = 5/14: from 0.7 · 5/14 = 0.25 to 4.1 − 0.7 · 5/14 = 3.85.
    """
    effects = np.tile([2.0, 0.0, 4.1, 0.7, 1.0, 3.4], (3, 1))
    found = over_families(effects, NAMES)
    assert (found.estimate, found.low, found.high) == pytest.approx((1.5, 0.25, 3.85))
    assert found.method == "median of families" and found.p_value is None and found.reason is None
    twice = over_families(np.repeat(effects, 2, axis=1), list(np.repeat(NAMES, 2)))  # each family once
    assert (twice.low, twice.high) == pytest.approx((0.25, 3.85)) and twice.n == 6


def test_its_ends_are_order_statistics_where_they_cover_exactly_the_level() -> None:
    """scipy inverts the same test without interpolation: ends at its own coverage are the same."""
    x = np.random.default_rng(5).normal(size=15)
    for d in (2, 3, 4, 5):
        level = 1 - 2 * sps.binom.cdf(d - 1, 15, 0.5)
        found = over_families(np.tile(x, (3, 1)), [f"f{i:02d}" for i in range(15)], level)
        ends = sps.quantile_test(x, q=0, p=0.5).confidence_interval(level - 1e-9)
        assert (found.low, found.high) == pytest.approx((ends.low, ends.high))


def test_what_moves_all_families_of_a_seed_widens_it() -> None:
    """Seeds add −1, 0, 1 to every family: se = 1/√3, h = 4.3027 / √3 = 2.4841, and 1.25² + h² = 7.7333."""
    effects = np.array([2.0, 0.0, 4.1, 0.7, 1.0, 3.4]) + np.array([[-1.0], [0.0], [1.0]])
    found = over_families(effects, NAMES)
    h = sps.t.ppf(0.975, 2) / 3**0.5
    low, high = 1.5 - (1.25**2 + h**2) ** 0.5, 1.5 + (2.35**2 + h**2) ** 0.5
    assert (found.low, found.high) == pytest.approx((low, high)) and "seeds" in found.varies


def test_too_few_families_or_seeds_have_no_interval() -> None:
    five = over_families(np.arange(15.0).reshape(3, 5), NAMES[:5])
    assert five.low is None and five.reason == "5 families: 6 are needed for an interval"
    assert over_families(np.arange(15.0).reshape(3, 5), NAMES[:5], 0.9).low is not None  # 1 − 2/32 = 0.94
    assert over_families(EFFECTS[:, :2], ["a", "a"]).reason == "1 family: 6 are needed for an interval"
    two = over_families(np.arange(12.0).reshape(2, 6), NAMES)
    assert two.low is None and two.reason == "2 seeds: 3 are needed for an interval"
    flat = over_families(np.full((3, 6), 0.1), NAMES)
    assert flat.reason == "no spread between families: an interval is not estimable"


@pytest.mark.parametrize("carries", [False, True])
def test_its_coverage_holds_where_families_and_seeds_are_drawn_anew(carries: bool) -> None:
    """One family in six makes the effect, or all do alike; a t over family means fails the first."""
    rng = np.random.default_rng(3)
    hits, t_hits, runs = 0, 0, 600
    big = np.where(rng.random(200_000) < 1 / 6, 24, rng.normal(1.5, 1.3, 200_000))
    for _ in range(runs):
        own = rng.choice(big, 6) if carries else rng.normal(5, 9, 6)
        effects = own + rng.normal(0, 2, (5, 6)) + rng.normal(0, 1.5, (5, 1))
        found = over_families(effects, NAMES)
        hits += found.low <= (np.median(big) if carries else 5) <= found.high
        ends = sps.ttest_1samp(effects.mean(axis=0), 0).confidence_interval(0.95)
        t_hits += ends[0] <= (big.mean() if carries else 5) <= ends[1]
    assert hits / runs == pytest.approx(0.95, abs=0.03)
    assert (t_hits / runs < 0.75) == carries


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


@pytest.mark.parametrize(("large", "carries"), [(0.06, False), (0.16, True)])
def test_of_two_families_one_carries_an_effect_by_three_quarters(large: float, carries: bool) -> None:
    """The other has 0.04, told from 0 by no interval: shares of 60 and 80 %."""
    other = [0.12, -0.04, 0.04]  # mean 0.04, sd 0.08
    effects = np.array([[large + e, small] for e, small in zip((0.01, -0.01, 0.0), other, strict=True)])
    most = largest_family(effects, ["chain", "dag"])
    assert most is not None and most.family == "chain" and most.rest is not None
    assert most.share == pytest.approx(large / (large + 0.04)) and most.rest.low < 0 < most.rest.high
    assert most.carries is carries
