"""What simulated studies are drawn from: spreads of accuracy as the committed studies show them.

Accuracies lie in [0, 1]; A arms, S seeds, R learning rates, P problems. Scores are binomial samples of
problems of unlike difficulty; seeds, bases, rates and runs move the accuracy that they are samples of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Form = Literal["normal", "t4", "skewed"]
RATES = ("1e-05", "3e-05", "0.0001", "0.0003", "0.001")


@dataclass(frozen=True)
class World:
    """Means and spreads; the defaults are those of `bridge` and the pilots (tests/…/test_worlds.py)."""

    curve: tuple[float, ...] = (0.159, 0.189, 0.192, 0.176, 0.013)
    """avg@k at each of RATES: sft's pilot."""
    base: float = 0.139
    """avg@k of the untrained base."""
    base_sd: float = 0.012
    """Bases of different seeds, sd."""
    response_sd: float = 0.013
    """What a rate does to a base, beyond its mean: sd over seeds, alike for the arms of a seed."""
    run_sd: float = 0.005
    """Runs alike in all but random numbers, sd beyond sampling."""
    form: Form = "normal"
    """Form of those effects."""
    test: int = 120
    """Test problems."""
    validation: int = 48
    """Validation problems."""
    k: int = 16
    """Samples of each."""
    difficulty: tuple[float, float] = (0.6, 3.0)
    """Beta distribution of a problem's accuracy, up to a factor: its sd is 1.04 of its mean."""


def standard(rng: np.random.Generator, form: Form, size: int | tuple[int, ...]) -> Array:
    """Draw effects of mean 0 and sd 1: normal, t with 4 df, or an exponential less its mean."""
    if form == "t4":
        return np.asarray(rng.standard_t(4, size) / sqrt(2))  # the variance of a t with 4 df is 2
    if form == "skewed":
        return np.asarray(rng.exponential(size=size) - 1)
    return np.asarray(rng.standard_normal(size))


def grid_levels(
    world: World,
    rng: np.random.Generator,
    curves: ArrayLike,
    seeds: int,
    *,
    shared_base: bool = False,
) -> tuple[Array, Array]:
    """True accuracy of each run of a grid [A, S, R], from each arm's mean curve [A, R], and of bases [S]."""
    means = np.asarray(curves, dtype=float)
    arms, rates = means.shape
    drawn = 1 if shared_base else seeds
    base = world.base_sd * standard(rng, world.form, drawn)
    response = base[:, None] + world.response_sd * standard(rng, world.form, (drawn, rates))  # [S or 1, R]
    run = world.run_sd * standard(rng, world.form, (arms, seeds, rates))
    levels = means[:, None, :] + response + run
    return np.clip(levels, 0.001, 0.9), np.clip(np.broadcast_to(world.base + base, (seeds,)), 0.001, 0.9)


def problems(world: World, rng: np.random.Generator, size: Sequence[int]) -> Array:
    """Difficulty of problems: a factor of mean 1 on the accuracy."""
    a, b = world.difficulty
    return np.asarray(rng.beta(a, b, tuple(size)) * (a + b) / a)


def scores(world: World, rng: np.random.Generator, levels: ArrayLike, difficulty: Array) -> Array:
    """Share of right samples on each problem [..., P] at accuracies [...]; difficulty [P] or [..., P]."""
    p = np.minimum(1.0, np.asarray(levels, dtype=float)[..., None] * difficulty)
    return np.asarray(rng.binomial(world.k, p) / world.k)


def settings_of(world: World) -> dict[str, object]:
    """Settings that differ from the defaults, for pipeline.json, which has the defaults once."""
    default = vars(World())
    return {name: value for name, value in vars(world).items() if value != default[name]}
