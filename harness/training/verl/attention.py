"""`varlen`, an attention for transformers' models in verl: PyTorch's own kernels over packed rows.

verl puts the rows of a microbatch one behind the other and tells them apart by their positions, each of which
begins at 0. transformers' flash_attention_2 reads that with flash-attn, which has to be built, and its sdpa
with a mask of all tokens squared. This one needs neither.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface

from harness.model.attention import flash, pads

NAME = "varlen"


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    position_ids: Tensor | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each packed row: [1, H, N, Dh] and [1, KV, N, Dh] -> [1, N, H, Dh].

    Raises ValueError for anything that it would leave out: padding, dropout, a window, a cache.
    """
    if position_ids is None or query.shape[0] != 1 or query.shape[2] != key.shape[2]:
        raise ValueError("varlen attention is for packed rows in training: a batch of one, with positions")
    if attention_mask is not None or dropout or sliding_window is not None:
        raise ValueError(f"varlen attention of {type(module).__name__}: no mask, dropout or sliding window")
    queries, keys, values = (x[0].transpose(0, 1) for x in (query, key, value))  # [N, heads, Dh]
    starts = (position_ids.flatten() == 0).nonzero().flatten().int()
    ends = F.pad(starts, (0, 1), value=queries.shape[0])
    if pads(queries.device, queries.dtype):
        return _by_row(queries, keys, values, ends.tolist(), scaling)[None], None
    longest = int(ends.diff().max())
    return flash(queries, keys, values, ends, ends, longest, scale=scaling)[None], None


def _by_row(queries: Tensor, keys: Tensor, values: Tensor, ends: list[int], scale: float | None) -> Tensor:
    grouped, rows = queries.shape[1] != keys.shape[1], []
    for start, end in pairwise(ends):
        q, k, v = (x[start:end].transpose(0, 1) for x in (queries, keys, values))
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=grouped)
        rows.append(out.transpose(0, 1))
    return torch.cat(rows)


AttentionInterface.register(NAME, attend)
