"""Sample in a GPU's slots, several steps between looks. Nothing moves: a step's rows name their slots.

Between two looks the host knows each slot's length without asking the GPU, so it can hand out the pages of
the next steps beforehand, and pause slots where there are not enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.rollout.gpu.decode import SlotDecoder, graph_rows
from harness.rollout.gpu.pages import DUMMY_PAGE, Moves, Pages
from harness.rollout.scheduler import Prefill
from harness.types import SamplingParams

STEPS_BETWEEN_CHECKS = 16  # a look at which rows have ended waits for the GPU


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


class SlotSampler:
    """A `Sampler` over the buffers and graphs of a `SlotDecoder`, which outlive it."""

    longest_first = True
    refills_at_once = True
    text_is_due = True

    def __init__(
        self, decoder: SlotDecoder, params: SamplingParams, *, capacity: int, eos_token_ids: frozenset[int]
    ) -> None:
        self.decoder, self.params, self.capacity = decoder, params, capacity
        self.policy = decoder.policy
        self.pages = Pages(decoder.num_pages)
        self.rows: dict[int, _Row] = {}
        self.running: list[int] = []  # slots of the next steps: active and not paused
        self.splits = 1
        self.num_pauses = 0
        self._paused: dict[int, Tensor] = {}  # their keys and values, on the host
        self._table = torch.full(decoder.table.shape, DUMMY_PAGE, dtype=torch.int32)
        self._written: dict[int, int] = {}  # pages of each slot in the table
        decoder.refresh()
        decoder.done.fill_(1)
        decoder.temperature.fill_(params.temperature if params.temperature > 0 else 1.0)
        decoder.top_p.fill_(params.top_p)
        decoder.is_eos.zero_()
        decoder.is_eos[sorted(eos_token_ids)] = 1

    def room(self, lengths: Sequence[int]) -> int:
        """Count how many of the next prompts, of so many tokens each, the free pages can hold."""
        return self.pages.room(lengths, STEPS_BETWEEN_CHECKS)

    def start(self, prefill: Prefill) -> None:
        """Copy the prompts' cache to the slots' pages and sample their first tokens."""
        decoder, slots = self.decoder, prefill.slots
        for slot, length in prefill.lengths.items():
            self.rows[slot] = _Row(length, 1, prefill.limits[slot])
            self.pages.cover(slot, length)
        source, page, place = self._cells(prefill)
        for layer, (keys, values) in enumerate(prefill.cache):
            decoder.keys[layer][page, :, place] = keys[source]
            decoder.values[layer][page, :, place] = values[source]
        decoder.uniforms[slots, : self.params.max_new_tokens] = prefill.uniforms
        limits = [prefill.limits[slot] for slot in prefill.lengths]
        decoder.limits[slots] = torch.tensor(limits, device=decoder.device)
        decoder.num_made[slots] = 0
        decoder.positions[slots] = prefill.ends - prefill.begins - 1
        decoder.done[slots] = 0
        first = prefill.uniforms[:, 0].contiguous()
        decoder.take(slots, *decoder.draw(prefill.logits, first, self.params))

    def _cells(self, prefill: Prefill) -> tuple[Tensor, Tensor, Tensor]:
        """Locate all prompts' tokens [M]: among the packed ones, their page, and their place in it."""
        device = self.decoder.device
        lengths = torch.tensor(list(prefill.lengths.values()))
        number = torch.repeat_interleave(torch.arange(len(lengths)), lengths)  # [M] of the slot
        column = torch.arange(len(number)) - (lengths.cumsum(0) - lengths)[number]  # [M]
        pages = torch.tensor([page for slot in prefill.lengths for page in self.pages.held[slot]])
        counts = torch.tensor([len(self.pages.held[slot]) for slot in prefill.lengths])
        page_size = self.decoder.keys.shape[3]
        page = pages[(counts.cumsum(0) - counts)[number] + column // page_size]
        source = prefill.begins[number.to(device)] + column.to(device)
        return source, page.to(device), (column % page_size).to(device)

    def advance(self) -> None:
        """Decode up to `STEPS_BETWEEN_CHECKS` steps, fewer where all rows reach their limit before."""
        running = [self.rows[slot] for slot in self.running]
        steps = min(STEPS_BETWEEN_CHECKS, max((row.limit - row.made for row in running), default=0))
        rows = graph_rows(len(running), self.capacity)
        for _ in range(steps):
            self.decoder.step(rows, self.splits, self.params)
        for row in running:
            row.made = min(row.made + steps, row.limit)

    def ended(self) -> set[int]:
        """Slots that are done, unused ones among them."""
        return {slot for slot, done in enumerate(self.decoder.done.tolist()) if done}

    def read(self, slots: Sequence[int]) -> tuple[list[list[int]], list[list[float]]]:
        """Each slot's tokens and, if asked for, their logprobs."""
        decoder = self.decoder
        index = torch.tensor(slots, device=decoder.device)
        counts = decoder.num_made[index].tolist()
        most = max(counts)
        made = decoder.out_tokens[index, :most].cpu().numpy()
        tokens = [row[:count].tolist() for row, count in zip(made, counts, strict=True)]
        if not self.params.logprobs:
            return tokens, []
        scores = decoder.out_logprobs[index, :most].cpu().numpy()
        return tokens, [row[:count].tolist() for row, count in zip(scores, counts, strict=True)]

    def free(self, slots: Sequence[int]) -> None:
        """Take the slots' pages back; mark as done those that a stop string may have ended."""
        for slot in slots:
            self.pages.release(slot)
            self._paused.pop(slot, None)
            self._written.pop(slot, None)
            del self.rows[slot]
        if self.params.stop:
            self.decoder.done.index_fill_(0, torch.tensor(slots, device=self.decoder.device), 1)

    def arrange(self, active: Sequence[int], *, waiting: bool) -> dict[int, int]:
        """Give active slots the pages of the next steps, and tell the device which slot each row works on.

        Slots for which there are no pages wait; the rows after the last work on the dummy.
        """
        columns = {slot: self.rows[slot].columns for slot in active}
        self._move(self.pages.plan(columns))
        running = [slot for slot in active if slot not in self.pages.paused]
        decoder = self.decoder
        if self.running != running:
            self.running = running
            names = torch.full((decoder.num_slots + 1,), decoder.num_slots)
            names[: len(running)] = torch.tensor(running, dtype=torch.long)
            decoder.row_slot.copy_(names)
        if running:
            rows, longest = graph_rows(len(running), self.capacity), max(columns[slot] for slot in running)
            self.splits = decoder.splits(rows, longest)
            self._write_table()
        return {}

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
