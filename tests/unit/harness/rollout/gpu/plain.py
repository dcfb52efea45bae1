"""Attention over pages in plain PyTorch, one row at a time: what the kernels are compared with."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.model.chunks import PAGE
from harness.rollout.gpu.pages import DUMMY_PAGE, pages_of


def pages_in_any_order(lengths: list[int], *, width: int | None = None) -> tuple[list[int], Tensor]:
    """Shuffled pages 1, 2, ... for slots of so many tokens, and the table [slots, width] that names them."""
    counts = [pages_of(length) for length in lengths]
    order = torch.randperm(sum(counts), generator=torch.Generator().manual_seed(7)) + DUMMY_PAGE + 1
    table = torch.full((len(lengths), width or max(counts)), DUMMY_PAGE, dtype=torch.int32)
    for slot, part in enumerate(order.split(counts)):
        table[slot, : len(part)] = part
    return order.tolist(), table


def poison_unwritten(keys: Tensor, values: Tensor, table: Tensor, lengths: list[int]) -> None:
    """Put NaN where no slot's tokens are: on the dummy page, and after the last token of each last page."""
    for cache in (keys, values):
        cache[DUMMY_PAGE] = float("nan")
        for slot, length in enumerate(lengths):
            cache[int(table[slot, pages_of(length) - 1]), :, (length - 1) % PAGE + 1 :] = float("nan")


def gathered(cache: Tensor, table: Tensor, slot: int, length: int) -> Tensor:
    """A slot's first `length` tokens, [length, KV, Dh], out of pages [pages, KV, PAGE, Dh]."""
    column = torch.arange(length, device=cache.device)
    return cache[table[slot].long()[column // PAGE], :, column % PAGE]


def plain_attention(
    queries: Tensor, keys: Tensor, values: Tensor, table: Tensor, positions: Tensor, row_slot: Tensor
) -> Tensor:
    """Softmax attention of each row's query over its slot's tokens, in float64: [n, H, Dh] -> [n, H Dh]."""
    rows, heads, head_dim = queries.shape
    group = heads // keys.shape[1]
    out = torch.empty(rows, heads, head_dim, dtype=torch.float64)
    for row, slot in enumerate(row_slot.tolist()):
        length = int(positions[slot]) + 1
        seen, mixed = (gathered(x, table, slot, length).double().cpu() for x in (keys, values))
        for head in range(heads):
            scores = seen[:, head // group] @ queries[row, head].double().cpu() / head_dim**0.5
            out[row, head] = scores.softmax(0) @ mixed[:, head // group]
    return out.flatten(1)
