"""Which request sits in which row of the static buffers, from its prefill to its last token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from harness.model.fused import pack
from harness.model.policy import Policy
from harness.model.rows import pack_rows
from harness.rollout.decode import Slots, decode_step, fuse
from harness.rollout.sampling import sample, uniforms
from harness.types import FinishReason, SamplingParams

# Steps between looks at which rows have ended: a look is free on a CPU and stalls a GPU.
STEPS_BETWEEN_CHECKS = {"cpu": 1, "cuda": 8}
_STEPS_BETWEEN_TEXT_CHECKS = 16


@dataclass(slots=True)
class Request:
    """One prompt to continue, and what it became. `on_end` gets its tokens, the end token left out."""

    prompt: tuple[int, ...]
    seed: int
    on_end: Callable[[list[int]], None] | None = None
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish_reason: FinishReason = "length"

    def ended(self) -> None:
        """Say so, once everything is there."""
        if self.on_end is not None:
            self.on_end(self.tokens[: len(self.tokens) - (self.finish_reason == "stop")])


@dataclass(slots=True)
class _Row:
    """A request in a slot: `start` is its prompt's first column, `first` its first sampled token's."""

    request: Request
    start: int
    first: int


class Generation:
    """One call of `generate`: requests wait, sit in slots, leave."""

    def __init__(
        self,
        policy: Policy,
        slots: Slots,
        requests: list[Request],
        params: SamplingParams,
        *,
        capacity: int,
        eos_token_ids: frozenset[int],
        has_stop: Callable[[Sequence[int]], bool],
        prefill_tokens: int,
    ) -> None:
        self.policy, self.slots, self.params = policy, slots, params
        self.capacity, self.prefill_tokens = capacity, prefill_tokens
        self.eos_token_ids, self.has_stop = eos_token_ids, has_stop
        self.device = policy.head_weight.device
        self.is_eos = torch.zeros(policy.dims.vocab_size, dtype=torch.bool)
        self.is_eos[sorted(eos_token_ids)] = True
        self.is_eos = self.is_eos.to(self.device)
        self.waiting = requests[::-1]
        self.max_prompt = max(len(request.prompt) for request in requests)
        self.layers = fuse(policy)
        self.rows: list[_Row | None] = [None] * capacity
        self.column = self.max_prompt

    def run(self) -> None:
        step, checks = 0, STEPS_BETWEEN_CHECKS[self.device.type]
        while True:
            self._admit()
            if step % checks == 0 or self._some_row_is_full():
                self._retire(check_text=step % _STEPS_BETWEEN_TEXT_CHECKS == 0)
                if not self.waiting and not self._compact():
                    return
            if any(row is not None for row in self.rows):
                self._step()
            step += 1

    def _active(self) -> list[_Row]:
        return [row for row in self.rows if row is not None]

    def _some_row_is_full(self) -> bool:
        oldest = min((row.first for row in self._active()), default=self.column)
        return self.column - oldest + 1 >= self.params.max_new_tokens

    def _step(self) -> None:
        """Feed column t's tokens, put the next at t + 1."""
        starts = [row.start for row in self._active()]
        first, ragged = min(starts), max(starts) - min(starts)
        if self.column == self.slots.columns:
            first -= self._shift(min(first, self.column - self.max_prompt))
        slots, count = self.slots, len(self.rows)
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
        for row in self._active():
            row.start, row.first = row.start - by, row.first - by
        return by

    def _retire(self, *, check_text: bool) -> None:
        """Take the rows that have ended out of their slots."""
        ended = set(self.slots.done[: len(self.rows)].nonzero().flatten().tolist())
        for index, row in enumerate(self.rows):
            if row is None:
                continue
            full = self.column - row.first + 1 >= self.params.max_new_tokens
            if full or index in ended or (check_text and self.params.stop and self._text_ended(index, row)):
                self._collect(index, row)
                self.rows[index] = None

    def _text_ended(self, index: int, row: _Row) -> bool:
        ids = self.slots.tokens[index, row.first : self.column + 1].tolist()
        return self.has_stop(ids)

    def _collect(self, index: int, row: _Row) -> None:
        last = min(self.column + 1, row.first + self.params.max_new_tokens)
        request = row.request
        request.tokens = self.slots.tokens[index, row.first : last].tolist()
        for position, token in enumerate(request.tokens):
            if token in self.eos_token_ids:
                request.tokens, request.finish_reason = request.tokens[: position + 1], "stop"
                break
        if self.params.logprobs:
            logprobs = self.slots.logprobs[index, row.first : row.first + len(request.tokens)]
            request.logprobs = logprobs.tolist()
        request.ended()

    def _compact(self) -> bool:
        """Move the last rows into the empty slots before them, once a sixteenth is empty; False if all is."""
        count = len(self._active())
        if len(self.rows) - count < max(1, len(self.rows) // 16):
            return True
        if count:
            source = [i for i in range(count, len(self.rows)) if self.rows[i] is not None]
            target = [i for i in range(count) if self.rows[i] is None]
            if source:
                first = min(self.rows[i].start for i in source)  # type: ignore[union-attr]
                to = [torch.tensor(rows, device=self.device) for rows in (source, target)]
                self.slots.move_rows(to[0], to[1], first, self.column)
                for i, j in zip(source, target, strict=True):
                    self.rows[j] = self.rows[i]
        self.rows = self.rows[:count]
        return count > 0

    def _admit(self) -> None:
        """Fill empty slots once an eighth is empty, or nothing else is left to wait for."""
        empty = [index for index, row in enumerate(self.rows) if row is None]
        take = min(len(empty), len(self.waiting))
        if take == 0 or take < min(len(self.waiting), max(1, self.capacity // 8)):
            return
        groups: dict[tuple[int, ...], list[int]] = {}
        for index in empty[:take]:
            request = self.waiting.pop()
            self.rows[index] = _Row(request, self.column - len(request.prompt), self.column)
            groups.setdefault(request.prompt, []).append(index)
        prompts = list(groups)
        while prompts:
            width = 0
            chunk: list[tuple[int, ...]] = []
            while prompts and max(width, len(prompts[0])) * (len(chunk) + 1) <= self._prefill_budget(prompts):
                width = max(width, len(prompts[0]))
                chunk.append(prompts.pop(0))
            self._prefill(chunk, width, [groups[prompt] for prompt in chunk])

    def _prefill_budget(self, prompts: list[tuple[int, ...]]) -> int:
        return max(self.prefill_tokens, len(prompts[0]))

    def _prefill(self, prompts: list[tuple[int, ...]], width: int, members: list[list[int]]) -> None:
        """Run each distinct prompt once, copy its cache to its group's rows, sample their first tokens."""
        ids = np.zeros((len(prompts), width), dtype=np.int64)
        for row, prompt in enumerate(prompts):
            ids[row, : len(prompt)] = prompt
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        cache: list[tuple[Tensor, Tensor]] = []
        packed = pack_rows(torch.from_numpy(ids), lengths, device=self.device)
        states = self.policy.hidden(packed, cache)  # [N, D]
        lengths = lengths.to(self.device)
        last = lengths.cumsum(0) - 1
        logits = pack(states, last) @ self.policy.head_weight.t()  # [U, V]

        of = torch.tensor([u for u, rows in enumerate(members) for _ in rows], device=self.device)  # [n]
        rows = [row for group in members for row in group]
        index = torch.tensor(rows, device=self.device)
        slots, column = self.slots, self.column
        source = last[of, None] - torch.arange(width - 1, -1, -1, device=self.device)  # [n, P] packed
        source.clamp_(min=0)  # columns before a shorter prompt: masked, so any finite content will do
        for layer, (keys, values) in enumerate(cache):
            slots.keys[layer, index, :, column - width : column] = keys[source].transpose(1, 2)
            slots.values[layer, index, :, column - width : column] = values[source].transpose(1, 2)
        slots.start[index] = column - lengths[of]
        hidden = torch.arange(slots.columns, device=self.device) < slots.start[index, None]
        slots.bias[index] = torch.where(hidden, float("-inf"), 0.0).to(slots.bias.dtype)
        drawn = [uniforms(self._request(row).seed, self.params.max_new_tokens) for row in rows]
        numbers = torch.from_numpy(np.stack(drawn)).to(self.device)  # [n, max_new_tokens]
        slots.uniforms[index, column : column + self.params.max_new_tokens] = numbers
        tokens, logprobs = sample(logits[of], numbers[:, 0], self.params)
        slots.tokens[index, column] = tokens
        slots.done[index] = self.is_eos[tokens]
        if logprobs is not None:
            slots.logprobs[index, column] = logprobs

    def _request(self, index: int) -> Request:
        row = self.rows[index]
        assert row is not None
        return row.request
