"""Sample in static buffers whose rows all write at one column: for a CPU, or a GPU without our kernels.

Rows that ended are moved over once nothing waits; columns that no row needs any more are shifted out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from harness.model.policy import Policy
from harness.rollout.decode import Slots, decode_step, fuse
from harness.rollout.prefixes import ROOT, Prefixes
from harness.rollout.results import Request
from harness.rollout.sampling import sample, uniforms
from harness.rollout.scheduler import Prefill
from harness.types import SamplingParams

# Steps between looks at which rows have ended: a look is free on a CPU and stalls a GPU.
STEPS_BETWEEN_CHECKS = {"cpu": 1, "cuda": 8}
_STEPS_BETWEEN_TEXT_CHECKS = 16


@dataclass(slots=True)
class _Row:
    """Columns of an active row: `start` of its prompt's first token, `first` of its first sampled one.

    `limit` are the most tokens that it samples. The tokens from `fed` on went through decoding steps, and
    `place` is where the one before them is kept.
    """

    start: int
    first: int
    limit: int
    fed: int
    place: int = ROOT


class ColumnSampler:
    """A `Sampler` over `Slots`, whose rows 0 to `num_rows` - 1 take part in a step, whatever they hold."""

    longest_first = False
    refills_at_once = False

    def __init__(
        self,
        policy: Policy,
        slots: Slots,
        params: SamplingParams,
        *,
        capacity: int,
        max_prompt: int,
        eos_token_ids: frozenset[int],
        kept: Prefixes | None = None,
    ) -> None:
        self.kept = kept
        if kept is not None:
            kept.bind(slots)
        self.policy, self.slots, self.params = policy, slots, params
        self.num_rows, self.max_prompt, self.eos_token_ids = capacity, max_prompt, eos_token_ids
        self.device = policy.head_weight.device
        is_eos = torch.zeros(policy.dims.vocab_size, dtype=torch.bool)
        is_eos[sorted(eos_token_ids)] = True
        self.is_eos = is_eos.to(self.device)
        self.layers = fuse(policy)
        self.rows: dict[int, _Row] = {}
        self.column = max_prompt
        self.turn = 0
        self.look_is_due = self.text_is_due = False

    def room(self, lengths: Sequence[int]) -> int:
        """Take all: every row has its columns."""
        return len(lengths)

    def resume(self, requests: Mapping[int, Request]) -> set[int]:
        """Begin slots whose prompts are kept but for their last token, which the next step feeds."""
        kept, slots, column = self.kept, self.slots, self.column
        if kept is None:
            return set()
        asked = ((slot, kept.find(request.prompt[:-1])) for slot, request in requests.items())
        found = {slot: places for slot, places in asked if places is not None}
        if not found:
            return set()
        width = max(map(len, found.values()))
        source = np.zeros((len(found), width), dtype=np.int64)
        for number, (slot, places) in enumerate(found.items()):
            source[number, width - len(places) :] = places
            before = places[-1] if places else ROOT
            self.rows[slot] = _Row(column - len(places), column + 1, requests[slot].limit, column, before)
        rows, index = torch.tensor(list(found), device=self.device), torch.from_numpy(source).to(self.device)
        own = _span(list(found)) or rows
        for cache, stored in ((slots.keys, kept.keys), (slots.values, kept.values)):
            cache[:, own, :, column - width : column] = _gathered(stored, index).permute(2, 0, 3, 1, 4)
        drawn = [uniforms(requests[slot].seed, self.params.max_new_tokens) for slot in found]
        self._begin(rows, column + 1, torch.from_numpy(np.stack(drawn)).to(self.device))
        slots.tokens[rows, column] = torch.tensor([requests[i].prompt[-1] for i in found], device=self.device)
        slots.done[rows] = False
        return set(found)

    def _begin(self, rows: Tensor, first: int, drawn: Tensor) -> None:
        """Hide the columns before each row's first; its numbers are used from the column `first` on."""
        slots = self.slots
        starts = torch.tensor([self.rows[i].start for i in rows.tolist()], device=self.device)
        slots.start[rows] = starts
        hidden = torch.arange(slots.columns, device=self.device) < starts[:, None]
        slots.bias[rows] = torch.where(hidden, float("-inf"), 0.0).to(slots.bias.dtype)
        slots.uniforms[rows, first : first + self.params.max_new_tokens] = drawn

    def start(self, prefill: Prefill) -> None:
        """Copy the prompts' cache to the columns before the present one and sample the first tokens there."""
        slots, column, rows = self.slots, self.column, prefill.slots
        for slot, length in prefill.lengths.items():
            self.rows[slot] = _Row(column - length, column, prefill.limits[slot], column)
        back = torch.arange(prefill.width, 0, -1, device=self.device)  # [P]
        source = prefill.ends[:, None] - back  # [n, P] packed
        source.clamp_(min=0)  # columns before a shorter prompt: masked, so any finite content will do
        columns = slice(column - prefill.width, column)
        for layer, (keys, values) in enumerate(prefill.cache):
            slots.keys[layer, rows, :, columns] = _gathered(keys, source).transpose(1, 2)
            slots.values[layer, rows, :, columns] = _gathered(values, source).transpose(1, 2)
        self._begin(rows, column, prefill.uniforms)
        tokens, logprobs = sample(prefill.logits, prefill.uniforms[:, 0], self.params)
        slots.tokens[rows, column] = tokens
        slots.done[rows] = self.is_eos[tokens]
        if logprobs is not None:
            slots.logprobs[rows, column] = logprobs
        if self.kept is not None:
            self._keep_prompts(self.kept, prefill)

    def _keep_prompts(self, kept: Prefixes, prefill: Prefill) -> None:
        """Keep the prompts' keys and values."""
        places: list[int] = []  # among the packed tokens
        for slot, begin in zip(prefill.lengths, prefill.begins.tolist(), strict=True):
            self.rows[slot].place, new = kept.enter(ROOT, prefill.prompts[slot])
            places += [begin + number for number in new]
        if places:
            index = torch.tensor(places, device=self.device)
            keys, values = zip(*((k[index], v[index]) for k, v in prefill.cache), strict=True)
            kept.append(torch.stack(keys, dim=1), torch.stack(values, dim=1))

    def advance(self) -> None:
        """Feed column t's tokens, put the next at t + 1."""
        starts = [row.start for row in self.rows.values()]
        first, ragged = min(starts), max(starts) - min(starts)
        if self.column == self.slots.columns:
            first -= self._shift(min(first, self.column - self.max_prompt))
        slots, count = self.slots, self.num_rows
        logits = decode_step(
            self.policy, self.layers, slots, rows=count, first=first, ragged=ragged, column=self.column
        )
        self.column += 1
        tokens, logprobs = sample(logits, slots.uniforms[:count, self.column], self.params)
        slots.tokens[:count, self.column] = tokens
        slots.done[:count] |= self.is_eos[tokens]
        if logprobs is not None:
            slots.logprobs[:count, self.column] = logprobs

    def _shift(self, by: int) -> int:
        self.slots.shift(by, self.column)
        self.column -= by
        for row in self.rows.values():
            row.start, row.first, row.fed = row.start - by, row.first - by, row.fed - by
        return by

    def ended(self) -> set[int] | None:
        """Rows with an end token or as many tokens as they may have, if a look is due or a row is full."""
        full = {i for i, row in self.rows.items() if self.column - row.first + 1 >= row.limit}
        self.look_is_due = self.turn % STEPS_BETWEEN_CHECKS[self.device.type] == 0 or bool(full)
        self.text_is_due = self.turn % _STEPS_BETWEEN_TEXT_CHECKS == 0
        self.turn += 1
        if not self.look_is_due:
            return None
        return full.union(self.slots.done[: self.num_rows].nonzero().flatten().tolist())

    def read(self, slots: Sequence[int]) -> tuple[list[list[int]], list[list[float]]]:
        """Each row's tokens up to its end token and, if asked for, their logprobs."""
        tokens, logprobs = [], []
        for slot in slots:
            first, ids = self.rows[slot].first, self._sampled(slot)
            tokens.append(ids)
            if self.params.logprobs:
                logprobs.append(self.slots.logprobs[slot, first : first + len(ids)].tolist())
        return tokens, logprobs

    def _sampled(self, slot: int) -> list[int]:
        """A row's tokens up to its end token."""
        first, limit = self.rows[slot].first, self.rows[slot].limit
        ids: list[int] = self.slots.tokens[slot, first : min(self.column + 1, first + limit)].tolist()
        return ids[: next((i + 1 for i, token in enumerate(ids) if token in self.eos_token_ids), None)]

    def free(self, slots: Sequence[int]) -> None:
        """Forget these rows; they are computed along until others take their place."""
        if self.kept is not None:
            self._keep_sampled(self.kept, slots)
        for slot in slots:
            del self.rows[slot]

    def _keep_sampled(self, kept: Prefixes, slots: Sequence[int]) -> None:
        """Keep the keys and values of rows that end, but for the last token's, which was not fed."""
        rows: list[int] = []
        columns: list[int] = []
        for slot in slots:
            row = self.rows[slot]
            ids = [*self.slots.tokens[slot, row.fed : row.first].tolist(), *self._sampled(slot)]
            _, new = kept.enter(row.place, ids[:-1])
            rows += [slot] * len(new)
            columns += [row.fed + number for number in new]
        if rows:
            at = [torch.tensor(x, device=self.device) for x in (rows, columns)]
            cached = self.slots.keys, self.slots.values
            kept.append(*(cache[:, at[0], :, at[1]] for cache in cached))  # [M, L, KV, Dh] each

    def arrange(self, active: Sequence[int], *, waiting: bool) -> dict[int, int]:
        """Once nothing waits and a sixteenth of the rows is empty, move the last rows into the empty ones."""
        count, spare = len(active), self.num_rows - len(active)
        if waiting or not self.look_is_due or count == 0 or spare < max(1, self.num_rows // 16):
            return {}
        source = [i for i in range(count, self.num_rows) if i in self.rows]
        target = [i for i in range(count) if i not in self.rows]
        if source:
            first = min(self.rows[i].start for i in source)
            to = [torch.tensor(rows, device=self.device) for rows in (source, target)]
            self.slots.move_rows(to[0], to[1], first, self.column)
        moved = dict(zip(source, target, strict=True))
        self.rows = {moved.get(i, i): row for i, row in self.rows.items()}
        self.num_rows = count
        return moved


def _gathered(x: Tensor, index: Tensor) -> Tensor:
    """x[index], which on a CPU takes three times as long: x [N, ...], index [n, P] -> [n, P, ...]."""
    return x.index_select(0, index.flatten()).unflatten(0, index.shape)


def _span(rows: Sequence[int]) -> slice | None:
    """Rows that follow one another as a slice, to which a CPU copies in a fifth of the time."""
    first, num = rows[0], len(rows)
    return slice(first, first + num) if [*rows] == [*range(first, first + num)] else None
