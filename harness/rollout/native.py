"""Sampling with the policy's own weights: static cache, shared prompts, refilled and compacted rows."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from harness.hub import load_weights
from harness.model import Policy
from harness.rollout.decode import Slots
from harness.rollout.generation import Generation, Request
from harness.types import Prompt, Rollout, SamplingParams


class NativeEngine:
    """A `RolloutEngine` over a policy whose parameters it shares, so what the trainer updates is sampled.

    Up to `max_batch_size` requests decode together; a request's uniform numbers come from its seed alone, so
    its batch mates reach it only through float rounding of differently blocked matmuls. `decode` turns token
    ids into text. Prompts are prefilled at most `prefill_tokens` (padded) at a time.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        eos_token_ids: tuple[int, ...],
        decode: Callable[[Sequence[int]], str],
        max_batch_size: int,
        prefill_tokens: int = 16384,
    ) -> None:
        if max_batch_size < 1:
            raise ValueError(f"max_batch_size is {max_batch_size}; at least one request must fit")
        self.policy = policy
        self._decode = decode
        self._max_batch_size = max_batch_size
        self._prefill_tokens = prefill_tokens
        self._eos = frozenset(eos_token_ids)
        self._slots: Slots | None = None

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Copy foreign tensors (hub names) into the shared policy in place."""
        load_weights(self.policy, dict(weights))

    def release(self) -> None:
        """Give the cache's memory back; the next call allocates it again."""
        self._slots = None

    def generate(
        self, prompts: Sequence[Prompt], *, params: SamplingParams, seeds: Sequence[int], policy_step: int = 0
    ) -> list[Rollout]:
        """See `RolloutEngine`. Raises ValueError for requests that cannot fit or make sense."""
        self._validate(prompts, params, seeds)
        requests = [Request(prompt.token_ids, seed) for prompt, seed in zip(prompts, seeds, strict=True)]
        if requests:
            with torch.inference_mode():
                self._sample(requests, params)
        rollouts, counts = [], dict[str, int]()
        for prompt, request in zip(prompts, requests, strict=True):
            sample_idx = counts.get(prompt.problem_id, 0)
            counts[prompt.problem_id] = sample_idx + 1
            rollouts.append(self._rollout(prompt.problem_id, sample_idx, request, params, policy_step))
        return rollouts

    def _validate(self, prompts: Sequence[Prompt], params: SamplingParams, seeds: Sequence[int]) -> None:
        if len(prompts) != len(seeds):
            raise ValueError(f"seeds has {len(seeds)} entries; give one to each of {len(prompts)} prompts")
        if params.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens is {params.max_new_tokens}; sample at least one token")
        if params.temperature < 0 or not 0 < params.top_p <= 1 or params.top_k < 0:
            raise ValueError(f"params is {params}; need temperature >= 0, 0 < top_p <= 1 and top_k >= 0")
        limit = self.policy.dims.max_position_embeddings
        for prompt in prompts:
            if not prompt.token_ids:
                raise ValueError(f"token_ids of {prompt.problem_id!r} is empty; a prompt needs a token")
            if len(prompt.token_ids) + params.max_new_tokens > limit:
                raise ValueError(
                    f"max_new_tokens is {params.max_new_tokens}; with the {len(prompt.token_ids)} tokens of "
                    f"{prompt.problem_id!r} it passes max_position_embeddings {limit}"
                )

    def _rollout(
        self, problem_id: str, sample_idx: int, request: Request, params: SamplingParams, policy_step: int
    ) -> Rollout:
        ids = request.tokens
        end = len(ids) - (request.finish_reason == "stop")
        text, finish_reason = self._decode(ids[:end]), request.finish_reason
        if any(stop in text for stop in params.stop):
            kept = (
                bisect_left(range(1, end + 1), True, key=lambda n: self._has_stop(ids[:n], params.stop)) + 1
            )
            ids, text, finish_reason = ids[:kept], self._decode(ids[:kept]), "stop"
            text = text[: min(text.find(stop) for stop in params.stop if stop in text)]
        return Rollout(
            problem_id=problem_id,
            sample_idx=sample_idx,
            completion_ids=tuple(ids),
            text=text,
            sampler_logprobs=tuple(request.logprobs[: len(ids)]) if params.logprobs else None,
            finish_reason=finish_reason,
            policy_step=policy_step,
        )

    def _has_stop(self, ids: Sequence[int], stops: tuple[str, ...]) -> bool:
        text = self._decode(ids)
        return any(stop in text for stop in stops)

    def _sample(self, requests: list[Request], params: SamplingParams) -> None:
        capacity = min(self._max_batch_size, len(requests))
        longest = max(len(request.prompt) for request in requests) + params.max_new_tokens
        # Refilled rows push the columns on; room to spare makes shifting them back rare.
        columns = longest if capacity == len(requests) else longest + max(64, longest // 2)
        Generation(
            self.policy,
            self._slots_for(rows=capacity, columns=columns, max_new_tokens=params.max_new_tokens),
            requests,
            params,
            capacity=capacity,
            eos_token_ids=self._eos,
            has_stop=lambda ids: self._has_stop(ids, params.stop),
            prefill_tokens=self._prefill_tokens,
        ).run()

    def _slots_for(self, *, rows: int, columns: int, max_new_tokens: int) -> Slots:
        """The static buffers, allocated anew only when they are too small."""
        have = self._slots
        if (
            have is None
            or have.device != self.policy.head_weight.device
            or not have.fits(rows, columns, max_new_tokens)
        ):
            have = Slots(self.policy, rows=rows, columns=columns, max_new_tokens=max_new_tokens)
            self._slots = have
        else:
            have.clear()
        return have
