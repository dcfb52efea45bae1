"""Padded rows as a model computes them: packed, and laid out on the CPU, which knows their lengths.

Nothing here is read back from a GPU, so that the CPU stays ahead of it, a whole optimiser step if need be.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Layout:
    """Where N packed tokens stand in [B, T]: `index` [N] flat padded positions, increasing; `ends` [B + 1]
    int32, where each row begins, and N."""

    index: Tensor
    ends: Tensor
    batch: int
    width: int


@dataclass(frozen=True, slots=True)
class Rows:
    """The N tokens of B rows, one row after the other, without padding, on the device that computes them.

    `tokens` [N] and their `positions` [N] in the rows; of the M wanted ones the ids `targets` [M], where they
    stand in [B, T] flat, `at` [M], increasing, and the packed place of the token before each, `before` [M].
    """

    tokens: Tensor
    positions: Tensor
    layout: Layout
    targets: Tensor
    at: Tensor
    before: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """(B, T)."""
        return self.layout.batch, self.layout.width


def pack_rows(
    input_ids: Tensor,
    lengths: Tensor,
    wanted: Tensor | None = None,
    *,
    device: torch.device | str = "cpu",
) -> Rows:
    """Rows `input_ids` [B, T], right-padded with anything, of `lengths` [B] tokens.

    Tokens `wanted` [B, T] (None: none) are to be predicted; position 0 and padding are left out of them.

    All are on the CPU; what is made goes to `device`.
    """
    batch, width = input_ids.shape
    column = torch.arange(width)
    valid = column < lengths[:, None]  # [B, T]
    index = valid.flatten().nonzero().squeeze(1)  # [N]
    starts = lengths.cumsum(0) - lengths  # [B]
    ids = input_ids.flatten()
    at = index[:0]
    if wanted is not None:
        at = (wanted.bool() & valid & (column > 0)).flatten().nonzero().squeeze(1)  # [M]
    before = starts[at // width] + at % width - 1  # [M]
    made = (ids[index], index % width, index, F.pad(lengths.cumsum(0), (1, 0)).int(), ids[at], at, before)
    tokens, positions, index, ends, targets, at, before = (onto(x, device) for x in made)
    return Rows(tokens, positions, Layout(index, ends, batch, width), targets, at, before)


def onto(x: Tensor, device: torch.device | str) -> Tensor:
    """A copy of x on `device`, for which the CPU does not wait; x itself if it is there."""
    if torch.device(device).type != "cuda" or x.is_cuda:
        return x.to(device)
    return x.pin_memory().to(device, non_blocking=True)
