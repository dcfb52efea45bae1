"""Triton kernels of one decoding step: rotary embedding into the cache, attention, the slots' bookkeeping.

A row of a step works on a slot of the cache; `row_slot` [n] says which, so rows are dropped and refilled
without moving anything. `positions` [slots] is the column that a slot's token is fed at. Every quantity that
changes from step to step is read from device memory, so a step can be captured in a CUDA graph.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

KEYS_PER_BLOCK = 64


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
    cell = slot * slot_stride + position * HEAD_DIM + dim
    tl.store(keys + cell + (head - HEADS) * head_stride, x, mask=(head >= HEADS) & turns)
    value = values + cell + (head - HEADS - KV_HEADS) * head_stride
    tl.store(value, x, mask=(head >= HEADS + KV_HEADS) & inside)


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
def _attend_kernel(
    queries,
    keys,
    values,
    positions,
    row_slot,
    out,
    partial,
    statistics,
    slot_stride,
    head_stride,
    scale,
    HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    PADDED: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK: tl.constexpr,
    SPLITS: tl.constexpr,
):
    row, kv_head, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    slot = tl.load(row_slot + row).to(tl.int64)
    length = tl.load(positions + slot).to(tl.int32) + 1
    member, dim = tl.arange(0, PADDED), tl.arange(0, HEAD_DIM)
    head = kv_head * GROUP + member
    real = member < GROUP
    query = tl.load(
        queries + (row * HEADS + head)[:, None] * HEAD_DIM + dim[None, :], mask=real[:, None], other=0.0
    )
    chunk = tl.cdiv(tl.cdiv(length, SPLITS), BLOCK) * BLOCK
    start = split * chunk
    stop = tl.minimum(start + chunk, length)
    highest = tl.full([PADDED], float("-inf"), tl.float32)
    total = tl.zeros([PADDED], tl.float32)
    mixed = tl.zeros([PADDED, HEAD_DIM], tl.float32)
    base = slot * slot_stride + kv_head * head_stride
    for first in range(start, stop, BLOCK):
        column = first + tl.arange(0, BLOCK)
        seen = column < stop
        key = tl.load(
            keys + base + column[None, :] * HEAD_DIM + dim[:, None], mask=seen[None, :], other=0.0
        )  # [Dh, BLOCK]
        scores = tl.dot(query, key, input_precision="ieee") * scale
        scores = tl.where(seen[None, :], scores, float("-inf"))
        new_highest = tl.maximum(highest, tl.max(scores, axis=1))
        weights = tl.exp(scores - new_highest[:, None])
        keep = tl.exp(highest - new_highest)
        value = tl.load(
            values + base + column[:, None] * HEAD_DIM + dim[None, :], mask=seen[:, None], other=0.0
        )  # [BLOCK, Dh]
        total = total * keep + tl.sum(weights, axis=1)
        mixed = mixed * keep[:, None] + tl.dot(weights.to(value.dtype), value, input_precision="ieee")
        highest = new_highest
    if SPLITS == 1:
        target = out + (row * HEADS + head)[:, None] * HEAD_DIM + dim[None, :]
        tl.store(target, mixed / total[:, None], mask=real[:, None])
    else:
        place = (row * HEADS + head) * SPLITS + split
        tl.store(partial + place[:, None] * HEAD_DIM + dim[None, :], mixed, mask=real[:, None])
        tl.store(statistics + 2 * place, highest, mask=real)
        tl.store(statistics + 2 * place + 1, total, mask=real)


@triton.jit
def _combine_kernel(partial, statistics, out, HEAD_DIM: tl.constexpr, SPLITS: tl.constexpr):
    place = tl.program_id(0)
    split = tl.arange(0, SPLITS)
    dim = tl.arange(0, HEAD_DIM)
    highest = tl.load(statistics + 2 * (place * SPLITS + split))
    total = tl.load(statistics + 2 * (place * SPLITS + split) + 1)
    weight = tl.exp(highest - tl.max(highest, axis=0))  # a split without keys: exp(-inf) = 0
    parts = tl.load(partial + (place * SPLITS + split)[:, None] * HEAD_DIM + dim[None, :])
    mixed = tl.sum(parts * weight[:, None], axis=0) / tl.sum(total * weight, axis=0)
    tl.store(out + place * HEAD_DIM + dim, mixed)


def attend(
    queries: Tensor, keys: Tensor, values: Tensor, *, positions: Tensor, row_slot: Tensor, splits: int
) -> Tensor:
    """Softmax attention of one query a row over its slot's columns 0 to position: [n, H, Dh] -> [n, H Dh].

    `splits` (a power of two) programs share a row's keys, for few rows and long contexts. Each key-value
    head's queries are one matrix product, so a key is read once a group. FlashDecoding's scheme.
    """
    rows, heads, head_dim = queries.shape
    kv_heads = keys.shape[1]
    out = torch.empty_like(queries)
    partial, statistics = queries, queries
    if splits > 1:
        partial = queries.new_empty(rows, heads, splits, head_dim, dtype=torch.float32)
        statistics = queries.new_empty(rows, heads, splits, 2, dtype=torch.float32)
    group = heads // kv_heads
    _attend_kernel[(rows, kv_heads, splits)](
        queries,
        keys,
        values,
        positions,
        row_slot,
        out,
        partial,
        statistics,
        keys.stride(0),
        keys.stride(1),
        head_dim**-0.5,
        HEADS=heads,
        GROUP=group,
        PADDED=max(16, triton.next_power_of_2(group)),
        HEAD_DIM=head_dim,
        BLOCK=KEYS_PER_BLOCK,
        SPLITS=splits,
        num_warps=4,
        num_stages=2,
    )
    if splits > 1:
        _combine_kernel[(rows * heads,)](partial, statistics, out, HEAD_DIM=head_dim, SPLITS=splits)
    return out.flatten(1)


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
