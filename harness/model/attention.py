"""Causal attention over packed rows: a variable-length kernel on GPUs in half precision, else padded SDPA."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.model.fused import pack, spread, unpack
from harness.model.rows import Layout


def pads(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether attention is computed on [B, T]: everywhere but on a GPU in half precision."""
    return device.type != "cuda" or dtype not in (torch.bfloat16, torch.float16)


def attend(queries: Tensor, keys_values: Tensor, layout: Layout) -> Tensor:
    """Causal attention within each row: [N, H, Dh] and [N, 2 KV, Dh] -> [N, H Dh].

    A row's prompt may be another row's (`layout.keys`). Query heads share key-value heads in order (grouped
    queries, arXiv:2305.13245).
    """
    padded = pads(queries.device, queries.dtype) if layout.keys is None else layout.padded
    return (_padded if padded else _variable_length)(queries, keys_values, layout)


def _padded(queries: Tensor, keys_values: Tensor, layout: Layout) -> Tensor:
    """Compute attention on [B, T]. A shared prompt's queries are in its first row, elsewhere 0."""
    batch, width, index = layout.batch, layout.width, layout.index
    if layout.keys is None:
        both = unpack(keys_values, index, batch, width)  # [B, T, 2 KV, Dh]
    else:
        both = spread(keys_values, layout.keys).unflatten(0, (batch, width))
    keys, values = both.transpose(1, 2).chunk(2, dim=1)
    attended = F.scaled_dot_product_attention(
        unpack(queries, index, batch, width).transpose(1, 2),
        keys,
        values,
        is_causal=True,
        enable_gqa=queries.shape[1] != keys.shape[1],
    )  # [B, H, T, Dh]
    return pack(attended.transpose(1, 2).flatten(0, 1), index).flatten(1)


def _variable_length(queries: Tensor, keys_values: Tensor, layout: Layout) -> Tensor:
    """A row's last query sees all of its keys, the one before it one less, and so on: a row whose prompt's
    queries are another's sees that prompt, and itself up to each token.

    `flash` is what torch.nn.attention.varlen calls, without its wrapper in Python, which costs the CPU a
    tenth of a millisecond a layer.
    """
    if layout.keys is not None:
        keys_values = spread(keys_values, layout.keys)  # [K, 2 KV, Dh]
    keys, values = keys_values.chunk(2, dim=1)
    ends, key_ends = layout.ends, layout.ends if layout.key_ends is None else layout.key_ends
    return flash(queries, keys, values, ends, key_ends, layout.width).flatten(1)


def flash(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    ends: Tensor,
    key_ends: Tensor,
    longest: int,
    scale: float | None = None,
) -> Tensor:
    """PyTorch's flash kernels over rows [N, H, Dh] that end at `ends` and `key_ends` (both from 0, int32)."""
    out: Tensor = torch.ops.aten._flash_attention_forward.default(
        *(q, k, v, ends, key_ends, longest, longest),
        dropout_p=0.0,
        is_causal=True,
        return_debug_mask=False,
        window_size_left=-1,
        window_size_right=0,
        scale=scale,
    )[0]
    return out
