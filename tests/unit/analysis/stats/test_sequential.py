"""Sequential intervals and p-values against simulated studies that look, and stop, by their rule."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import integrate, stats
from scipy.special import stdtr, stdtrit

from analysis.stats.contrast import Context, Measured, judged
from analysis.stats.intervals import paired_t, welch_t
from analysis.stats.margins import Margin
from analysis.stats.sequential import Looks, schedule
from analysis.stats.stopping import verdict_levels, width_levels

NUM = 60_000  # simulated studies; a share of 0.05 has a standard error of 0.0009
PLANS = [(4, 2, 20), (4, 1, 12), (6, 3, 18), (5, 5, 40)]
Array = NDArray[Any]


@dataclass(frozen=True)
class Simulated:
    """Studies [N, K] at each planned look: estimate, standard error, plain two-sided p against 0."""

    counts: Array
    mean: Array
    se: Array
    df: Array

    def scaled(self, sd: float) -> Simulated:
        """Scale the studies to another spread."""
        return Simulated(self.counts, sd * self.mean, sd * self.se, self.df)

    def plain_p(self, shift: float = 0.0) -> Array:
        return np.asarray(2 * stdtr(self.df, -np.abs((self.mean - shift) / self.se)))

    def half(self, levels: Array) -> Array:
        return np.asarray(-stdtrit(self.df[:1], levels / 2) * self.se)  # [1, K]: the paired df, alike in all


def paired(plan: tuple[int, int, int], *, effect: float = 0.0, sd: float = 1.0, num: int = NUM) -> Simulated:
    counts = np.array(schedule(*plan))
    d = effect + sd * np.random.default_rng(hash(plan) % 2**32).standard_normal((num, counts[-1]))
    total, squares = (np.cumsum(x, axis=1)[:, counts - 1] for x in (d, d**2))
    mean = total / counts
    se = np.sqrt((squares - counts * mean**2) / (counts - 1) / counts)
    return Simulated(counts, mean, se, np.broadcast_to(counts - 1, mean.shape))


def welch(plan: tuple[int, int, int], *, sds: tuple[float, float]) -> Simulated:
    counts, rng = np.array(schedule(*plan)), np.random.default_rng(17)
    means, parts = [], []
    for sd in sds:
        x = sd * rng.standard_normal((NUM, counts[-1]))
        total, squares = (np.cumsum(v, axis=1)[:, counts - 1] for v in (x, x**2))
        means.append(total / counts)
        parts.append((squares - total**2 / counts) / (counts - 1) / counts)
    df = (parts[0] + parts[1]) ** 2 / ((parts[0] ** 2 + parts[1] ** 2) / (counts - 1))
    return Simulated(counts, means[0] - means[1], np.sqrt(parts[0] + parts[1]), df)


def levels(looks: Looks, counts: Array, alpha: float) -> Array:
    return np.array([looks.nominal(alpha, int(n)) for n in counts])


def verdict(plan: tuple[int, int, int]) -> Looks:
    return Looks(schedule(*plan), schedule(*plan))


def width(plan: tuple[int, int, int]) -> Looks:
    return Looks(schedule(*plan), schedule(*plan), by_width=True)


def first(hits: Array) -> Array:
    """Index of the look at which each study stops: its first hit, else the last."""
    return np.where(hits.any(axis=1), hits.argmax(axis=1), hits.shape[1] - 1)


def at(values: Array, index: Array) -> Array:
    return np.asarray(np.take_along_axis(values, index[:, None], axis=1)[:, 0])


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_a_difference_that_is_not_there_is_found_at_the_stated_rate_over_all_looks(
    plan: tuple[int, int, int], alpha: float
) -> None:
    """Within 3 standard errors of the simulated share; the plain t finds more than twice as many."""
    studies = paired(plan)
    p = studies.plain_p()
    error = np.sqrt(alpha * (1 - alpha) / NUM)
    found = (p <= levels(verdict(plan), studies.counts, alpha)).any(axis=1).mean()
    assert abs(found - alpha) < 3 * error + 0.01 * alpha
    naive = (p <= alpha).any(axis=1).mean()
    assert naive > 2 * alpha


@pytest.mark.parametrize("effect", [0.0, 0.6, 1.5])
def test_the_last_interval_covers_whenever_a_verdict_stopped_the_study(effect: float) -> None:
    """Repeated intervals hold at all looks together, so at the one that stopped coverage is 0.95 or more."""
    plan, studies = PLANS[0], paired(PLANS[0], effect=effect)
    level = levels(verdict(plan), studies.counts, 0.05)
    half = studies.half(level)
    stop = first(studies.plain_p() <= level)
    kept = (np.abs(at(studies.mean, stop) - effect) <= at(half, stop)).mean()
    assert kept >= 0.948
    plain = studies.half(np.full(len(studies.counts), 0.05))
    naive = first(studies.plain_p() <= 0.05)
    covered = (np.abs(at(studies.mean, naive) - effect) <= at(plain, naive)).mean()
    assert covered < (0.85 if effect == 0 else kept)


@pytest.mark.parametrize("sds", [(1.0, 1.0), (1.0, 3.0)])
def test_welch_by_the_same_levels_keeps_its_error(sds: tuple[float, float]) -> None:
    plan = PLANS[0]
    studies = welch(plan, sds=sds)
    found = (studies.plain_p() <= levels(verdict(plan), studies.counts, 0.05)).any(axis=1).mean()
    assert 0.044 < found < 0.0535
    assert (studies.plain_p() <= 0.05).any(axis=1).mean() > 0.12


@pytest.mark.parametrize(("of", "rule"), [("verdict", verdict), ("width", width)])
def test_equivalence_is_claimed_at_most_at_the_stated_rate_at_the_margin(
    of: str, rule: Callable[[tuple[int, int, int]], Looks]
) -> None:
    """The true difference is the margin, so every claim is wrong: at most 0.05, by TOST at every look."""
    plan, margin = PLANS[0], 1.0
    studies = paired(plan, effect=margin, sd=0.8)
    looks = rule(plan)
    below = stdtr(studies.df, (studies.mean - margin) / studies.se)
    above = stdtr(studies.df, -(studies.mean + margin) / studies.se)
    plain = np.maximum(below, above)
    cut = levels(looks, studies.counts, 0.10) / 2  # one-sided p at most alpha, two-sided at 2 alpha
    claims = plain <= cut
    if of == "width":  # stopped by the half width, and then tested once
        stop = first(studies.half(levels(looks, studies.counts, 0.05)) <= 0.6)
        claims, naive = at(claims, stop), at(plain <= 0.05, first(studies.half(np.full(9, 0.05)) <= 0.6))
        assert claims.mean() <= 0.052 < naive.mean() + 0.002
    else:
        assert 0.045 < claims.any(axis=1).mean() <= 0.0525
        assert (plain <= 0.05).any(axis=1).mean() > 0.10
    assert looks.one_sided(float(cut[-1]), int(studies.counts[-1])) == pytest.approx(0.05, rel=1e-3)


@pytest.mark.parametrize("plan", PLANS)
def test_stopping_at_a_half_width_leaves_95_percent_at_the_worst_spread(plan: tuple[int, int, int]) -> None:
    """Spreads from those that stop at once to those that never do; the plain t falls to 0.93 and below."""
    looks, unit, covered, naive = width(plan), paired(plan), [], []
    for spread in (0.25, 0.7, 1.0, 1.25, 1.5, 1.8, 2.2, 3.0, 6.0):
        studies = unit.scaled(spread)
        for level, found in ((levels(looks, studies.counts, 0.05), covered), (np.full(99, 0.05), naive)):
            half = studies.half(level[: len(studies.counts)])
            stop = first(half <= 1.0)
            found.append((np.abs(at(studies.mean, stop)) <= at(half, stop)).mean())
    assert 0.947 < min(covered) < 0.956 and max(covered) < 0.978
    assert min(naive) < 0.935


def test_skewed_and_heavy_tailed_differences_cost_a_width_rule_little() -> None:
    """Mean and spread are independent for normal differences alone: here they are not."""
    plan, counts = PLANS[0], np.array(schedule(*PLANS[0]))
    rng, level = np.random.default_rng(5), levels(width(PLANS[0]), counts, 0.05)
    for d in (
        rng.standard_t(5, (NUM, 20)) / np.sqrt(5 / 3),
        (rng.gamma(8.0, 1.0, (NUM, 20)) - 8) / np.sqrt(8),
    ):
        d = 1.5 * d
        total, squares = (np.cumsum(x, axis=1)[:, counts - 1] for x in (d, d**2))
        mean = total / counts
        se = np.sqrt((squares - counts * mean**2) / (counts - 1) / counts)
        half = stats.t.isf(level / 2, counts - 1) * se
        stop = first(half <= 1.0)
        assert 0.935 < (np.abs(at(mean, stop)) <= at(half, stop)).mean() < 0.97
    assert plan == (4, 2, 20)


def test_one_look_is_the_plain_t() -> None:
    d = [0.1, 0.4, -0.2, 0.3, 0.6]
    plain = paired_t(d)
    for looks in (Looks((5,), (5,)), Looks((5,), (5,), by_width=True)):
        found = looks.adjusted(plain)
        ends = (found.low, found.high, found.p_value)
        assert ends == pytest.approx((plain.low, plain.high, plain.p_value), rel=1e-4)
        assert (found.level, found.estimate, found.se) == (0.95, plain.estimate, plain.se)


def test_two_looks_spend_what_a_double_integral_says() -> None:
    """Looks at 3 and 4 seeds. alpha (3/4)^2 = 0.028125 is spent first, at a quantile of t with 2 df.

    Given the sums at 3 seeds, t at 4 seeds is a function of one more normal number: the rest of alpha is
    P(|t_3seeds| < c_1, |t_4seeds| >= c_2), integrated over angle at 3 seeds and the new share of length.
    """
    alphas, second = verdict_levels((3, 4), 4)
    level = float(np.exp(np.interp(np.log(0.05), np.log(alphas), np.log(second))))
    c1, c2 = stats.t.isf(0.05 * 9 / 16 / 2, 2), stats.t.isf(level / 2, 3)

    # u = cos θ at 3 seeds is uniform on [−1, 1]; v = sin φ, the new share of length: density 2/π √(1−v²).
    edge = c1 / np.sqrt(2 + c1**2)  # |t_2df| < c1 where |u| < edge, as t = √2 cos θ / sin θ
    u = np.linspace(-edge, edge, 2001)[:, None]
    v = np.linspace(-1, 1, 4001)[None, :]
    cosine = np.minimum(np.abs(np.sqrt(3) * u * np.sqrt(1 - v * v) + v) / 2, 1 - 1e-12)
    beyond = np.sqrt(3) * cosine / np.sqrt(1 - cosine**2) >= c2
    over_v = integrate.trapezoid(beyond * 2 / np.pi * np.sqrt(1 - v * v), v[0], axis=1)
    crossed = integrate.trapezoid(over_v / 2, u[:, 0])
    assert crossed == pytest.approx(0.05 * (1 - 9 / 16), rel=0.01)


def test_levels_and_p_values_are_inverse_and_monotone() -> None:
    for looks in (verdict((4, 2, 20)), width((4, 2, 20))):
        for n in (4, 10, 20):
            nominal = [looks.nominal(alpha, n) for alpha in (1e-10, 1e-6, 0.001, 0.01, 0.05, 0.2)]
            assert nominal == sorted(nominal) and all(a < b for a, b in itertools.pairwise(nominal))
            assert nominal[4] < 0.05
            back = [looks.p_value(p, n) for p in nominal]
            assert back == pytest.approx([1e-10, 1e-6, 0.001, 0.01, 0.05, 0.2], rel=1e-6)
            assert looks.p_value(1.0, n) == pytest.approx(1.0) and looks.p_value(0.0, n) == 0.0


def test_the_looks_that_were_made_are_what_counts() -> None:
    """Fewer looks leave more for the last; one beyond the cap gets the cap's level."""
    plan = schedule(4, 2, 20)
    many, few = Looks(plan, plan), Looks(plan, (4, 12))
    assert many.nominal(0.05, 20) < few.nominal(0.05, 20) < 0.05
    assert many.nominal(0.05, 25) == many.nominal(0.05, 20)
    assert Looks(plan, ()).nominal(0.05, 4) == pytest.approx(0.05 * (4 / 20) ** 2, rel=1e-6)


def test_a_projection_is_where_the_same_spread_would_stop() -> None:
    plan = schedule(4, 2, 20)
    d = np.array([-1.5, -0.5, 0.5, 1.5])  # sd 1.29, mean 0
    looks = Looks(plan, (4,), by_width=True)
    interval = looks.adjusted(paired_t(d))
    found = looks.seeds_for_width(interval, 1.0)
    assert found is not None
    level, sd = looks.nominal(0.05, 4), d.std(ddof=1)
    halves = {n: stats.t.isf(level / 2, n - 1) * sd / np.sqrt(n) for n in range(4, 21)}
    assert found == min(n for n in plan if halves[n] <= 1.0)
    # Beyond the cap every number counts: z 2.2 · 1.29 / √n = 0.2 near 203.
    assert 195 < (looks.seeds_for_width(interval, 0.2) or 0) < 215
    rule = Looks(plan, (4,))
    t = 2.5  # at 4 seeds; at n it is 1.25 √n
    n = rule.seeds_for_p(float(2 * stats.t.sf(t, 3)), 3.0, 4, alpha=0.05)
    full = Looks(plan, plan)
    grown = {m: 2 * stats.t.sf(1.25 * np.sqrt(m), m - 1) for m in plan}
    assert n == min(m for m in plan if grown[m] <= full.nominal(0.05, m))
    assert rule.seeds_for_p(0.8, 3.0, 4, alpha=0.05) is None


def test_a_verdict_follows_the_adjusted_numbers() -> None:
    """Mean 0.018, sd 0.0147, t = 3.05 at 6 seeds: p 0.028, better; undecided after looks at 4 and 6 of 20."""
    d = {str(i): v for i, v in enumerate([0.01, 0.02, 0.03, 0.01, 0.04, 0.00])}
    gains = {s: 0.2 + 0.01 * i for i, s in enumerate(d)}
    measured = Measured(d, arm_gains={s: gains[s] + v for s, v in d.items()}, control_gains=gains)
    plain = judged(measured, Context(margin=Margin(0.001)))
    looks = Looks(schedule(4, 2, 20), (4,))
    after = judged(measured, Context(margin=Margin(0.001), looks=looks))
    assert plain.verdict.word == "better" and after.verdict.word == "undecided"
    assert after.evidence.difference == looks.adjusted(plain.evidence.difference)
    assert after.evidence.difference.level == 0.95
    assert after.margin_p_plain == plain.evidence.margin_p
    assert after.evidence.margin_p == looks.one_sided(plain.evidence.margin_p, 6)
    assert after.ratio is not None and plain.ratio is not None
    assert after.ratio.width > plain.ratio.width and after.ratio.level == 0.95
    shared = welch_t(list(measured.arm_gains.values()), list(gains.values()))
    unpaired = judged(measured, Context(unpaired=shared, looks=looks))
    assert unpaired.evidence.difference == looks.adjusted(shared)


def test_bad_plans_are_refused() -> None:
    with pytest.raises(ValueError, match="first=5, step=1, cap=4: need"):
        schedule(5, 1, 4)
    with pytest.raises(ValueError, match="give ascending numbers of seeds"):
        verdict_levels((6, 4), 20)
    assert schedule(4, 3, 9) == (4, 7, 9) and width_levels((4, 7, 9), 0.05)[1][0] < 1e-8
