"""Sample with the policy's own weights: shared prompts, refilled rows; on a GPU, whole rows or pages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from harness.model.dims import kernels_take
from harness.model.files.hub import load_weights
from harness.model.lora import has_adapters
from harness.model.policy import Policy
from harness.rollout.columns import ColumnSampler
from harness.rollout.decode import Slots
from harness.rollout.prefixes import Prefixes
from harness.rollout.results import Request, check_requests, has_stop, make_requests, rollouts
from harness.rollout.scheduler import Sampler, Scheduler
from harness.types import OnEnd, Prompt, Rollout, SamplingParams

if TYPE_CHECKING:
    from harness.rollout.gpu.decode import SlotDecoder


class NativeEngine:
    """A `RolloutEngine` over a policy whose parameters it shares, so what the trainer updates is sampled.

    Up to `max_batch_size` requests decode together; a request's uniform numbers come from its seed alone, so
    its batch mates reach it only through float rounding of differently blocked matmuls. `decode` turns token
    ids into text. Prompts are prefilled at most `prefill_tokens` (padded) at a time. On a GPU with
    `paged`, keys and values take at most `cache_bytes` (None: all that the requests may need) and at least a
    longest request's; where they do not fit, requests wait, which is other batch mates and nothing else. With
    `policy.exact` on a GPU no batch mate changes a bit.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        eos_token_ids: tuple[int, ...],
        decode: Callable[[Sequence[int]], str],
        max_batch_size: int,
        prefill_tokens: int = 16384,
        paged: bool = False,
        cache_bytes: float | None = None,
    ) -> None:
        if max_batch_size < 1:
            raise ValueError(f"max_batch_size is {max_batch_size}; at least one request must fit")
        self._paged, self._cache_bytes = paged, cache_bytes
        self.policy = policy
        self._decode = decode
        self._max_batch_size = max_batch_size
        self._prefill_tokens = prefill_tokens
        self._eos = frozenset(eos_token_ids)
        self._slots: Slots | None = None
        self._kept: Prefixes | None = None
        self._decoder: SlotDecoder | None = None

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Copy foreign tensors (hub names) into the shared policy in place.

        A policy with adapters is sampled as it is: merged weights have no place in it. An iterator's tensors
        are taken one after another, since each may be gone when the next one comes.
        """
        if isinstance(weights, Iterator):
            own = self.policy.state_dict()
            with torch.no_grad():
                for name, tensor in weights:
                    own.pop(name).copy_(tensor)
            assert not own, sorted(own)
        elif not has_adapters(self.policy):
            load_weights(self.policy, dict(weights))

    def release(self) -> None:
        """Give the cache's memory back; the next call allocates it again."""
        self._slots = None
        self._decoder = None

    @contextmanager
    def keeping_prefixes(self) -> Iterator[None]:
        """See `RolloutEngine`. Where the kernels sample, nothing is kept."""
        self._kept = Prefixes()
        try:
            yield
        finally:
            self._kept = None

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        params: SamplingParams,
        seeds: Sequence[int],
        policy_step: int = 0,
        on_end: OnEnd | None = None,
        limits: Sequence[int] | None = None,
    ) -> list[Rollout]:
        """See `RolloutEngine`. Raises ValueError for requests that cannot fit or make sense."""
        positions = self.policy.dims.max_position_embeddings
        check_requests(prompts, params, seeds, max_positions=positions, limits=limits)
        requests = make_requests(prompts, seeds, on_end, params=params, limits=limits)
        if requests:
            with torch.inference_mode():
                self._sample(requests, params)
        return rollouts(prompts, requests, params=params, decode=self._decode, policy_step=policy_step)

    def _sample(self, requests: list[Request], params: SamplingParams) -> None:
        capacity = min(self._max_batch_size, len(requests))
        max_prompt = max(len(request.prompt) for request in requests)
        sampler: Sampler
        if self._uses_kernels:
            lengths = [len(request.prompt) + request.limit for request in requests]
            sampler = self._slot_sampler(capacity, lengths, params)
        else:
            columns = max_prompt + params.max_new_tokens
            if capacity < len(requests):  # refilled rows push the columns on; with room, shifts are rare
                columns += max(64, columns // 2)
            slots = self._slots_for(rows=capacity, columns=columns, max_new_tokens=params.max_new_tokens)
            sampler = ColumnSampler(
                self.policy,
                slots,
                params,
                capacity=capacity,
                max_prompt=max_prompt,
                eos_token_ids=self._eos,
                kept=self._kept,
            )
        Scheduler(
            sampler,
            requests,
            params,
            capacity=capacity,
            eos_token_ids=self._eos,
            has_stop=partial(has_stop, stops=params.stop, decode=self._decode),
            prefill_tokens=self._prefill_tokens,
        ).run()

    @property
    def _uses_kernels(self) -> bool:
        """Whether the policy is on a GPU and its heads have a size that the kernels take."""
        return self.policy.head_weight.is_cuda and kernels_take(self.policy.dims.head_dim)

    def _slot_sampler(self, capacity: int, lengths: list[int], params: SamplingParams) -> Sampler:
        """Sample on a GPU, in buffers and graphs that are reused unless they are too small or weights moved.

        A paged cache has the pages of the longest requests together, or as many as `cache_bytes` allows, and
        at least those of one.
        """
        from harness.rollout.gpu.decode import SlotDecoder
        from harness.rollout.gpu.paged_decode import PagedDecoder, page_bytes
        from harness.rollout.gpu.paged_slots import PagedSampler
        from harness.rollout.gpu.pages import pages_of
        from harness.rollout.gpu.slots import SlotSampler

        sizes = {"num_slots": capacity, "columns": max(lengths), "max_new_tokens": params.max_new_tokens}
        have, self._decoder = self._decoder, None  # its memory is free before a new one asks for its own
        fits = have is not None and have.fits(**sizes)
        if not self._paged:
            have = have if fits else None
            self._decoder = have or SlotDecoder(self.policy, **sizes)
            return SlotSampler(self._decoder, params, capacity=capacity, eos_token_ids=self._eos)
        pages = sorted(map(pages_of, lengths))[-capacity:]
        num_pages = wanted = sum(pages)
        if self._cache_bytes is not None:
            num_pages = max(pages[-1], min(wanted, int(self._cache_bytes / page_bytes(self.policy))))
        if not (fits and isinstance(have, PagedDecoder) and have.holds(num_pages)):
            have = None
            have = PagedDecoder(self.policy, **sizes, num_pages=num_pages)
        self._decoder = have
        return PagedSampler(
            have, params, capacity=capacity, eos_token_ids=self._eos, enough=have.num_pages >= wanted
        )

    def _slots_for(self, *, rows: int, columns: int, max_new_tokens: int) -> Slots:
        """Reuse the static buffers unless they are too small or on another device."""
        have = self._slots
        if (
            have is None
            or have.device != self.policy.head_weight.device
            or not have.fits(rows, columns, max_new_tokens)
        ):
            have = Slots(self.policy, rows=rows, columns=columns, max_new_tokens=max_new_tokens)
            self._slots = have
        elif self._kept is None or self._kept.is_empty:  # else the same weights have filled them
            have.clear()
        return have
