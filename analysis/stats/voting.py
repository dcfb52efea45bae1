"""One answer chosen among a problem's samples, by vote (`maj_at_k`) or by score (`best_of_k`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from math import comb

import numpy as np

EXACT_VOTES, DRAWS = 64, 4000


@lru_cache(maxsize=65536)
def vote_value(right: int, wrong: tuple[int, ...], abstained: int, k: int) -> float:
    """Expected score of a k-subset. Its votes are independent Binomial(n_c, k / n) given their sum k."""
    n = right + sum(wrong) + abstained
    top = max(wrong, default=0)
    if right == 0:
        return 0.0
    if k == n:
        return 0.0 if right < top else 1 / (1 + wrong.count(right))
    rate = k / n
    ties = _tie_probabilities(
        [_binomial(c, rate, n) for c in (right, *wrong)], _binomial(abstained, rate, n), k, n + 1
    )
    return float(ties @ (1 / np.arange(1, len(ties) + 1)))


@lru_cache(maxsize=65536)
def vote_variance(right: int, wrong: tuple[int, ...], abstained: int, k: int) -> float | None:
    n = right + sum(wrong) + abstained
    if n < 2:
        return None
    if right == 0 or right == n:
        return 0.0
    if k < n:
        return _jackknife(right, wrong, abstained, k)
    if n > EXACT_VOTES:
        return _simulated(right, wrong, abstained)
    # Multinomial(n, counts / n) is independent Poisson(count) given the sum n; past 5n + 64 its tail is
    # < 1e-17, so the transform's wrap-around cannot be seen.
    ties = _tie_probabilities(
        [_poisson(c, n) for c in (right, *wrong)], _poisson(abstained, n), n, 5 * n + 64
    )
    score = 1 / np.arange(1, len(ties) + 1)
    return max(0.0, float(ties @ score**2 - (ties @ score) ** 2))


def _simulated(right: int, wrong: tuple[int, ...], abstained: int) -> float:
    """Estimate the variance from DRAWS draws with a fixed seed: the exact one takes seconds a problem."""
    n = right + sum(wrong) + abstained
    shares = np.array([right, *wrong, abstained]) / n
    drawn = np.random.default_rng(0).multinomial(n, shares, size=DRAWS)[:, :-1]  # [D, classes]
    level = (drawn == drawn.max(axis=1, keepdims=True)) & (drawn > 0)
    return float(np.var(level[:, 0] / np.maximum(1, level.sum(axis=1))))


def best_value_and_variance(correct: Sequence[int], scores: Sequence[float]) -> tuple[float, float | None]:
    """Share right among the top-scored, and its variance when n samples are drawn anew from these n.

    At a level with m of n samples, of which a share q is right, and b below: the top of n draws is j of its
    samples with probability C(n, j) (m/n)^j (b/n)^(n-j), and their share right has mean q and variance
    q (1 - q) / j. None for one sample.
    """
    n = len(scores)
    levels: dict[float, list[bool]] = {}
    for score, right in sorted(zip(scores, correct, strict=True)):
        levels.setdefault(score, []).append(bool(right))
    value = sum(levels[max(levels)]) / len(levels[max(levels)])
    if n < 2:
        return value, None
    first = second = 0.0  # moments of the share right among the top of n draws
    below = 0
    for row in levels.values():
        m, q = len(row), sum(row) / len(row)
        for j in range(1, n + 1):
            chance = comb(n, j) * (m / n) ** j * (below / n) ** (n - j)
            first += chance * q
            second += chance * (q * q + q * (1 - q) / j)
        below += m
    return value, max(0.0, second - first * first)


def _jackknife(right: int, wrong: tuple[int, ...], abstained: int, k: int) -> float:
    """(n − 1) / n Σ_j (U_(−j) − mean)²: a deletion matters only through the class it falls in."""
    n = right + sum(wrong) + abstained
    values = [vote_value(right - 1, wrong, abstained, k)] * right
    if abstained:
        values += [vote_value(right, wrong, abstained - 1, k)] * abstained
    for count, classes in Counter(wrong).items():
        rest = list(wrong)
        rest.remove(count)
        left = tuple(sorted([*rest, count - 1] if count > 1 else rest))
        values += [vote_value(right, left, abstained, k)] * (count * classes)
    return (n - 1) * float(np.var(values))


def _tie_probabilities(classes: list[np.ndarray], abstain: np.ndarray, total: int, size: int) -> np.ndarray:
    """P(the first class tops the vote with t classes level), t = 1.., given that all votes sum to `total`.

    `classes[c][j]` weighs j votes for class c, `abstain[j]` j abstentions. Generating functions, in
    x (votes) at the `size` roots of unity and in y (ties) explicitly: for each winning count m ≥ 1,
    w_0(m) x^m · Π_c (Σ_{j<m} w_c(j) x^j + y w_c(m) x^m) · abstain(x); the coefficient of x^total, normalised.
    """
    width = len(abstain)
    roots = np.exp(2j * np.pi * np.outer(np.arange(width), np.arange(size)) / size)  # [J, S]
    first = classes[0][1:, None] * roots[1:]  # [M, S], m = 1..J-1
    poly = first[:, :, None]  # [M, S, 1], last axis: ties with the first class
    everything = (abstain @ roots) * (classes[0] @ roots)
    for weights in classes[1:]:
        terms = weights[:, None] * roots  # [J, S]
        everything = everything * terms.sum(axis=0)
        below = np.cumsum(terms, axis=0)[:-1, :, None]  # [M, S, 1], j < m
        grown = np.zeros((*poly.shape[:2], poly.shape[2] + 1), dtype=complex)  # [M, S, T + 1]
        grown[:, :, :-1] = poly * below
        grown[:, :, 1:] += poly * terms[1:, :, None]
        poly = grown
    pick = np.exp(-2j * np.pi * total * np.arange(size) / size) / size  # [S], reads off the coefficient
    ties = np.einsum("mst,s->t", poly, pick * (abstain @ roots)).real
    return np.clip(ties / (everything @ pick).real, 0.0, 1.0)


def _binomial(count: int, rate: float, n: int) -> np.ndarray:
    """Binomial(count, rate) on 0..n, [n + 1]."""
    return np.array(
        [comb(count, j) * rate**j * (1 - rate) ** (count - j) if j <= count else 0.0 for j in range(n + 1)]
    )


def _poisson(mean: float, n: int) -> np.ndarray:
    """Poisson(mean) on 0..n, [n + 1], by the recurrence p_j = p_(j-1) mean / j."""
    return np.exp(-mean) * np.cumprod(np.concatenate([[1.0], mean / np.arange(1, n + 1)]))
