"""Triton kernels of attention for decoding: one query a row over the pages of its slot.

A row's keys are shared out to `splits` programs, each of which reads its share page by page; a second kernel
adds the shares up (FlashDecoding's scheme). Pages are found in `table`, which is read from device memory, as
are all lengths, so a step can be captured in a CUDA graph.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from harness.model.chunks import PAGE

NUM_WARPS = 4
LEAST_KEYS = 256  # of a program's share: fewer are read sooner than they are added up
_MOST_KEYS = 2048  # of a program's share: a long row is not waited for when all others are done
_PROGRAMS_WANTED = 1056  # eight a multiprocessor of an H100
_MAX_SPLITS = 64
_SHARES_AT_ONCE = 8


def splits_of(programs: int, longest: int) -> int:
    """Programs, a power of two, that share a row's keys, where one each would make `programs` of them.

    `longest` is the longest row of the step, in tokens: enough programs to fill the GPU, and no share of more
    than `_MOST_KEYS`. A few powers of two, because each is a graph of its own.
    """
    most = max(1, longest // LEAST_KEYS)
    wanted = min(_PROGRAMS_WANTED // programs, most)
    wanted = max(wanted, -(-longest // _MOST_KEYS), 1)
    return min(_MAX_SPLITS, 1 << (wanted - 1).bit_length())


@triton.jit
def _share(length, splits, PAGE: tl.constexpr, LEAST: tl.constexpr):
    """Keys of each program, whole pages."""
    return tl.maximum(tl.cdiv(tl.cdiv(length, splits), PAGE) * PAGE, LEAST)


@triton.jit
def weigh(query, key, seen, highest, scale):
    """Weights [PADDED, BLOCK] of keys [Dh, BLOCK], what is kept of earlier sums, and the new maxima."""
    scores = tl.dot(query, key, input_precision="ieee") * scale
    scores = tl.where(seen[None, :], scores, float("-inf"))
    new_highest = tl.maximum(highest, tl.max(scores, axis=1))
    return tl.exp(scores - new_highest[:, None]), tl.exp(highest - new_highest), new_highest


@triton.jit
def add_block(weights, keep, value, total, mixed):
    """Add a block's weights and weighted values [BLOCK, Dh] to the sums of those before."""
    total = total * keep + tl.sum(weights, axis=1)
    mixed = mixed * keep[:, None] + tl.dot(weights.to(value.dtype), value, input_precision="ieee")
    return total, mixed


@triton.jit(do_not_specialize=["splits"])
def _attend_kernel(
    queries,
    keys,
    values,
    table,
    positions,
    row_slot,
    out,
    partial,
    statistics,
    table_width,
    scale,
    splits,
    HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    PADDED: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    PAGE: tl.constexpr,
    LEAST: tl.constexpr,
    DIRECT: tl.constexpr,
):
    row, kv_head, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    slot = tl.load(row_slot + row).to(tl.int64)
    length = tl.load(positions + slot).to(tl.int32) + 1
    share = _share(length, splits, PAGE, LEAST)
    start = split * share
    stop = tl.minimum(start + share, length)
    member, dim, place = tl.arange(0, PADDED), tl.arange(0, HEAD_DIM), tl.arange(0, PAGE)
    head = kv_head * GROUP + member
    real = member < GROUP
    at = (row * HEADS + head).to(tl.int64)
    query = tl.load(queries + at[:, None] * HEAD_DIM + dim[None, :], mask=real[:, None], other=0.0)
    highest = tl.full([PADDED], float("-inf"), tl.float32)
    total = tl.zeros([PADDED], tl.float32)
    mixed = tl.zeros([PADDED, HEAD_DIM], tl.float32)
    page_stride = (HEADS // GROUP) * PAGE * HEAD_DIM
    pages = table + slot * table_width
    for first in range(start, stop, PAGE):
        page = tl.load(pages + first // PAGE).to(tl.int64)
        base = page * page_stride + kv_head * PAGE * HEAD_DIM
        seen = first + place < stop
        key = tl.load(
            keys + base + place[None, :] * HEAD_DIM + dim[:, None], mask=seen[None, :], other=0.0
        )  # [Dh, PAGE]
        value = tl.load(
            values + base + place[:, None] * HEAD_DIM + dim[None, :], mask=seen[:, None], other=0.0
        )  # [PAGE, Dh]
        weights, keep, highest = weigh(query, key, seen, highest, scale)
        total, mixed = add_block(weights, keep, value, total, mixed)
    if DIRECT:
        tl.store(out + at[:, None] * HEAD_DIM + dim[None, :], mixed / total[:, None], mask=real[:, None])
    else:  # a program without keys writes nothing: its share is not read
        written = real & (start + 0 * member < length)
        cell = at * splits + split
        tl.store(partial + cell[:, None] * HEAD_DIM + dim[None, :], mixed, mask=written[:, None])
        tl.store(statistics + 2 * cell, highest, mask=written)
        tl.store(statistics + 2 * cell + 1, total, mask=written)


@triton.jit(do_not_specialize=["splits"])
def _combine_kernel(
    partial,
    statistics,
    positions,
    row_slot,
    out,
    splits,
    HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    PAGE: tl.constexpr,
    LEAST: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row, head = tl.program_id(0), tl.program_id(1)
    slot = tl.load(row_slot + row).to(tl.int64)
    length = tl.load(positions + slot).to(tl.int32) + 1
    used = tl.cdiv(length, _share(length, splits, PAGE, LEAST))
    at = (row * HEADS + head).to(tl.int64)
    dim = tl.arange(0, HEAD_DIM)
    highest = float("-inf")
    total = 0.0
    mixed = tl.zeros([HEAD_DIM], tl.float32)
    for first in range(0, used, BLOCK):
        part = first + tl.arange(0, BLOCK)
        there = part < used
        cell = at * splits + part
        highest_of = tl.load(statistics + 2 * cell, mask=there, other=float("-inf"))
        total_of = tl.load(statistics + 2 * cell + 1, mask=there, other=0.0)
        mixed_of = tl.load(
            partial + cell[:, None] * HEAD_DIM + dim[None, :], mask=there[:, None], other=0.0
        )  # [BLOCK, Dh]
        new_highest = tl.maximum(highest, tl.max(highest_of, axis=0))
        keep = tl.exp(highest - new_highest)
        weight = tl.exp(highest_of - new_highest)
        total = total * keep + tl.sum(total_of * weight, axis=0)
        mixed = mixed * keep + tl.sum(mixed_of * weight[:, None], axis=0)
        highest = new_highest
    tl.store(out + at * HEAD_DIM + dim, mixed / total)


def _stages(page_bytes: int) -> int:
    """Depth of the kernel's pipeline. Finding a page takes two of its stages, so 5 keep two pages in flight.

    Of 16 KiB pages of keys and of values they take 72 KB of shared memory, and 3 of 32 KiB ones 78 KB.
    """
    return 5 if page_bytes <= 16 * 1024 else 3 if page_bytes <= 32 * 1024 else 1


def attend_pages(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    *,
    table: Tensor,
    positions: Tensor,
    row_slot: Tensor,
    splits: int,
    least: int = LEAST_KEYS,
) -> Tensor:
    """Softmax attention of one query a row over its slot's tokens 0 to position: [n, H, Dh] -> [n, H Dh].

    keys and values [pages, KV, PAGE, Dh] are one layer's cache; table [slots, most pages] int32 says where a
    slot's tokens are, positions [slots] how many there are but one, row_slot [n] whose slot a row reads.
    `splits` programs share a row's keys, `least` or more each. Each key-value head's queries are one matrix
    product, so a key is read once a group.
    """
    rows, heads, head_dim = queries.shape
    kv_heads = keys.shape[1]
    group = heads // kv_heads
    out = torch.empty_like(queries)
    partial, statistics = out, out  # not touched where a program has all of a row's keys
    if splits > 1:
        partial = queries.new_empty(rows, heads, splits, head_dim, dtype=torch.float32)
        statistics = queries.new_empty(rows, heads, splits, 2, dtype=torch.float32)
    _attend_kernel[(rows, kv_heads, splits)](
        *(queries, keys, values, table, positions, row_slot, out, partial, statistics),
        table.stride(0),
        head_dim**-0.5,
        splits,
        HEADS=heads,
        GROUP=group,
        PADDED=max(16, triton.next_power_of_2(group)),
        HEAD_DIM=head_dim,
        PAGE=PAGE,
        LEAST=least,
        DIRECT=splits == 1,
        num_warps=NUM_WARPS,
        num_stages=_stages(PAGE * head_dim * keys.element_size()),
    )
    if splits > 1:
        _combine_kernel[(rows, heads)](
            *(partial, statistics, positions, row_slot, out, splits),
            HEADS=heads,
            HEAD_DIM=head_dim,
            PAGE=PAGE,
            LEAST=least,
            BLOCK=_SHARES_AT_ONCE,
        )
    return out.flatten(1)
