"""Padded rows as a model computes them: packed, a shared prompt once, and laid out on the CPU.

The CPU knows their lengths, so nothing here is read back from a GPU: it stays ahead of it, a whole optimiser
step if need be.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Places:
    """Which of N things are taken, `index` [K]. With `order` [K] and `ends` [N + 1] a thing may be taken
    several times: n as number order[ends[n] : ends[n + 1]] of them. Without, the index increases strictly."""

    index: Tensor
    order: Tensor | None = None
    ends: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """Where N packed tokens stand in B rows of T, and the keys that they see.

    `index` [N] flat padded positions, increasing; `ends` [B + 1] int32, where each row's tokens begin, and N.
    Where rows share prompts, `keys` are the tokens of all rows, each with its prompt: K packed ones with
    `key_ends` [B + 1] int32, or, if `padded`, B × T of them (padding repeats the row's last token). Else they
    are None: a row sees its own tokens alone.
    """

    index: Tensor
    ends: Tensor
    batch: int
    width: int
    keys: Places | None = None
    key_ends: Tensor | None = None
    padded: bool = True


@dataclass(frozen=True, slots=True)
class Rows:
    """The N tokens that are computed of B rows, one row after the other, on the device that computes them.

    `tokens` [N] and their `positions` [N] in the rows; of the M wanted ones the ids `targets` [M], where they
    stand in [B, T] flat, `at` [M], increasing, and which token is `before` each, M of N.
    """

    tokens: Tensor
    positions: Tensor
    layout: Layout
    targets: Tensor
    at: Tensor
    before: Places

    @property
    def shape(self) -> tuple[int, int]:
        """(B, T)."""
        return self.layout.batch, self.layout.width


@dataclass(frozen=True, slots=True)
class Prompts:
    """Which rows [B] begin alike: those with the same number in `ids` [B] have the same `lengths` [B] tokens
    first. `padded` says that attention will be computed on [B, T] (`harness.model.attention.pads`)."""

    ids: Tensor
    lengths: Tensor
    padded: bool

    def sources(self) -> tuple[Tensor, Tensor]:
        """Of each row: the first one with its prompt, and how many tokens it takes from there (itself: 0)."""
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
    """Rows `input_ids` [B, T], right-padded with anything, of `lengths` [B] tokens.

    Tokens `wanted` [B, T] (None: none) are to be predicted; position 0 and padding are left out of them. A
    prompt that several rows begin with is computed once, in the first. All are on the CPU; what is made goes
    to `device`.
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
        keys = _several(number[valid], len(index))
        if prompts.padded:
            keys = _over_padding(keys, number, valid, lengths)
        layout = replace(layout, keys=keys, key_ends=_ends(lengths), padded=prompts.padded)
    at = index[:0]
    if wanted is not None:
        at = (wanted.bool() & valid & (column > 0)).flatten().nonzero().squeeze(1)  # [M]
    before = number.flatten()[at - 1]  # [M]
    places = Places(before) if layout.keys is None else _several(before, len(index))
    ids = input_ids.flatten()
    return _onto(Rows(ids[index], index % width, layout, ids[at], at, places), device)


def _ends(counts: Tensor) -> Tensor:
    return F.pad(counts.cumsum(0), (1, 0)).int()


def _several(index: Tensor, num: int) -> Places:
    """Any index [K] of `num` things."""
    order = torch.from_numpy(index.numpy().argsort(kind="stable"))
    return Places(index, order, F.pad(torch.bincount(index, minlength=num).cumsum(0), (1, 0)))


def _over_padding(keys: Places, number: Tensor, valid: Tensor, lengths: Tensor) -> Places:
    """The same at B × T places: padding takes its row's last token, and is in no token's gradient."""
    assert keys.order is not None
    last = torch.minimum(torch.arange(number.shape[1]), lengths[:, None] - 1)  # [B, T]
    order = valid.flatten().nonzero().squeeze(1)[keys.order]  # [K]
    return Places(number.gather(1, last).flatten(), order, keys.ends)


def _onto(rows: Rows, device: torch.device | str) -> Rows:
    def moved(x: Any) -> Any:
        if isinstance(x, Tensor):
            return onto(x, device)
        if isinstance(x, (Places, Layout)):
            return replace(x, **{f.name: moved(getattr(x, f.name)) for f in fields(x)})
        return x

    return replace(rows, **{f.name: moved(getattr(rows, f.name)) for f in fields(rows)})


def onto(x: Tensor, device: torch.device | str) -> Tensor:
    """A copy of x on `device`, for which the CPU does not wait; x itself if it is there."""
    if torch.device(device).type != "cuda" or x.is_cuda:
        return x.to(device)
    return x.pin_memory().to(device, non_blocking=True)
