"""Triton kernels of one decoding step: rotary embedding into the cache, and the slots' bookkeeping.

A row of a step works on a slot; `row_slot` [n] says which, so rows are dropped and refilled without moving
anything. `positions` [slots] is the place in its sequence that a slot's token is fed at, and `table`
[slots, most pages] says in which pages of the cache its sequence is. Every quantity that changes from step to
step is read from device memory, so a step can be captured in a CUDA graph.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from harness.rollout.gpu.pages import PAGE


@triton.jit
def _rope_cache_kernel(
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
    page = tl.load(table + slot * table_width + position // PAGE).to(tl.int64)
    cell = page * (KV_HEADS * PAGE * HEAD_DIM) + (position % PAGE) * HEAD_DIM + dim
    tl.store(keys + cell + (head - HEADS) * (PAGE * HEAD_DIM), x, mask=(head >= HEADS) & turns)
    value = values + cell + (head - HEADS - KV_HEADS) * (PAGE * HEAD_DIM)
    tl.store(value, x, mask=(head >= HEADS + KV_HEADS) & inside)


def rope_into_cache(
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
    _rope_cache_kernel[(qkv.shape[0],)](
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


@triton.jit
def _advance_kernel(
    row_slot,
    new_tokens,
    new_logprobs,
    tokens,
    positions,
    num_made,
    limits,
    is_eos,
    done,
    out_tokens,
    out_logprobs,
    width,
    rows,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = row < rows
    slot = tl.load(row_slot + row, mask=inside, other=0).to(tl.int64)
    going = inside & (tl.load(done + slot, mask=inside, other=1) == 0)
    token = tl.load(new_tokens + row, mask=going, other=0)
    made = tl.load(num_made + slot, mask=going, other=0)
    tl.store(out_tokens + slot * width + made, token, mask=going)
    tl.store(out_logprobs + slot * width + made, tl.load(new_logprobs + row, mask=going), mask=going)
    tl.store(tokens + slot, token, mask=going)
    tl.store(num_made + slot, made + 1, mask=going)
    ended = (tl.load(is_eos + token, mask=going, other=0) != 0) | (
        made + 1 >= tl.load(limits + slot, mask=going, other=0)
    )
    position = tl.load(positions + slot, mask=going, other=0)
    tl.store(positions + slot, tl.where(ended, position, position + 1), mask=going)
    tl.store(done + slot, ended.to(tl.int8), mask=going)


def advance(
    row_slot: Tensor,
    new_tokens: Tensor,
    new_logprobs: Tensor,
    *,
    tokens: Tensor,
    positions: Tensor,
    num_made: Tensor,
    limits: Tensor,
    is_eos: Tensor,
    done: Tensor,
    out_tokens: Tensor,
    out_logprobs: Tensor,
) -> None:
    """Write each row's new token to its slot and say whether it ended; slots that are done stay as they are.

    An ended slot's position no longer moves, so what it goes on computing stays inside its own columns.
    """
    rows = row_slot.shape[0]
    _advance_kernel[(triton.cdiv(rows, 128),)](
        row_slot,
        new_tokens,
        new_logprobs,
        tokens,
        positions,
        num_made,
        limits,
        is_eos,
        done,
        out_tokens,
        out_logprobs,
        out_tokens.shape[1],
        rows,
        BLOCK=128,
    )
