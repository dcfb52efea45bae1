"""What flows through a run: Problem -> Prompt -> Rollout -> ScoredGroup -> Batch -> LossOutput.

Notation: B rows (one completion each), T tokens (prompt + completion, right-padded), G samples a prompt.
A worked example, G = 2: the prompt "2+2" has token ids (7, 3, 7) and the completions (4, 1) and (5, 9, 1):

    input_ids        [[7, 3, 7, 4, 1, 0], [7, 3, 7, 5, 9, 1]]
    completion_mask  [[0, 0, 0, 1, 1, 0], [0, 0, 0, 1, 1, 1]]
    *_logprobs       position t holds log p(input_ids[t] | input_ids[:t]); 0.0 wherever completion_mask is 0
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor

FinishReason = Literal["stop", "length"]
OnEnd = Callable[[int, list[int]], None]
StepReward = tuple[int, float]  # index among a completion's tokens, reward


@dataclass(frozen=True, slots=True)
class Problem:
    """One question with a reference answer. `pair_id` names the training problem that this one perturbs.

    With `exact` the answer is a text to be given as it stands: capitals count, nothing is read as algebra.
    """

    id: str
    dataset: str
    split: str
    text: str
    answer: str
    topic: str | None = None
    level: int | None = None
    solution: str | None = None
    pair_id: str | None = None
    exact: bool = False


@dataclass(frozen=True, slots=True)
class Prompt:
    """A problem under a template, tokenized with its special tokens."""

    problem_id: str
    template: str
    text: str
    token_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Rollout:
    """One sampled completion.

    `completion_ids` [N] includes the end token when `finish_reason` is "stop"; `text` excludes it.
    `sampler_logprobs` [N] are the engine's, nats, of logits / temperature. `policy_step` is the number of
    optimiser steps behind the weights that sampled it.
    """

    problem_id: str
    sample_idx: int
    completion_ids: tuple[int, ...]
    text: str
    sampler_logprobs: tuple[float, ...] | None
    finish_reason: FinishReason
    policy_step: int = 0


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to sample. `temperature` 0 is greedy; `top_p` 1 and `top_k` 0 leave the distribution whole."""

    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    logprobs: bool = False
    stop: tuple[str, ...] = ()


class RolloutEngine(Protocol):
    """What samples: the native engine, vLLM, or a test's stand-in."""

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        params: SamplingParams,
        seeds: Sequence[int],
        policy_step: int = 0,
        on_end: OnEnd | None = None,
    ) -> list[Rollout]:
        """One rollout a (prompt, seed) pair, in order; a group is the same prompt given G times.

        A rollout's random numbers depend on its own seed alone, never on what else is in the call.
        `sample_idx` counts the earlier prompts of the call with the same `problem_id`. `on_end(place,
        tokens)` is called as each request ends, in any order: tokens without the end token, before a stop
        string is looked for. It must return at once.
        """
        ...

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Take the trainer's tensors (hub names) in place."""
        ...

    def release(self) -> None:
        """Give back the memory that sampling needs, until it is needed again."""
        ...


@dataclass(frozen=True, slots=True)
class Grade:
    """The grader's verdict: is the extracted answer equal to the reference, and why."""

    correct: bool
    extracted: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class ScoredGroup:
    """The G rollouts of one prompt, each with its grade and its reward.

    `step_rewards` are there under process supervision: those of each rollout's steps, in order.
    """

    problem: Problem
    prompt: Prompt
    rollouts: tuple[Rollout, ...]
    grades: tuple[Grade, ...]
    rewards: tuple[float, ...]
    step_rewards: tuple[tuple[StepReward, ...], ...] | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Right-padded rows of one rollout batch, [B, T] unless said otherwise. Padding is 0.

    `advantages` and `old_logprobs` are fixed for the whole rollout batch. `group_ids` [B] says which rows
    are compared; `lengths` [B] counts a row's tokens, prompt and completion. Rows with one number in
    `prompt_ids` [B] begin with the same `prompt_lengths` [B] tokens, which a model computes once. Frozen: who
    changes a tensor makes another Batch (dataclasses.replace), and a caller's stays as it was.
    """

    input_ids: Tensor
    completion_mask: Tensor
    sampler_logprobs: Tensor
    old_logprobs: Tensor
    advantages: Tensor
    group_ids: Tensor
    lengths: Tensor
    prompt_ids: Tensor
    prompt_lengths: Tensor
    rewards: Tensor
    ref_logprobs: Tensor | None = None
    values: Tensor | None = None
    returns: Tensor | None = None


@dataclass(slots=True)
class LossOutput:
    """An unreduced loss [B, T] and per-token metrics [B, T]; the reducer divides once for the whole step."""

    loss: Tensor
    metrics: dict[str, Tensor] = field(default_factory=dict)
