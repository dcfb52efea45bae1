"""Decide which request sits in which slot, from its prefill to its last token.

A `Sampler` owns the device's buffers: `columns.ColumnSampler` on a CPU, `gpu.slots.SlotSampler` on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from harness.model.fused import pack
from harness.model.policy import Policy
from harness.model.rows import pack_rows
from harness.rollout.results import Request
from harness.rollout.sampling import uniforms
from harness.types import SamplingParams


@dataclass(frozen=True, slots=True)
class Prefill:
    """Prompts that were computed together, each distinct one once, for the n slots that continue them.

    `prompts` maps a slot to its prompt, in the order of the tensors' rows, `lengths` to the tokens that this
    has, P at most (`width`), `limits` to the most tokens that it may sample: slots [n]; begins and ends [n],
    where a slot's prompt stands among the N packed tokens; `cache`, for each layer, keys and values
    [N, KV, Dh]; logits [n, V] of the first token; uniforms [n, max_new_tokens].
    """

    prompts: dict[int, tuple[int, ...]]
    lengths: dict[int, int]
    limits: dict[int, int]
    width: int
    slots: Tensor
    begins: Tensor
    ends: Tensor
    cache: list[tuple[Tensor, Tensor]]
    logits: Tensor
    uniforms: Tensor


class Sampler(Protocol):
    """Buffers of one device and what it computes in them, for one call of `generate`.

    `longest_first`: prompts are prefilled in the order of their length, not as they come. `refills_at_once`:
    a slot that is found ended is filled before the next step; otherwise after it, so that requests which
    their first token ends never take part in a step. `text_is_due`: this look searches for stop strings too.
    """

    policy: Policy
    longest_first: bool
    refills_at_once: bool
    text_is_due: bool

    def room(self, lengths: Sequence[int]) -> int:
        """Count how many of the next prompts, of so many tokens each, the cache can take now."""

    def resume(self, requests: Mapping[int, Request]) -> set[int]:
        """Begin those of these slots whose prompts earlier calls have left here; they need no prefill."""

    def start(self, prefill: Prefill) -> None:
        """Copy the prompts' cache into the slots and sample their first tokens."""

    def advance(self) -> None:
        """Decode a step, or as many as the device does between two looks."""

    def ended(self) -> set[int] | None:
        """Slots whose end token or last token has come, and perhaps unused ones; None if no look is due."""

    def read(self, slots: Sequence[int]) -> tuple[list[list[int]], list[list[float]]]:
        """Each slot's tokens up to its end token and, if asked for, their logprobs."""

    def free(self, slots: Sequence[int]) -> None:
        """Stop decoding these slots."""

    def arrange(self, active: Sequence[int], *, waiting: bool) -> dict[int, int]:
        """Lay the active slots out for the next step; old slot -> new slot of what was moved."""


class Scheduler:
    """One call of `generate`: requests wait, sit in slots, leave."""

    def __init__(
        self,
        sampler: Sampler,
        requests: Sequence[Request],
        params: SamplingParams,
        *,
        capacity: int,
        eos_token_ids: frozenset[int],
        has_stop: Callable[[Sequence[int]], bool],
        prefill_tokens: int,
    ) -> None:
        self.sampler, self.params, self.capacity = sampler, params, capacity
        self.eos_token_ids, self.has_stop = eos_token_ids, has_stop
        self.prefill_tokens = prefill_tokens
        self.device = sampler.policy.head_weight.device
        self.waiting = list(requests)[::-1]
        self.active: dict[int, Request] = {}
        self.vacant = list(range(capacity))

    def run(self) -> None:
        """Sample every request to its end."""
        while self.waiting or self.active:
            if self.active:
                self.sampler.advance()
            if self.sampler.refills_at_once:
                self._retire()
                self._admit()
            else:
                self._admit()
                self._retire()
            moved = self.sampler.arrange(list(self.active), waiting=bool(self.waiting))
            if moved:
                self.active = {moved.get(slot, slot): request for slot, request in self.active.items()}

    def _admit(self) -> None:
        """Fill vacant slots once an eighth is vacant, or nothing else is left to wait for.

        Where the cache has no room for them, once it has for an eighth of those that are active.
        """
        take = min(len(self.vacant), len(self.waiting))
        if take == 0 or take < min(len(self.waiting), max(1, self.capacity // 8)):
            return
        lengths = [len(request.prompt) for request in self.waiting[: -take - 1 : -1]]
        take, wanted = self.sampler.room(lengths), take
        if take < min(wanted, max(1, len(self.active) // 8)):
            return
        new = {slot: self.waiting.pop() for slot in self.vacant[:take]}
        del self.vacant[:take]
        self.active.update(new)
        resumed = self.sampler.resume(new)
        groups: dict[tuple[int, ...], list[int]] = {}
        for slot, request in new.items():
            if slot not in resumed:
                groups.setdefault(request.prompt, []).append(slot)
        prompts = sorted(groups, key=len)[::-1] if self.sampler.longest_first else list(groups)
        for chunk in prefill_chunks(prompts, self.prefill_tokens):
            self.sampler.start(self._prefill(chunk, [groups[prompt] for prompt in chunk]))

    def _prefill(self, prompts: list[tuple[int, ...]], members: list[list[int]]) -> Prefill:
        """Run each prompt once for its group of slots."""
        policy, width = self.sampler.policy, max(map(len, prompts))
        ids = np.zeros((len(prompts), width), dtype=np.int64)
        for row, prompt in enumerate(prompts):
            ids[row, : len(prompt)] = prompt
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        cache: list[tuple[Tensor, Tensor]] = []
        packed = pack_rows(torch.from_numpy(ids), lengths, device=self.device)
        states = policy.hidden(packed, cache)  # [N, D]
        lengths = lengths.to(self.device)
        ends = lengths.cumsum(0)  # [U]
        logits = policy.logits(pack(states, ends - 1))  # [U, V]

        slots = [slot for group in members for slot in group]
        drawn = [uniforms(self.active[slot].seed, self.params.max_new_tokens) for slot in slots]
        prompt_of = torch.tensor([u for u, group in enumerate(members) for _ in group], device=self.device)
        return Prefill(
            prompts={slot: self.active[slot].prompt for slot in slots},
            lengths={slot: len(self.active[slot].prompt) for slot in slots},
            limits={slot: self.active[slot].limit for slot in slots},
            width=width,
            slots=torch.tensor(slots, device=self.device),
            begins=(ends - lengths)[prompt_of],
            ends=ends[prompt_of],
            cache=cache,
            logits=logits[prompt_of],
            uniforms=torch.from_numpy(np.stack(drawn)).to(self.device),
        )

    def _retire(self) -> None:
        """Take ended requests out of their slots and hand them their tokens."""
        ended = self.sampler.ended() if self.active else None
        if ended is None:
            return
        if self.params.stop and self.sampler.text_is_due:
            ended |= self._ended_by_text([slot for slot in self.active if slot not in ended])
        gone = sorted(ended & self.active.keys())
        if not gone:
            return
        tokens, logprobs = self.sampler.read(gone)
        for i, slot in enumerate(gone):
            request = self.active.pop(slot)
            request.tokens = tokens[i]
            if request.tokens[-1] in self.eos_token_ids:
                request.finish_reason = "stop"
            if self.params.logprobs:
                request.logprobs = logprobs[i]
            request.ended()
        self.sampler.free(gone)
        self.vacant = sorted([*self.vacant, *gone])

    def _ended_by_text(self, slots: list[int]) -> set[int]:
        """Slots whose text holds a stop string."""
        if not slots:
            return set()
        tokens, _ = self.sampler.read(slots)
        return {slot for slot, ids in zip(slots, tokens, strict=True) if self.has_stop(ids)}


def prefill_chunks(prompts: list[tuple[int, ...]], budget: int) -> list[list[tuple[int, ...]]]:
    """Consecutive prompts that fit `budget` tokens when padded to their longest; one prompt always fits."""
    chunks: list[list[tuple[int, ...]]] = []
    width = 0
    for prompt in prompts:
        width = max(width, len(prompt))
        if chunks and width * (len(chunks[-1]) + 1) <= budget:
            chunks[-1].append(prompt)
        else:
            chunks.append([prompt])
            width = len(prompt)
    return chunks
