"""Causal attention over packed rows: a variable-length kernel on GPUs in half precision, else padded SDPA."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.fused import pack, unpack
from harness.rows import Layout


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
