"""Memory of the sampler's keys and values, before anything is loaded. Imports no torch."""

from __future__ import annotations

import math
from typing import Literal

from harness.model.dims import kernels_take
from harness.schema.run_config import RunConfig

LONG = 4096  # tokens of a completion from which auto takes pages (outputs/reference/bench/rl_step_long.json)
_GPU_BYTES = 80 * 2**30  # of a GPU that is not here


def cache_of(config: RunConfig, head_dim: int | None = None) -> Literal["whole", "paged"]:
    """The native sampler's cache on a GPU: `rollout.cache`, or what auto stands for.

    With auto, whole rows where the kernels of pages do not take heads of `head_dim` numbers (None: they do).
    """
    asked, evaluated = config.rollout.cache, config.eval
    if asked != "auto":
        return asked
    limits = [config.rollout.max_new_tokens, evaluated.max_new_tokens]
    limits += [benchmark.max_new_tokens for benchmark in evaluated.benchmarks]
    taken = head_dim is None or kernels_take(head_dim)
    return "paged" if taken and max(limits) >= LONG else "whole"


def most_cache_bytes(config: RunConfig, device: str, gpu_bytes: int | None, head_dim: int) -> float:
    """Bytes that the cache takes at most, whatever its rows need: infinite but for pages on a GPU."""
    rollout = config.rollout
    if rollout.engine != "native" or cache_of(config, head_dim) != "paged" or device != "cuda":
        return math.inf
    return rollout.cache_memory * (gpu_bytes or _GPU_BYTES)


def takes_whole_rows(config: RunConfig, device: str) -> bool:
    """Whether the cache on a GPU has room for every row's longest completion."""
    return config.rollout.engine == "native" and cache_of(config) == "whole" and device == "cuda"
