"""Triton kernels of one decoding step: rotary embedding, and new keys and values into the cache.

The cache has whole rows, or pages that `table` [slots, most pages] names. `row_slot` [n] says whose slot a
row works on, `positions` [slots] at which place of its sequence a slot's token is fed.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from harness.model.chunks import PAGE


@triton.jit
def _rope_row(
    qkv,
    rotations,
    head_norm,
    queries,
    keys,
    values,
    row,
    position,
    cell,
    head_stride,
    eps,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    PADDED: tl.constexpr,
    HAS_NORM: tl.constexpr,
):
    """Write a row's turned queries, and its keys and values of head h at `cell` + h × `head_stride`."""
    head = tl.arange(0, PADDED)[:, None]
    dim = tl.arange(0, HEAD_DIM)[None, :]
    pair = tl.arange(0, HEAD_DIM // 2)[None, :]
    at = head * HEAD_DIM + dim
    turns = head < HEADS + KV_HEADS
    inside = head < HEADS + 2 * KV_HEADS
    source = qkv + row * (HEADS + 2 * KV_HEADS) * HEAD_DIM + at
    x = tl.load(source, mask=inside, other=0.0).to(tl.float32)
    if HAS_NORM:
        mean = tl.sum(x * x, axis=1)[:, None] / HEAD_DIM
        weight = tl.load(head_norm + at, mask=turns, other=1.0).to(tl.float32)
        x *= tl.where(turns, tl.rsqrt(mean + eps), 1.0) * weight
    even, odd = tl.split(tl.reshape(x, (PADDED, HEAD_DIM // 2, 2)))
    cos = tl.load(rotations + position * HEAD_DIM + 2 * pair)
    sin = tl.load(rotations + position * HEAD_DIM + 2 * pair + 1)
    first = tl.where(turns, even * cos - odd * sin, even)
    second = tl.where(turns, even * sin + odd * cos, odd)
    x = tl.reshape(tl.join(first, second), (PADDED, HEAD_DIM))
    tl.store(queries + row * HEADS * HEAD_DIM + at, x, mask=head < HEADS)
    tl.store(keys + cell + dim + (head - HEADS) * head_stride, x, mask=(head >= HEADS) & turns)
    value = values + cell + dim + (head - HEADS - KV_HEADS) * head_stride
    tl.store(value, x, mask=(head >= HEADS + KV_HEADS) & inside)


@triton.jit
def _rope_cache_kernel(
    qkv,
    rotations,
    positions,
    row_slot,
    head_norm,
    queries,
    keys,
    values,
    slot_stride,
    head_stride,
    eps,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    PADDED: tl.constexpr,
    HAS_NORM: tl.constexpr,
):
    row = tl.program_id(0)
    slot = tl.load(row_slot + row).to(tl.int64)
    position = tl.load(positions + slot).to(tl.int64)
    cell = slot * slot_stride + position * HEAD_DIM
    pointers = (qkv, rotations, head_norm, queries, keys, values)
    _rope_row(*pointers, row, position, cell, head_stride, eps, HEADS, KV_HEADS, HEAD_DIM, PADDED, HAS_NORM)


def rope_into_cache(
    qkv: Tensor,
    *,
    rotations: Tensor,
    positions: Tensor,
    row_slot: Tensor,
    head_norm: Tensor | None,
    eps: float,
    keys: Tensor,
    values: Tensor,
    num_heads: int,
) -> Tensor:
    """Rotated queries [n, H, Dh] of qkv [n, (H + 2 KV) Dh]; keys and values go to their slots' columns.

    keys and values [slots, KV, columns, Dh] are one layer's cache; rotations [columns, Dh/2, 2] are cosines
    and sines, float32; head_norm [H + KV, Dh] scales each head's RMS-normalised query and key, or is None.
    """
    kv_heads, head_dim = keys.shape[1], keys.shape[3]
    queries = qkv.new_empty(qkv.shape[0], num_heads, head_dim)
    _rope_cache_kernel[(qkv.shape[0],)](
        qkv,
        rotations,
        positions,
        row_slot,
        qkv if head_norm is None else head_norm,
        queries,
        keys,
        values,
        keys.stride(0),
        keys.stride(1),
        eps,
        HEADS=num_heads,
        KV_HEADS=kv_heads,
        HEAD_DIM=head_dim,
        PADDED=triton.next_power_of_2(num_heads + 2 * kv_heads),
        HAS_NORM=head_norm is not None,
    )
    return queries


@triton.jit
def _rope_pages_kernel(
    qkv,
    rotations,
    positions,
    row_slot,
    table,
    head_norm,
    queries,
    keys,
    values,
    table_width,
    eps,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    PAGE: tl.constexpr,
    PADDED: tl.constexpr,
    HAS_NORM: tl.constexpr,
):
    row = tl.program_id(0)
    slot = tl.load(row_slot + row).to(tl.int64)
    position = tl.load(positions + slot).to(tl.int64)
    page = tl.load(table + slot * table_width + position // PAGE).to(tl.int64)
    cell = page * (KV_HEADS * PAGE * HEAD_DIM) + (position % PAGE) * HEAD_DIM
    pointers = (qkv, rotations, head_norm, queries, keys, values)
    _rope_row(
        *pointers, row, position, cell, PAGE * HEAD_DIM, eps, HEADS, KV_HEADS, HEAD_DIM, PADDED, HAS_NORM
    )


def rope_into_pages(
    qkv: Tensor,
    *,
    rotations: Tensor,
    positions: Tensor,
    row_slot: Tensor,
    table: Tensor,
    head_norm: Tensor | None,
    eps: float,
    keys: Tensor,
    values: Tensor,
    num_heads: int,
) -> Tensor:
    """Rotated queries [n, H, Dh] of qkv [n, (H + 2 KV) Dh]; keys and values go to their slots' pages.

    keys and values [pages, KV, PAGE, Dh] are one layer's cache; rotations [columns, Dh/2, 2] are cosines and
    sines, float32; head_norm [H + KV, Dh] scales each head's RMS-normalised query and key, or is None.
    """
    kv_heads, head_dim = keys.shape[1], keys.shape[3]
    queries = qkv.new_empty(qkv.shape[0], num_heads, head_dim)
    _rope_pages_kernel[(qkv.shape[0],)](
        qkv,
        rotations,
        positions,
        row_slot,
        table,
        qkv if head_norm is None else head_norm,
        queries,
        keys,
        values,
        table.stride(0),
        eps,
        HEADS=num_heads,
        KV_HEADS=kv_heads,
        HEAD_DIM=head_dim,
        PAGE=PAGE,
        PADDED=triton.next_power_of_2(num_heads + 2 * kv_heads),
        HAS_NORM=head_norm is not None,
    )
    return queries
