"""Distributions of a t under repeated looks, by numerical integration over one state from seed to seed.

Both chains hold one number, so that looks at any numbers of seeds are a few products of small matrices
(Armitage, McPherson & Rowe 1969 do this for a known variance; no variance is taken as known here).
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
BINS = 384
# Levels of the tables, eight a decade; between them levels are interpolated, log on log.
ALPHAS: Array = np.geomspace(1e-8, 1.0, 65)
EXPONENT = 2.0  # of the spending function alpha (n / cap)^EXPONENT
# Angle between the vector of n differences and (1, ..., 1), either sign: 0 is an infinite t, pi/2 is t = 0.
EDGES: Array = np.linspace(0.0, np.pi / 2, BINS + 1)
MIDDLES: Array = (EDGES[1:] + EDGES[:-1]) / 2


@lru_cache(maxsize=256)
def verdict_levels(looks: tuple[int, ...], cap: int) -> tuple[Array, Array]:
    """Each alpha of ALPHAS, and the nominal two-sided level of a t at the last of `looks` that spends it.

    Without a difference, n normal differences point in a uniform direction of R^n, and t = √(n−1) cot θ with
    θ their angle to (1, …, 1). Their length is independent of the direction, so θ is a Markov chain from seed
    to seed, whatever the variance. Look k stops where |t| is so large that, with those that stopped before, a
    share alpha (n_k / cap)^2 of all studies has stopped. Raises ValueError for looks that do not ascend.
    """
    if not looks or looks[0] < 2 or any(a >= b for a, b in pairwise(looks)):
        raise ValueError(f"looks={looks}: give ascending numbers of seeds, 2 or more")
    mass = np.tile(np.diff(_plain_p(looks[0])), (len(ALPHAS), 1))  # [A, BINS], of studies that go on
    spent, levels = np.zeros(len(ALPHAS)), np.ones(len(ALPHAS))
    for before, look in zip((looks[0], *looks), looks, strict=False):
        for n in range(before, look):
            mass = mass @ _one_more_seed(n)
        target = ALPHAS * min(1.0, look / cap) ** EXPONENT
        mass, levels = _stop(mass, target - spent, _plain_p(look))
        spent = target
    return ALPHAS, np.maximum.accumulate(levels)


def _plain_p(n: int) -> Array:
    """Two-sided p of a plain t of `n` seeds at each of EDGES, ascending from 0 to 1."""
    from scipy.special import betainc

    return np.asarray(betainc((n - 1) / 2, 0.5, np.sin(EDGES) ** 2))


def _one_more_seed(n: int) -> Array:
    """P(bin of θ at n + 1 seeds | middle of a bin at n), [BINS, BINS].

    The new difference is a share sin φ of the new length, φ in (−π/2, π/2) with density ∝ cos^(n−1) φ, so
    that √(n+1) cos θ' = √n cos θ cos φ + sin φ = R sin(φ + ψ), with R² = 1 + n cos² θ and tan ψ = √n cos θ.
    """
    from scipy.special import betainc

    angles = np.linspace(-np.pi / 2, np.pi / 2, 4001)
    below = (1 + np.sign(angles) * betainc(0.5, n / 2, np.sin(angles) ** 2)) / 2
    along = np.sqrt(n) * np.cos(MIDDLES)[:, None]  # [BINS, 1]
    psi = np.arctan(along)
    height = np.sqrt(n + 1) * np.cos(EDGES) / np.sqrt(1 + along**2)  # [BINS, BINS + 1]

    def above(x: Array) -> Array:
        """P(R sin(φ + ψ) ≥ R x)."""
        beta = np.arcsin(np.clip(x, -1.0, 1.0))
        inside = np.interp(np.pi - beta - psi, angles, below) - np.interp(beta - psi, angles, below)
        return np.where(x >= 1, 0.0, np.where(x <= -1, 1.0, inside))

    return np.diff(above(height) + 1 - above(-height), axis=1)


def _stop(mass: Array, share: Array, plain: Array) -> tuple[Array, Array]:
    """What goes on after the most extreme `share` of each row stopped, and the plain p at which it stops."""
    levels = np.ones(len(mass))
    left = mass.copy()
    for i, (row, wanted) in enumerate(zip(mass, share, strict=True)):
        total = np.concatenate([[0.0], np.cumsum(row)])
        if wanted >= total[-1]:
            left[i] = 0.0
            continue
        j = max(1, int(np.searchsorted(total, wanted)))  # total[j − 1] < wanted <= total[j]
        if j == 1:
            levels[i] = plain[1] * wanted / total[1]
        else:
            part = np.log(wanted / total[j - 1]) / np.log(total[j] / total[j - 1])
            levels[i] = plain[j - 1] * (plain[j] / plain[j - 1]) ** part
        left[i, : j - 1] = 0.0
        left[i, j - 1] = total[j] - wanted
    return left, levels


@lru_cache(maxsize=64)
def width_levels(looks: tuple[int, ...], alpha: float) -> tuple[Array, Array]:
    """Levels that are left, and the nominal ones, of a t that stops once its half width at `alpha` is met.

    The mean of normal differences is independent of their variances at all looks, whose sums of squares grow
    by independent chi-squares; so coverage is an integral over that chain. The levels left are those at the
    ratio of spread to half width where least is left.
    """
    low, high = alpha / 50, alpha
    for _ in range(30):  # the nominal level at which stopping leaves alpha
        middle = (low * high) ** 0.5
        missed = _missed(_stopped(looks, middle), looks, np.array([middle]))
        low, high = (low, middle) if missed[0] > alpha else (middle, high)
    nominal = np.geomspace(1e-9, 1.0, 90)
    return _missed(_stopped(looks, low), looks, nominal), nominal


def _stopped(looks: tuple[int, ...], nominal: float) -> tuple[Array, Array]:
    """Find where studies stop: mass [R, K, BINS] by look and sum of squares, and the sums, in units of σ².

    Rows are ratios of spread to half width, from those that stop at the first look to those that reach the
    cap. Before that a study stops where t_{n−1} s / √n <= half width.
    """
    from scipy.special import chdtr, chdtri, stdtrit

    ratios = np.geomspace(0.2, np.sqrt(looks[-1]), 60)
    edges = np.linspace(0.0, np.sqrt(chdtri(looks[-1] - 1, 1e-9)), BINS + 1) ** 2
    sums = (edges[1:] + edges[:-1]) / 2
    mass = np.tile(np.diff(chdtr(looks[0] - 1, edges)), (len(ratios), 1))
    steps = {b - a for a, b in pairwise(looks)}
    grown = np.maximum(edges - sums[:, None], 0.0)
    kernels = {m: np.diff(chdtr(m, grown), axis=1) for m in steps}
    found = []
    for before, n in zip((looks[0], *looks), looks, strict=False):
        mass = mass @ kernels[n - before] if n > before else mass
        if n == looks[-1]:
            break
        largest = n * (n - 1) / (stdtrit(n - 1, 1 - nominal / 2) * ratios) ** 2
        share = np.clip((largest[:, None] - edges[:-1]) / np.diff(edges), 0.0, 1.0)
        found.append(mass * share)
        mass = mass * (1 - share)
    return np.array([*found, mass]).transpose(1, 0, 2), sums


def _missed(stopped: tuple[Array, Array], looks: tuple[int, ...], nominal: Array) -> Array:
    """Share of studies whose plain interval of each nominal level misses, at the worst ratio."""
    from scipy.special import ndtr, stdtrit

    mass, sums = stopped
    outside = np.zeros((len(mass), len(nominal)))
    for k, n in enumerate(looks):
        half = stdtrit(n - 1, 1 - nominal / 2)[:, None] * np.sqrt(sums / (n - 1))  # in units of σ/√n
        outside += mass[:, k] @ (2 * ndtr(-half)).T
    return np.asarray(outside.max(axis=0))
