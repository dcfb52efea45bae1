"""Lengths of outputs as reasoning models have them: many short ones, few very long ones."""

from __future__ import annotations

import numpy as np

SIGMA = 0.9  # of log length: the 99th percentile is about five times the mean


def log_normal(count: int, *, mean: float, most: int, seed: int, sigma: float = SIGMA) -> list[int]:
    """Draw lengths in tokens from a log-normal distribution with this mean, each cut off at `most`."""
    normal = np.random.default_rng(seed).standard_normal(count)
    drawn = np.exp(np.log(mean) - sigma**2 / 2 + sigma * normal)
    return [int(x) for x in np.clip(np.rint(drawn), 1, most)]
