"""Memory of the sampler's keys and values, before anything is loaded. Imports no torch."""

from __future__ import annotations

import math

from harness.schema.run_config import RunConfig

_GPU_BYTES = 80 * 2**30  # of a GPU that is not here


def most_cache_bytes(config: RunConfig, device: str, gpu_bytes: int | None) -> float:
    """Bytes that the cache takes at most, whatever its rows need: infinite but for pages on a GPU."""
    rollout = config.rollout
    if rollout.engine != "native" or rollout.cache != "paged" or device != "cuda":
        return math.inf
    return rollout.cache_memory * (gpu_bytes or _GPU_BYTES)


def takes_whole_rows(config: RunConfig, device: str) -> bool:
    """Whether the cache on a GPU has room for every row's longest completion."""
    return config.rollout.engine == "native" and config.rollout.cache == "whole" and device == "cuda"
