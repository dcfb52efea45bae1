"""Triton kernels of one decoding step over whole rows: attention, and the slots' bookkeeping.

A row of a step works on a slot of the cache; `row_slot` [n] says which, so rows are dropped and refilled
without moving anything. `positions` [slots] is the column that a slot's token is fed at. Every quantity that
changes from step to step is read from device memory, so a step can be captured in a CUDA graph.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from harness.model.paged_attention import add_block, weigh

KEYS_PER_BLOCK = 64


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
        weights, keep, highest = weigh(query, key, seen, highest, scale)
        value = tl.load(
            values + base + column[:, None] * HEAD_DIM + dim[None, :], mask=seen[:, None], other=0.0
        )  # [BLOCK, Dh]
        total, mixed = add_block(weights, keep, value, total, mixed)
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
