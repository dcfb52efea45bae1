"""Pack padded rows for a model, shared prompts once. All indices are computed on the CPU.

The CPU knows the rows' lengths, so nothing is read back from a GPU, and the CPU can queue work a whole
optimiser step ahead of it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True)
class GatherIndex:
    """Rows to gather, [K]. If a row is gathered more than once, `order`/`ends` are the CSR layout of the
    inverse map, for the backward sum.

    `order` [K], `ends` [N + 1]: row n of N is at places order[ends[n] : ends[n + 1]] of `index`. Without
    them, `index` increases strictly. Index [2, 0, 2] of N = 3 has order [1, 0, 2],
    ends [0, 1, 1, 3].
    """

    index: Tensor
    order: Tensor | None = None
    ends: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """Positions of N packed tokens in B rows of T, and the keys that they attend to.

    `index` [N] flat padded positions, increasing; `ends` [B + 1] int32, where each row's tokens begin, and N.
    Where rows share prompts, `keys` are the tokens of all rows, each with its prompt: K packed ones with
    `key_ends` [B + 1] int32, or, if `padded`, B × T of them (padding repeats the row's last token). Else they
    are None: a row sees its own tokens alone.
    """

    index: Tensor
    ends: Tensor
    batch: int
    width: int
    keys: GatherIndex | None = None
    key_ends: Tensor | None = None
    padded: bool = True


@dataclass(frozen=True, slots=True)
class Rows:
    """Packed tokens of B rows, one row after the other, on the device that computes them.

    `tokens` [N] and their `positions` [N] in the rows. For the M tokens to be predicted: their ids `targets`
    [M], their flat positions `at` [M] in [B, T], increasing, and `before`, the packed token in front of each.
    """

    tokens: Tensor
    positions: Tensor
    layout: Layout
    targets: Tensor
    at: Tensor
    before: GatherIndex

    @property
    def shape(self) -> tuple[int, int]:
        """(B, T)."""
        return self.layout.batch, self.layout.width


@dataclass(frozen=True, slots=True)
class Prompts:
    """Prompts that rows share: rows with equal `ids` [B] begin with the same tokens, `lengths` [B] of them.

    `padded`: attention will be computed on [B, T] (`harness.model.attention.pads`).
    """

    ids: Tensor
    lengths: Tensor
    padded: bool

    def sources(self) -> tuple[Tensor, Tensor]:
        """For each row, the first row with its prompt, and the tokens taken from it (0 if it is that row)."""
        first: dict[int, int] = {}
        source = torch.tensor([first.setdefault(i, row) for row, i in enumerate(self.ids.tolist())])
        own = source == torch.arange(len(source))
        return source, torch.where(own, 0, self.lengths)


def pack_rows(
    input_ids: Tensor,
    lengths: Tensor,
    wanted: Tensor | None = None,
    *,
    prompts: Prompts | None = None,
    device: torch.device | str = "cpu",
) -> Rows:
    """Pack rows `input_ids` [B, T] of `lengths` [B] tokens, right-padded with anything.

    Tokens `wanted` [B, T] are to be predicted (None: no token), except position 0 and padding. A prompt that
    several rows share is computed once, in the first. Arguments are on the CPU, the result on `device`.
    """
    batch, width = input_ids.shape
    column = torch.arange(width)
    valid = column < lengths[:, None]  # [B, T]
    source, taken = torch.arange(batch), torch.zeros_like(lengths)  # [B]
    if prompts is not None:
        source, taken = prompts.sources()
    shared = column < taken[:, None]  # [B, T]
    own = valid & ~shared
    index = own.flatten().nonzero().squeeze(1)  # [N]
    number = own.flatten().cumsum(0).view(batch, width) - 1  # [B, T] of the packed token
    layout = Layout(index, _ends(own.sum(1)), batch, width)
    if prompts is not None and bool(taken.any()):
        number = torch.where(shared, number[source], number)
        keys = _repeated_index(number[valid], len(index))
        if prompts.padded:
            keys = _over_padding(keys, number, valid, lengths)
        layout = replace(layout, keys=keys, key_ends=_ends(lengths), padded=prompts.padded)
    at = index[:0]
    if wanted is not None:
        at = (wanted.bool() & valid & (column > 0)).flatten().nonzero().squeeze(1)  # [M]
    before = number.flatten()[at - 1]  # [M]
    places = GatherIndex(before) if layout.keys is None else _repeated_index(before, len(index))
    ids = input_ids.flatten()
    return _rows_to_device(Rows(ids[index], index % width, layout, ids[at], at, places), device)


def _ends(counts: Tensor) -> Tensor:
    return F.pad(counts.cumsum(0), (1, 0)).int()


def _repeated_index(index: Tensor, num: int) -> GatherIndex:
    """Gather `index` [K] of `num` rows, in any order, with repetitions."""
    order = torch.from_numpy(index.numpy().argsort(kind="stable"))
    return GatherIndex(index, order, F.pad(torch.bincount(index, minlength=num).cumsum(0), (1, 0)))


def _over_padding(keys: GatherIndex, number: Tensor, valid: Tensor, lengths: Tensor) -> GatherIndex:
    """Extend `keys` to [B × T]: padding repeats its row's last token and adds nothing to its gradient."""
    assert keys.order is not None
    last = torch.minimum(torch.arange(number.shape[1]), lengths[:, None] - 1)  # [B, T]
    order = valid.flatten().nonzero().squeeze(1)[keys.order]  # [K]
    return GatherIndex(number.gather(1, last).flatten(), order, keys.ends)


def _rows_to_device(rows: Rows, device: torch.device | str) -> Rows:
    def moved(x: Any) -> Any:
        if isinstance(x, Tensor):
            return to_device(x, device)
        if isinstance(x, (GatherIndex, Layout)):
            return replace(x, **{f.name: moved(getattr(x, f.name)) for f in fields(x)})
        return x

    return replace(rows, **{f.name: moved(getattr(rows, f.name)) for f in fields(rows)})


def to_device(x: Tensor, device: torch.device | str) -> Tensor:
    """Copy x to `device` without waiting for a GPU; x itself if it is there already."""
    if torch.device(device).type != "cuda" or x.is_cuda:
        return x.to(device)
    return x.pin_memory().to(device, non_blocking=True)
