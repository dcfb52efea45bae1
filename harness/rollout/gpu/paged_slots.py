"""Sample in a GPU's slots over pages: they are handed out before each batch of steps.

Between two looks the host knows each slot's length without asking the GPU, so it can hand out the pages of
the next steps beforehand, and pause slots where there are not enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.model.chunks import PAGE
from harness.rollout.gpu.decode import graph_rows
from harness.rollout.gpu.paged_decode import PagedDecoder
from harness.rollout.gpu.pages import DUMMY_PAGE, Moves, Pages
from harness.rollout.gpu.slots import STEPS_BETWEEN_CHECKS, SlotSampler
from harness.rollout.scheduler import Prefill
from harness.types import SamplingParams


@dataclass(slots=True)
class _Row:
    """Tokens of an active slot's prompt, those it has sampled if it has not ended, and the most it may."""

    prompt: int
    made: int
    limit: int

    @property
    def columns(self) -> int:
        """Tokens that the cache holds after the next steps: the last sampled one never gets there."""
        position = self.prompt + self.made - 1
        return max(position + 1, min(position + STEPS_BETWEEN_CHECKS, self.prompt + self.limit - 1))


class PagedSampler(SlotSampler):
    """A `SlotSampler` over a `PagedDecoder`'s pages, `enough` for any `capacity` of its requests or not."""

    decoder: PagedDecoder

    def __init__(
        self,
        decoder: PagedDecoder,
        params: SamplingParams,
        *,
        capacity: int,
        eos_token_ids: frozenset[int],
        enough: bool = False,
    ) -> None:
        super().__init__(decoder, params, capacity=capacity, eos_token_ids=eos_token_ids)
        self.pages, self.enough = Pages(decoder.num_pages), enough
        self.rows: dict[int, _Row] = {}
        self.running: list[int] = []  # slots of the next steps: active and not paused
        self.num_pauses = 0
        self._paused: dict[int, Tensor] = {}  # their keys and values, on the host
        self._table = torch.full(decoder.table.shape, DUMMY_PAGE, dtype=torch.int32)
        self._written: dict[int, int] = {}  # pages of each slot in the table

    def room(self, lengths: Sequence[int]) -> int:
        """Count how many of the next prompts, of so many tokens each, the free pages can hold."""
        if self.enough:
            return len(lengths)
        return self.pages.room(lengths, STEPS_BETWEEN_CHECKS)

    def fill(self, prefill: Prefill) -> None:
        """Copy the prompts' cache to the slots' pages."""
        for slot, length in prefill.lengths.items():
            self.rows[slot] = _Row(length, 1, prefill.limits[slot])
            self.pages.cover(slot, length)
        source, page, place = self._cells(prefill)
        for layer, (keys, values) in enumerate(prefill.cache):
            self.decoder.keys[layer][page, :, place] = keys[source]
            self.decoder.values[layer][page, :, place] = values[source]

    def _cells(self, prefill: Prefill) -> tuple[Tensor, Tensor, Tensor]:
        """Locate all prompts' tokens [M]: among the packed ones, their page, and their place in it."""
        device = self.decoder.device
        lengths = torch.tensor(list(prefill.lengths.values()))
        number = torch.repeat_interleave(torch.arange(len(lengths)), lengths)  # [M] of the slot
        column = torch.arange(len(number)) - (lengths.cumsum(0) - lengths)[number]  # [M]
        pages = torch.tensor([page for slot in prefill.lengths for page in self.pages.held[slot]])
        counts = torch.tensor([len(self.pages.held[slot]) for slot in prefill.lengths])
        page = pages[(counts.cumsum(0) - counts)[number] + column // PAGE]
        source = prefill.begins[number.to(device)] + column.to(device)
        return source, page.to(device), (column % PAGE).to(device)

    def advance(self) -> None:
        """Decode up to `STEPS_BETWEEN_CHECKS` steps, fewer where all rows reach their limit before."""
        running = [self.rows[slot] for slot in self.running]
        steps = min(STEPS_BETWEEN_CHECKS, max((row.limit - row.made for row in running), default=0))
        rows = graph_rows(len(running), self.capacity)
        for _ in range(steps):
            self.decoder.step(rows, self.params)
        for row in running:
            row.made = min(row.made + steps, row.limit)

    def free(self, slots: Sequence[int]) -> None:
        """Take the slots' pages back; mark as done those that a stop string may have ended."""
        for slot in slots:
            self.pages.release(slot)
            self._paused.pop(slot, None)
            self._written.pop(slot, None)
            del self.rows[slot]
        super().free(slots)

    def arrange(self, active: Sequence[int], *, waiting: bool) -> dict[int, int]:
        """Give active slots the pages of the next steps, and tell the device which slot each row works on.

        Slots for which there are no pages wait; the rows after the last work on the dummy.
        """
        columns = {slot: self.rows[slot].columns for slot in active}
        self._move(self.pages.plan(columns))
        self.running = [slot for slot in active if slot not in self.pages.paused]
        if self.running:
            rows = graph_rows(len(self.running), self.capacity)
            self.decoder.share_out(rows, max(columns[slot] for slot in self.running))
            self._write_table()
        return super().arrange(self.running, waiting=waiting)

    def _move(self, moves: Moves) -> None:
        """Copy the paused slots' pages to the host, then those that go on back to the device."""
        for slot, pages in moves.out.items():
            self._paused[slot] = self.decoder.copy_out(pages)
            self._written.pop(slot, None)
        for slot, pages in moves.back.items():
            self.decoder.copy_in(pages, self._paused.pop(slot))
        self.num_pauses += len(moves.out)

    def _write_table(self) -> None:
        """Bring the device's table up to date with the running slots' pages; other rows are not read."""
        grown = [slot for slot in self.running if len(self.pages.held[slot]) != self._written.get(slot)]
        for slot in grown:
            pages = self.pages.held[slot]
            self._table[slot, : len(pages)] = torch.tensor(pages, dtype=torch.int32)
            self._written[slot] = len(pages)
        if grown:
            self.decoder.table.copy_(self._table)
