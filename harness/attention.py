"""Causal attention over packed rows: a variable-length kernel on GPUs in half precision, else padded SDPA."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.fused import pack, unpack


@dataclass(frozen=True, slots=True)
class Layout:
    """Where N packed tokens stand in [B, T]: `index` [N] flat padded positions, increasing; `ends` [B + 1]
    int32, where each row begins, and N."""

    index: Tensor
    ends: Tensor
    batch: int
    width: int


def layout_of(lengths: Tensor, width: int) -> Layout:
    """The layout of rows of `lengths` [B] tokens, right-padded to `width`."""
    valid = torch.arange(width, device=lengths.device) < lengths[:, None]  # [B, T]
    ends = F.pad(lengths.cumsum(0), (1, 0)).to(torch.int32)
    return Layout(valid.flatten().nonzero().squeeze(1), ends, len(lengths), width)


def attend(queries: Tensor, keys: Tensor, values: Tensor, layout: Layout) -> Tensor:
    """Each token attends to its own row, up to itself: [N, H, Dh] and twice [N, KV, Dh] -> [N, H Dh].

    Query heads share key-value heads in order (grouped queries, arXiv:2305.13245).
    """
    if queries.is_cuda and queries.dtype in (torch.bfloat16, torch.float16):
        return _variable_length(queries, keys, values, layout)
    batch, width, index = layout.batch, layout.width, layout.index
    padded = [unpack(t, index, batch, width).transpose(1, 2) for t in (queries, keys, values)]
    attended = F.scaled_dot_product_attention(
        padded[0], padded[1], padded[2], is_causal=True, enable_gqa=queries.shape[1] != keys.shape[1]
    )  # [B, H, T, Dh]
    return pack(attended.transpose(1, 2).flatten(0, 1), index).flatten(1)


def _variable_length(queries: Tensor, keys: Tensor, values: Tensor, layout: Layout) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    ends, longest = layout.ends, layout.width
    out = varlen_attn(
        queries,
        keys,
        values,
        ends,
        ends,
        longest,
        longest,
        window_size=(-1, 0),
    )
    assert isinstance(out, Tensor)  # a tuple only where the normalisers are asked for
    return out.flatten(1)
