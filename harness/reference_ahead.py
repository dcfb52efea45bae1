"""The reference's logprobs while the engine decodes: on a GPU, on another stream, of what has ended.

A logprob under the reference depends on a row's tokens alone, so it is the same whenever it is computed, up
to the rounding of another packing; which rows are packed together follows from the order of ending, which is
a function of the tokens. The CPU hands a microbatch's kernels over (some hundreds, which delays the next
decoding steps by as much) and waits for none of them. That time counts as `sample`, and so does the time for
which kernels go on after the last decoding step; `reference` is what is left to compute then.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from harness.batching import make_batch
from harness.distributed import world_size
from harness.gradient import fill_logprobs, logprobs_on_device
from harness.memory import with_microbatch
from harness.model import Policy
from harness.types import Batch, Problem, Prompt, Rollout, ScoredGroup

if TYPE_CHECKING:
    from harness.config import RunConfig
    from harness.state import Run

DEVICES: tuple[str, ...] = ()  # where it is used


def reference_ahead(run: Run, problems: Sequence[Problem]) -> ReferenceAhead | None:
    """For one call of the native engine; None where the objective does not score every sampled row."""
    objective, rollout = run.config.objective, run.config.rollout
    drops = objective.truncated == "drop" or objective.selection.fn == "dynamic" or objective.offline
    if run.reference is None or drops or world_size() > 1 or rollout.engine != "native":
        return None
    if run.device.type not in DEVICES:
        return None
    config = with_microbatch(run.config, run.microbatch_tokens)
    return ReferenceAhead(run.reference, problems, [run.prompts[p.id] for p in problems], config)


class ReferenceAhead:
    """Takes outputs as they end; a microbatch of whole groups is computed once the next one would not fit."""

    def __init__(
        self, reference: Policy, problems: Sequence[Problem], prompts: Sequence[Prompt], config: RunConfig
    ) -> None:
        self.reference, self.problems, self.prompts, self.config = reference, problems, prompts, config
        self.ended: dict[int, list[Rollout]] = {}  # by group, until all of it has ended
        self.waiting: list[ScoredGroup] = []
        self.num_waiting = 0  # tokens to compute
        self.done: list[tuple[Batch, Tensor]] = []  # with logprobs on the device
        self.out_of_memory = False
        self.device = reference.head_weight.device
        self.stream = _stream(self.device) if self.device.type == "cuda" else None
        if self.stream is not None:  # the reference's weights may just have been refreshed
            self.stream.wait_stream(torch.cuda.current_stream(self.device))

    def on_end(self, place: int, tokens: Sequence[int]) -> None:
        """An output's tokens, with the end token."""
        if self.out_of_memory:
            return
        size = self.config.rollout.group_size
        number, sample_idx = divmod(place, size)
        problem, prompt = self.problems[number], self.prompts[number]
        rollouts = self.ended.setdefault(number, [])
        rollouts.append(Rollout(problem.id, sample_idx, tuple(tokens), "", None, "stop"))
        if len(rollouts) < size:
            return
        rollouts = sorted(self.ended.pop(number), key=lambda r: r.sample_idx)
        num_tokens = len(prompt.token_ids) + sum(len(r.completion_ids) for r in rollouts)
        if self.waiting and self.num_waiting + num_tokens > self.config.trainer.microbatch_tokens:
            self._compute()
        self.waiting.append(ScoredGroup(problem, prompt, tuple(rollouts), (), ()))
        self.num_waiting += num_tokens

    def _compute(self) -> None:
        """Those that wait, without waiting for the device. What it has no memory for is computed later.

        All that is made here belongs to the stream, and memory that becomes free is used by it again.
        """
        batch = make_batch(self.waiting, pad_id=0)
        rows = torch.arange(len(batch.lengths))
        self.waiting, self.num_waiting = [], 0
        try:
            with torch.cuda.stream(self.stream):
                self.done.append((batch, logprobs_on_device(self.reference, batch, rows, self.config)))
        except torch.OutOfMemoryError:
            self.out_of_memory = True

    def logprobs(self, batch: Batch, rows: Tensor, config: RunConfig) -> tuple[Tensor, float]:
        """[B, T] of `rows`, 0 elsewhere, as `fill_logprobs` gives them; the share that was there already.

        A row is there if it has the tokens that an output ended with; others are computed now.
        """
        if self.stream is not None:
            torch.cuda.current_stream(self.device).wait_stream(self.stream)
        found = {
            _tokens(known, row): x
            for known, logprobs in self.done
            for row, x in enumerate(logprobs.cpu().unbind())
        }
        filled = torch.zeros_like(batch.old_logprobs)  # [B, T]
        missing = []
        for row in rows.tolist():
            have, length = found.get(_tokens(batch, row)), int(batch.lengths[row])
            if have is None:
                missing.append(row)
            else:
                filled[row, :length] = have[:length]
        filled = torch.where(batch.completion_mask, filled, 0.0)
        if missing:
            left = torch.tensor(missing)
            filled[left] = fill_logprobs(self.reference, batch, left, config)[left]
        return filled, 1 - len(missing) / max(1, len(rows))


def _tokens(batch: Batch, row: int) -> tuple[int, bytes]:
    """How many are the prompt's, and all of them."""
    ids = batch.input_ids[row, : int(batch.lengths[row])]
    return int(batch.prompt_lengths[row]), ids.numpy().tobytes()


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """One for the whole process: freed memory stays with its stream.

    PyTorch hands 32 streams out in turn. Matmuls of one stream share a workspace, also those of a graph that
    was captured on it, so this one must not be the one that graphs are captured on.
    """
    captured = torch.cuda.graph(torch.cuda.CUDAGraph()).capture_stream
    found = torch.cuda.Stream(device)
    return found if found != captured else torch.cuda.Stream(device)
