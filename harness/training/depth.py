"""Depth of a token's context: the tokens, prompt included, before it. Engines may err in long ones alone."""

from __future__ import annotations

import torch

from harness.types import Batch

# A band's name and the first depth beyond it.
BANDS = (("to_128", 128), ("to_512", 512), ("to_2k", 2048), ("to_8k", 8192), ("over_8k", 1 << 62))


def gap_by_depth(batch: Batch, rows: torch.Tensor) -> dict[str, float]:
    """`sampler_gap_*`: mean |sampler's − trainer's logprob| of the rows' completion tokens by depth, nats.

    Bands without a token are left out. `batch` has its old logprobs.
    """
    mask = batch.completion_mask[rows]  # [b, T]
    gap = (batch.sampler_logprobs[rows] - batch.old_logprobs[rows]).abs()  # [b, T]
    depth = torch.arange(mask.shape[1])  # rows begin with column 0
    found, begin = {}, 0
    for name, end in BANDS:
        inside = mask & (depth >= begin) & (depth < end)  # [b, T]
        if inside.any():
            found[f"sampler_gap_{name}"] = float(gap[inside].mean())
        begin = end
    return found
