"""One engine a process, sampling together: requests are dealt out, and every process gets all rollouts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

from torch import Tensor

from harness.training.distributed import broadcast_from_rank0, gather_strided, stride
from harness.types import OnEnd, Prompt, Rollout, RolloutEngine, SamplingParams


class SharedEngine:
    """A `RolloutEngine` over the engines of every process; a request's numbers come from its seed alone.

    Requests are dealt out in turn, so that the samples of a prompt, whose lengths are alike, are spread over
    the processes. Every process must make the same calls, but inside `leading`, where process 0 calls and the
    others `follow`.
    """

    def __init__(self, engine: RolloutEngine) -> None:
        self.engine = engine
        self._leads = False

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
        """See `RolloutEngine`. `on_end` hears of this process's own requests."""
        if self._leads:
            broadcast_from_rank0((list(prompts), params, list(seeds), policy_step, limits))
        return self._shared(prompts, params, seeds, policy_step, limits, on_end)

    def _shared(
        self,
        prompts: Sequence[Prompt],
        params: SamplingParams,
        seeds: Sequence[int],
        policy_step: int,
        limits: Sequence[int] | None,
        on_end: OnEnd | None = None,
    ) -> list[Rollout]:
        places = stride(range(len(prompts)))
        own = self.engine.generate(
            stride(prompts),
            params=params,
            seeds=stride(seeds),
            policy_step=policy_step,
            on_end=None if on_end is None else lambda i, tokens: on_end(places[i], tokens),
            limits=None if limits is None else stride(limits),
        )
        return numbered(gather_strided(own))

    def keeping_prefixes(self) -> AbstractContextManager[None]:
        """Keep those of this process's own requests."""
        return self.engine.keeping_prefixes()

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Give this process's engine the weights."""
        self.engine.load_weights(weights)

    def release(self) -> None:
        """Give back the memory of this process's engine."""
        self.engine.release()

    @contextmanager
    def leading(self) -> Iterator[None]:
        """Inside, process 0 samples with the others, which `follow`; they go on when it ends."""
        self._leads = True
        try:
            yield
            broadcast_from_rank0(())
        finally:
            self._leads = False

    def follow(self) -> None:
        """Sample what process 0 asks for, until it is done."""
        while request := broadcast_from_rank0(_NOTHING):
            self._shared(*request)


_NOTHING: Any = ()


def numbered(rollouts: Sequence[Rollout]) -> list[Rollout]:
    """The rollouts with `sample_idx` counted over the whole call, and not over one process's requests."""
    counts: dict[str, int] = {}
    found = []
    for rollout in rollouts:
        place = counts.get(rollout.problem_id, 0)
        counts[rollout.problem_id] = place + 1
        found.append(rollout if rollout.sample_idx == place else replace(rollout, sample_idx=place))
    return found
