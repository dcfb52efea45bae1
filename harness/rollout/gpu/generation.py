"""Which request sits in which slot of the GPU's buffers, from its prefill to its last token."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from harness.model.fused import pack
from harness.model.rows import pack_rows
from harness.rollout.generation import Request
from harness.rollout.gpu.decode import SlotDecoder, graph_rows
from harness.rollout.sampling import uniforms
from harness.types import SamplingParams

STEPS_BETWEEN_CHECKS = 16  # a look at which rows have ended waits for the GPU


class SlotGeneration:
    """One call of `generate`: requests wait, sit in slots, leave. Nothing moves: rows name their slots."""

    def __init__(
        self,
        decoder: SlotDecoder,
        requests: list[Request],
        params: SamplingParams,
        *,
        capacity: int,
        eos_token_ids: frozenset[int],
        has_stop: Callable[[Sequence[int]], bool],
        prefill_tokens: int,
    ) -> None:
        self.decoder, self.params, self.capacity = decoder, params, capacity
        self.prefill_tokens, self.has_stop = prefill_tokens, has_stop
        self.eos_token_ids = eos_token_ids
        self.device = decoder.device
        self.waiting = requests[::-1]
        self.active: dict[int, Request] = {}
        self.free = list(range(capacity))[::-1]
        self.steps_left = 0  # until the youngest row reaches its limit
        decoder.refresh()
        decoder.done.fill_(1)
        decoder.temperature.fill_(params.temperature if params.temperature > 0 else 1.0)
        decoder.top_p.fill_(params.top_p)
        decoder.is_eos.zero_()
        decoder.is_eos[sorted(eos_token_ids)] = 1

    def run(self) -> None:
        self._admit()
        self._name_rows()
        while self.active:
            rows = graph_rows(len(self.active), self.capacity)
            for _ in range(min(STEPS_BETWEEN_CHECKS, self.steps_left)):
                self.decoder.step(rows, self.params)
                self.steps_left -= 1
            changed = self._retire()
            if self._admit() or changed:
                self._name_rows()

    def _name_rows(self) -> None:
        """Tell the device which slot each row works on; the rows after the last work on the dummy."""
        names = torch.full((self.decoder.num_slots + 1,), self.decoder.num_slots)
        names[: len(self.active)] = torch.tensor(list(self.active), dtype=torch.long)
        self.decoder.row_slot.copy_(names)

    def _retire(self) -> bool:
        """Take ended requests out of their slots; whether there were any."""
        done = self.decoder.done.tolist()
        if self.params.stop:
            self._end_by_text(done)
        ended = [slot for slot in self.active if done[slot]]
        if not ended:
            return False
        index = torch.tensor(ended, device=self.device)
        counts = self.decoder.num_made[index].tolist()
        tokens = self.decoder.out_tokens[index].cpu().numpy()
        logprobs = self.decoder.out_logprobs[index].cpu().numpy() if self.params.logprobs else None
        for row, (slot, count) in enumerate(zip(ended, counts, strict=True)):
            request = self.active.pop(slot)
            request.tokens = tokens[row, :count].tolist()
            if request.tokens[-1] in self.eos_token_ids:
                request.finish_reason = "stop"
            if logprobs is not None:
                request.logprobs = logprobs[row, :count].tolist()
            request.ended()
            self.free.append(slot)
        return True

    def _end_by_text(self, done: list[int]) -> None:
        """Mark the rows whose text holds a stop string."""
        going = [slot for slot in self.active if not done[slot]]
        if not going:
            return
        index = torch.tensor(going, device=self.device)
        tokens, counts = self.decoder.out_tokens[index].tolist(), self.decoder.num_made[index].tolist()
        for slot, ids, count in zip(going, tokens, counts, strict=True):
            if self.has_stop(ids[:count]):
                done[slot] = 1
                self.decoder.done[slot] = 1

    def _admit(self) -> bool:
        """Fill free slots once an eighth is free, or nothing else is left to wait for; whether any was."""
        take = min(len(self.free), len(self.waiting))
        if take == 0 or (self.active and take < min(len(self.waiting), max(1, self.capacity // 8))):
            return False
        groups: dict[tuple[int, ...], list[int]] = {}
        for _ in range(take):
            request, slot = self.waiting.pop(), self.free.pop()
            self.active[slot] = request
            groups.setdefault(request.prompt, []).append(slot)
        prompts = sorted(groups, key=len)
        while prompts:
            chunk = [prompts.pop()]
            width = len(chunk[0])
            while prompts and width * (len(chunk) + 1) <= self.prefill_tokens:
                chunk.append(prompts.pop())
            self._prefill(chunk, width, [groups[prompt] for prompt in chunk])
        self.steps_left = self.params.max_new_tokens - 1
        return True

    def _prefill(self, prompts: list[tuple[int, ...]], width: int, members: list[list[int]]) -> None:
        """Run each distinct prompt once, copy its cache to its group's slots, sample their first tokens."""
        decoder, policy = self.decoder, self.decoder.policy
        ids = np.zeros((len(prompts), width), dtype=np.int64)
        for row, prompt in enumerate(prompts):
            ids[row, : len(prompt)] = prompt
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        cache: list[tuple[Tensor, Tensor]] = []
        packed = pack_rows(torch.from_numpy(ids), lengths, device=self.device)
        states = policy.hidden(packed, cache)  # [N, D]
        lengths = lengths.to(self.device)
        ends = lengths.cumsum(0)
        logits = pack(states, ends - 1) @ policy.head_weight.t()  # [U, V]

        of = torch.tensor([u for u, slots in enumerate(members) for _ in slots], device=self.device)  # [n]
        slots = torch.tensor([slot for group in members for slot in group], device=self.device)
        source = (ends - lengths)[of, None] + torch.arange(width, device=self.device)  # [n, P] packed
        source.clamp_(max=len(states) - 1)  # after a shorter prompt: overwritten before it is read
        for layer, (keys, values) in enumerate(cache):
            decoder.keys[layer, slots, :, :width] = keys[source].transpose(1, 2)
            decoder.values[layer, slots, :, :width] = values[source].transpose(1, 2)
        drawn = [uniforms(self.active[slot].seed, self.params.max_new_tokens) for slot in slots.tolist()]
        numbers = torch.from_numpy(np.stack(drawn)).to(self.device)  # [n, max_new_tokens]
        decoder.uniforms[slots, : self.params.max_new_tokens] = numbers
        decoder.limits[slots] = self.params.max_new_tokens
        decoder.num_made[slots] = 0
        decoder.positions[slots] = lengths[of] - 1
        decoder.done[slots] = 0
        decoder.take(slots, *decoder.draw(logits[of], numbers[:, 0].contiguous(), self.params))
