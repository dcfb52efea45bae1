"""AdamW of replicas: all weights in every process, a share of masters and moments in each (ZeRO-1).

A parameter's share is a block of its rows, as `Tensor.chunk` cuts them. One optimiser step exchanges each
gradient once (summed in float32, each process receiving its share) and each updated weight once (in the
parameter's own dtype), whatever the number of microbatches: arXiv:1910.02054 §5.1. Exchanges are in buckets,
of which one is filled while another is under way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

# Under their names of before PyTorch 2.13 where it is older.
_reduce_scatter = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor
_all_gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
BUCKET_ELEMENTS = 2**25  # of all processes together: 128 MiB of float32
AHEAD = 2  # buckets that are filled or under way


@dataclass(frozen=True)
class _Part:
    """A parameter, and this process's share of it: float32 rows, a view where the parameter is float32."""

    parameter: nn.Parameter
    share: Tensor
    each: int  # elements of a whole share; the last ones may be smaller, or empty

    @property
    def even(self) -> bool:
        return self.parameter.numel() == self.each * dist.get_world_size()


@dataclass(frozen=True)
class _Piece:
    """Elements [start, end) of every process's share of a part, at `at` in the bucket."""

    part: _Part
    start: int
    end: int
    at: int


class ReplicaAdamW(torch.optim.AdamW):
    """AdamW whose parameters are whole in every process and whose state is shared out."""

    def __init__(self, groups: list[dict[str, Any]], **settings: Any) -> None:
        rank, ranks = dist.get_rank(), dist.get_world_size()
        self.parts = {p: _part(p, rank, ranks) for group in groups for p in group["params"]}
        super().__init__(
            [{**g, "params": [self.parts[p].share for p in g["params"]]} for g in groups], **settings
        )

    @torch.no_grad()
    def reduce_gradients(self) -> Tensor:
        """Sum every gradient over the processes into its shares; the norm of the whole, before clipping.

        Every process must have gradients of the same parameters. Their memory is given back.
        """
        live = [part for part in self.parts.values() if part.parameter.grad is not None]
        ranks, device = dist.get_world_size(), live[0].parameter.device
        whole = torch.empty(sum(part.each for part in live), dtype=torch.float32, device=device)
        under_way: list[tuple[Any, Tensor]] = []
        done = 0
        for pieces in _buckets(live, ranks):
            size = pieces[-1].at + pieces[-1].end - pieces[-1].start
            sent = torch.empty(ranks, size, dtype=torch.float32, device=device)
            for piece in pieces:
                assert piece.part.parameter.grad is not None
                _fill(sent, piece, piece.part.parameter.grad)
            received = whole[done : done + size]
            under_way.append((_reduce_scatter(received, sent.view(-1), async_op=True), sent))
            done += size
            if len(under_way) == AHEAD:
                under_way.pop(0)[0].wait()
        for work, _ in under_way:
            work.wait()
        done = 0
        for part in live:
            part.parameter.grad = None
            if part.share.numel():
                part.share.grad = whole[done : done + part.share.numel()].view(part.share.shape)
            done += part.each
        return self._norm(device)

    def _norm(self, device: torch.device) -> Tensor:
        found = [share.grad for share in self.shares if share.grad is not None]
        squares = torch.zeros((), dtype=torch.float32, device=device)
        if found:
            squares = torch.stack(torch._foreach_norm(found, 2, torch.float32)).square().sum()
        dist.all_reduce(squares)
        return squares.sqrt()

    @property
    def shares(self) -> list[Tensor]:
        """This process's share of every parameter."""
        return [part.share for part in self.parts.values()]

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        assert closure is None
        super().step()
        self.gather_weights()

    @torch.no_grad()
    def gather_weights(self) -> None:
        """Set every parameter to its masters, rounded to its dtype."""
        ranks = dist.get_world_size()
        under_way: list[tuple[Any, Tensor, Tensor, list[_Piece]]] = []

        def finish() -> None:
            work, _, received, pieces = under_way.pop(0)
            work.wait()
            for piece in pieces:
                _spread(received, piece)

        for pieces in _buckets(list(self.parts.values()), ranks):
            size, parameter = pieces[-1].at + pieces[-1].end - pieces[-1].start, pieces[0].part.parameter
            sent = torch.zeros(size, dtype=parameter.dtype, device=parameter.device)
            for piece in pieces:
                own = piece.part.share.view(-1)[piece.start : piece.end]
                sent[piece.at : piece.at + own.numel()].copy_(own)
            received = torch.empty(ranks * size, dtype=sent.dtype, device=sent.device)
            work = _all_gather(received, sent, async_op=True)
            under_way.append((work, sent, received.view(ranks, size), pieces))
            if len(under_way) == AHEAD:
                finish()
        while under_way:
            finish()

    def zero_grad(self, set_to_none: bool = True) -> None:
        super().zero_grad(set_to_none)
        for parameter in self.parts:
            parameter.grad = None


def _part(parameter: nn.Parameter, rank: int, ranks: int) -> _Part:
    rows = -(-parameter.shape[0] // ranks)
    own = parameter.detach()[rank * rows : (rank + 1) * rows]
    share = own if parameter.dtype == torch.float32 else own.float()
    return _Part(parameter, share, rows * parameter[0].numel())


def _buckets(parts: Sequence[_Part], ranks: int) -> Iterator[list[_Piece]]:
    """The parts in pieces of one dtype, at most BUCKET_ELEMENTS of all processes together."""
    most, pieces, size = max(1, BUCKET_ELEMENTS // ranks), list[_Piece](), 0
    for part in parts:
        if pieces and pieces[-1].part.parameter.dtype != part.parameter.dtype:
            yield pieces
            pieces, size = [], 0
        start = 0
        while start < part.each:
            end = min(part.each, start + most - size)
            pieces.append(_Piece(part, start, end, size))
            size, start = size + end - start, end
            if size == most:
                yield pieces
                pieces, size = [], 0
    if pieces:
        yield pieces


def _places(piece: _Piece) -> Iterator[tuple[int, slice]]:
    """(process, elements of the flat parameter) of a piece, where there are any."""
    number = piece.part.parameter.numel()
    for rank in range(dist.get_world_size()):
        first = rank * piece.part.each
        at = slice(first + piece.start, min(first + piece.end, number))
        if at.start < at.stop:
            yield rank, at


def _fill(bucket: Tensor, piece: _Piece, gradient: Tensor) -> None:
    """Write a piece of a gradient into the bucket [ranks, size], zeros where a share is short."""
    flat, columns = gradient.reshape(-1), slice(piece.at, piece.at + piece.end - piece.start)
    if piece.part.even:
        bucket[:, columns].copy_(flat.view(bucket.shape[0], -1)[:, piece.start : piece.end])
        return
    bucket[:, columns].zero_()
    for rank, at in _places(piece):
        bucket[rank, piece.at : piece.at + at.stop - at.start].copy_(flat[at])


def _spread(bucket: Tensor, piece: _Piece) -> None:
    """Write a piece of the bucket [ranks, size] into its parameter: `_fill`'s inverse."""
    flat, columns = (
        piece.part.parameter.detach().view(-1),
        slice(piece.at, piece.at + piece.end - piece.start),
    )
    if piece.part.even:
        flat.view(bucket.shape[0], -1)[:, piece.start : piece.end].copy_(bucket[:, columns])
        return
    for rank, at in _places(piece):
        flat[at].copy_(bucket[rank, piece.at : piece.at + at.stop - at.start])


@torch.no_grad()
def sum_gradients(gradients: Sequence[Tensor]) -> None:
    """Sum whole float32 gradients over the processes, in place, for an optimiser that is not shared out."""
    work = [dist.all_reduce(gradient, async_op=True) for gradient in gradients]
    for one in work:
        one.wait()


@torch.no_grad()
def checksum(parameters: Sequence[Tensor]) -> int:
    """A number by which weights are told apart that differ in a bit, almost surely."""
    kinds = {2: torch.int16, 4: torch.int32}
    sums = [p.detach().view(kinds[p.element_size()]).sum(dtype=torch.int64) for p in parameters]
    weights = torch.arange(1, len(sums) + 1, device=sums[0].device)
    return int((torch.stack(sums) * weights).sum())
