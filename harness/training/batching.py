"""Scored groups to padded tensors, and a batch to minibatches and microbatches. Pure, on the CPU."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from harness.model.rows import Prompts, to_device
from harness.types import Batch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from harness.types import Prompt, Rollout, ScoredGroup

_Row = tuple[int, int, int, int]  # number, length, prompt's number, prompt's length


def make_batch(groups: Sequence[ScoredGroup], *, pad_id: int, mask_truncated: bool = False) -> Batch:
    """Put every rollout of every group into a right-padded row, in order; `group_ids` count groups from 0.

    `old_logprobs` and `advantages` are zeros until they are known. `sampler_logprobs` are zeros when no
    rollout has any. `mask_truncated` takes the tokens of outputs cut at the length limit out of the mask:
    such a row has no loss, but it still counts as a row and its reward still shapes its group's baseline.
    Tokens that a rollout was given (`num_given`) are out of the mask, too: the policy did not draw them
    freely. Raises ValueError for no rollouts at all, or when only some have sampler_logprobs.
    """
    rows = [(g, group.prompt.token_ids, r) for g, group in enumerate(groups) for r in group.rollouts]
    if not rows:
        raise ValueError("groups: no rollouts to make a batch of; sample or accept at least one")
    _check_logprobs([rollout for _, _, rollout in rows])
    lengths = [len(prompt) + len(rollout.completion_ids) for _, prompt, rollout in rows]
    shape, numbers = (len(rows), max(lengths)), dict[tuple[int, ...], int]()
    input_ids = torch.full(shape, pad_id, dtype=torch.long)  # [B, T]
    completion_mask = torch.zeros(shape, dtype=torch.bool)
    sampler_logprobs = torch.zeros(shape)
    for row, (_, prompt, rollout) in enumerate(rows):
        start, end = len(prompt), lengths[row]
        input_ids[row, :end] = torch.from_numpy(np.array(prompt + rollout.completion_ids, dtype=np.int64))
        completion_mask[row, start:end] = not (mask_truncated and rollout.finish_reason == "length")
        completion_mask[row, start : start + rollout.num_given] = False
        if rollout.sampler_logprobs is not None:
            sampler_logprobs[row, start:end] = torch.from_numpy(
                np.array(rollout.sampler_logprobs, dtype=np.float32)
            )
    return Batch(
        input_ids=input_ids,
        completion_mask=completion_mask,
        sampler_logprobs=torch.where(completion_mask, sampler_logprobs, 0.0),
        old_logprobs=torch.zeros(shape),
        advantages=torch.zeros(shape),
        group_ids=torch.tensor([g for g, _, _ in rows]),
        prompt_ids=torch.tensor([numbers.setdefault(prompt, len(numbers)) for _, prompt, _ in rows]),
        prompt_lengths=torch.tensor([len(prompt) for _, prompt, _ in rows]),
        lengths=torch.tensor(lengths),
        rewards=torch.tensor([reward for group in groups for reward in group.rewards], dtype=torch.float32),
    )


def take(batch: Batch, rows: Tensor) -> Batch:
    """Take rows (indices [b], on the CPU) of every tensor, cut to the longest: [B, T] -> [b, t]."""
    width = int(batch.lengths[rows].max())
    at = to_device(rows, batch.input_ids.device)
    cut: dict[str, Any] = {
        name: x[rows] if x.dim() == 1 else x.index_select(0, at)[:, :width] for name, x in _tensors(batch)
    }
    return Batch(**cut)


def move(batch: Batch, device: torch.device) -> Batch:
    """Move every [B, T] tensor to a device; the [B] ones, by which rows are packed, stay on the CPU."""
    moved: dict[str, Any] = {name: to_device(x, device) if x.dim() == 2 else x for name, x in _tensors(batch)}
    return Batch(**moved)


def _tensors(batch: Batch) -> list[tuple[str, Tensor]]:
    """(name, tensor) of every field that is not None."""
    pairs = [(f.name, getattr(batch, f.name)) for f in fields(batch)]
    return [(name, x) for name, x in pairs if x is not None]


def work(batch: Batch, rows: Tensor) -> dict[str, float]:
    """Count what a pass over `rows` computes, a prompt that rows share once.

    `tokens` computed, how many of them are `predicted`, and `pairs` of a query and a key in attention.
    """
    lengths = batch.lengths[rows]
    _, taken = Prompts(batch.prompt_ids[rows], batch.prompt_lengths[rows], padded=False).sources()
    pairs = (lengths * (lengths + 1) - taken * (taken + 1)).sum() / 2
    predicted = batch.completion_mask[rows].sum()
    return {"tokens": float((lengths - taken).sum()), "predicted": float(predicted), "pairs": float(pairs)}


def sampled_work(prompts: Sequence[Prompt], rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Count the `work` of a pass over outputs and their prompts, a prompt that outputs share once."""
    met = set[tuple[int, ...]]()
    tokens = predicted = pairs = 0.0
    for prompt, rollout in zip(prompts, rollouts, strict=True):
        length = len(prompt.token_ids) + len(rollout.completion_ids)
        shared = len(prompt.token_ids) if prompt.token_ids in met else 0
        met.add(prompt.token_ids)
        tokens, predicted = tokens + length - shared, predicted + len(rollout.completion_ids)
        pairs += (length * (length + 1) - shared * (shared + 1)) / 2
    return {"tokens": tokens, "predicted": predicted, "pairs": pairs}


def minibatches(
    batch: Batch, *, num: int, unit: Literal["group", "row"], generator: torch.Generator | None
) -> list[Tensor]:
    """Deal the rows out to `num` optimiser steps: a shuffled partition, sizes equal to within one unit.

    "group" keeps the rows of a prompt together. `generator` None keeps the order. Raises ValueError when
    there are fewer units than minibatches.
    """
    keys = batch.group_ids if unit == "group" else torch.arange(len(batch.group_ids))  # [B]
    units = torch.unique(keys)
    if not 1 <= num <= len(units):
        raise ValueError(f"num_minibatches: must be 1 to {len(units)} (the {unit}s of a batch), got {num}")
    if generator is not None:
        units = units[torch.randperm(len(units), generator=generator)]
    return [torch.isin(keys, part).nonzero().squeeze(1) for part in torch.tensor_split(units, num)]


def microbatches(
    batch: Batch, *, token_budget: int, rows: Tensor | None = None, padded: bool = True
) -> list[Tensor]:
    """Row indices for each forward and backward pass, of at most `token_budget` tokens.

    Unless attention is `padded`, the tokens counted are those computed, and rows with the same prompt go
    together. If it is, they are rows × longest, and rows with the same prompt or rows of similar length go
    together, whichever costs less. Longest first, so that running out of memory shows at once. `rows` [b]
    restricts it to a minibatch. A row longer than the budget goes alone. Pair with `take`, and with a
    denominator of the whole step.
    """
    if rows is None:
        rows = torch.arange(len(batch.lengths))
    columns = (rows, batch.lengths[rows], batch.prompt_ids[rows], batch.prompt_lengths[rows])
    found: list[_Row] = list(zip(*(x.tolist() for x in columns), strict=True))
    parts = _filled(sorted(found, key=_by_prompt(found)), token_budget, padded)
    if padded:
        by_length = _filled(sorted(found, key=_by_length), token_budget, padded)
        parts = min(by_length, parts, key=lambda parts: sum(map(_padded_cost, parts)))
    return [torch.tensor([row for row, *_ in part]) for part in parts]


def _filled(rows: Sequence[_Row], token_budget: int, padded: bool) -> list[list[_Row]]:
    """Fill microbatches with the rows, in order, each as far as the budget allows."""
    parts: list[list[_Row]] = []
    longest = computed = 0
    prompts = set[int]()
    for row in rows:
        _, length, prompt, shared = row
        longest, computed = max(longest, length), computed + length - shared * (prompt in prompts)
        if not parts or (longest * (len(parts[-1]) + 1) if padded else computed) > token_budget:
            parts.append([])
            prompts, longest, computed = set(), length, length
        parts[-1].append(row)
        prompts.add(prompt)
    return parts


def _padded_cost(part: Sequence[_Row]) -> float:
    """A microbatch's cost on a CPU, in computed tokens.

    A padded position of attention costs a third of a token in models of 64 and 96 hidden units, and less in
    larger ones.
    """
    prompts = {prompt: shared for _, _, prompt, shared in part}
    computed = sum(length - shared for _, length, _, shared in part) + sum(prompts.values())
    return computed + len(part) * max(length for _, length, *_ in part) / 3


def _by_length(row: _Row) -> tuple[int, ...]:
    return (-row[1],)


def _by_prompt(rows: Sequence[_Row]) -> Callable[[_Row], tuple[int, ...]]:
    """Sort key: longest first, the rows of a prompt together."""
    longest: dict[int, int] = {}
    for _, length, prompt, _ in rows:
        longest[prompt] = max(length, longest.get(prompt, 0))
    first = {prompt: place for place, prompt in enumerate(longest)}
    return lambda row: (-longest[row[2]], first[row[2]], -row[1])


def shared_microbatches(
    batch: Batch,
    *,
    token_budget: int,
    rows: Tensor,
    rank: int,
    world_size: int,
    padded: bool = True,
    in_step: bool = True,
) -> list[tuple[Tensor, bool]]:
    """This rank's `microbatches` of `rows`, each with whether it counts.

    Rows are dealt out by length, back and forth, so loads are alike. With `in_step` every rank has equally
    many, as gathering sharded weights needs; without, each has one at least, so that all have gradients. What
    is missing is the shortest row again, which does not count (False).
    """
    order = rows[torch.argsort(batch.lengths[rows], descending=True, stable=True)]
    turns = torch.arange(len(order)) % (2 * world_size)
    owner = torch.minimum(turns, 2 * world_size - 1 - turns)  # 0 1 2 2 1 0 0 1 2 …
    ranks = range(world_size) if in_step else [rank]
    dealt = {
        r: microbatches(batch, token_budget=token_budget, rows=order[owner == r], padded=padded)
        for r in ranks
    }
    mine = dealt[rank]
    idle = max(1 if len(order) else 0, *map(len, dealt.values())) - len(mine)
    return [*((part, True) for part in mine), *[(order[-1:], False)] * idle]


def _check_logprobs(rollouts: Sequence[Rollout]) -> None:
    """Raise ValueError unless all rollouts have sampler logprobs, one per token, or none has any."""
    found = [rollout for rollout in rollouts if rollout.sampler_logprobs is not None]
    if found and len(found) != len(rollouts):
        raise ValueError(
            f"sampler_logprobs: present in {len(found)} of {len(rollouts)} rollouts; give all or none"
        )
    for rollout in found:
        num = len(rollout.sampler_logprobs or ())
        if num != len(rollout.completion_ids):
            raise ValueError(
                f"sampler_logprobs: {num} for {len(rollout.completion_ids)} tokens of problem "
                f"{rollout.problem_id} sample {rollout.sample_idx}; give one per token"
            )
