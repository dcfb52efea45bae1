"""Sample in a GPU's slots, several steps between looks. Nothing moves: a step's rows name their slots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from harness.rollout.gpu.decode import SlotDecoder, graph_rows
from harness.rollout.results import Request
from harness.rollout.scheduler import Prefill
from harness.types import SamplingParams

STEPS_BETWEEN_CHECKS = 16  # a look at which rows have ended waits for the GPU


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
        self.active: list[int] = []
        self.steps_left = 0  # until the youngest row reaches its limit
        decoder.refresh()
        decoder.done.fill_(1)
        decoder.temperature.fill_(params.temperature if params.temperature > 0 else 1.0)
        decoder.top_p.fill_(params.top_p)
        decoder.is_eos.zero_()
        decoder.is_eos[sorted(eos_token_ids)] = 1

    def room(self, lengths: Sequence[int]) -> int:
        """Take all: every slot has its columns."""
        return len(lengths)

    def resume(self, requests: Mapping[int, Request]) -> set[int]:
        """Begin none: nothing is kept from earlier calls."""
        return set()

    def start(self, prefill: Prefill) -> None:
        """Copy the prompts' cache to their slots and sample their first tokens."""
        decoder, slots = self.decoder, prefill.slots
        self.fill(prefill)
        decoder.uniforms[slots, : self.params.max_new_tokens] = prefill.uniforms
        limits = [prefill.limits[slot] for slot in prefill.lengths]
        decoder.limits[slots] = torch.tensor(limits, device=decoder.device)
        decoder.num_made[slots] = 0
        decoder.positions[slots] = prefill.ends - prefill.begins - 1
        decoder.done[slots] = 0
        first = prefill.uniforms[:, 0].contiguous()
        decoder.take(slots, *decoder.draw(prefill.logits, first, self.params))
        self.steps_left = self.params.max_new_tokens - 1

    def fill(self, prefill: Prefill) -> None:
        """Copy the prompts' cache to the slots' first columns."""
        decoder, slots, width = self.decoder, prefill.slots, prefill.width
        source = prefill.begins[:, None] + torch.arange(width, device=decoder.device)  # [n, P] packed
        last = len(prefill.cache[0][0]) - 1
        source.clamp_(max=last)  # after a shorter prompt: overwritten before it is read
        for layer, (keys, values) in enumerate(prefill.cache):
            decoder.keys[layer, slots, :, :width] = keys[source].transpose(1, 2)
            decoder.values[layer, slots, :, :width] = values[source].transpose(1, 2)

    def advance(self) -> None:
        """Decode up to `STEPS_BETWEEN_CHECKS` steps, fewer where all rows reach their limit before."""
        rows = graph_rows(len(self.active), self.capacity)
        for _ in range(min(STEPS_BETWEEN_CHECKS, self.steps_left)):
            self.decoder.step(rows, self.params)
            self.steps_left -= 1

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
        """Mark the slots as done; the device knows it already of those that no stop string ended."""
        if self.params.stop:
            self.decoder.done.index_fill_(0, torch.tensor(slots, device=self.decoder.device), 1)

    def arrange(self, active: Sequence[int], *, waiting: bool) -> dict[int, int]:
        """Tell the device which slot each row works on; the rows after the last work on the dummy."""
        if self.active != active:
            self.active = list(active)
            names = torch.full((self.decoder.num_slots + 1,), self.decoder.num_slots)
            names[: len(active)] = torch.tensor(self.active, dtype=torch.long)
            self.decoder.row_slot.copy_(names)
        return {}
