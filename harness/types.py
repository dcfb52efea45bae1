"""What flows through a run: Problem -> Prompt -> Rollout -> ScoredGroup -> Batch -> LossOutput.

Notation: B rows (one completion each), T tokens (prompt + completion, right-padded), G samples per prompt, N
tokens of one completion. Each dataclass shows its part of one example: the prompt "2+2" is sampled twice (G =
2), with the answers "4", which is right, and "50". The tokens: 7 is "2", 3 is "+", 4 is "4", 5 is "5", 9 is
"0", 1 ends a text, 0 pads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from contextlib import AbstractContextManager

    from torch import Tensor

FinishReason = Literal["stop", "length"]
OnEnd = Callable[[int, list[int]], None]
StepReward = tuple[int, float]  # index among a completion's tokens, reward


@dataclass(frozen=True, slots=True)
class Problem:
    """One question with a reference answer. `pair_id` names the training problem that this one perturbs.

    With `exact` the answer is a text to be given as it stands: capitals count, nothing is read as algebra.
    `parts` are the values that a composite problem passes from one part to the next, in order.

    Example:
        Problem(id="toy/0", dataset="toy", split="train", text="2+2", answer="4")
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
    parts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Prompt:
    """A problem under a template, tokenized with its special tokens.

    Example:
        Prompt(problem_id="toy/0", template="question", text="2+2", token_ids=(7, 3, 7))
    """

    problem_id: str
    template: str
    text: str
    token_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Rollout:
    """One sampled completion.

    `completion_ids` [N] includes the end token when `finish_reason` is "stop"; `text` excludes it.
    `sampler_logprobs` [N] are the engine's, nats, of logits / temperature. `policy_step` is the number of
    optimiser steps behind the weights that sampled it. The first `num_given` tokens were not drawn with the
    others, but chosen by a search among earlier samples.

    Example, the first sample and the second:
        Rollout("toy/0", 0, completion_ids=(4, 1), text="4",
                sampler_logprobs=(-0.5, -0.25), finish_reason="stop")
        Rollout("toy/0", 1, completion_ids=(5, 9, 1), text="50",
                sampler_logprobs=(-1.0, -0.75, -0.125), finish_reason="stop")
    """

    problem_id: str
    sample_idx: int
    completion_ids: tuple[int, ...]
    text: str
    sampler_logprobs: tuple[float, ...] | None
    finish_reason: FinishReason
    policy_step: int = 0
    num_given: int = 0


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to sample. `temperature` 0 is greedy; `top_p` 1 and `top_k` 0 leave the distribution whole.

    Example:
        SamplingParams(max_new_tokens=3, temperature=1.0, logprobs=True)
    """

    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    logprobs: bool = False
    stop: tuple[str, ...] = ()


class RolloutEngine(Protocol):
    """An engine that samples: the native one, vLLM, or a test's stand-in."""

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
        """Sample one rollout per (prompt, seed) pair, in order; a group is the same prompt given G times.

        A rollout's random numbers depend on its own seed alone, never on what else is in the call. `limits`
        are the most tokens of each, `params.max_new_tokens` at most; None: that for all.
        `sample_idx` counts the earlier prompts of the call with the same `problem_id`. `on_end(place,
        tokens)` is called as each request ends, in any order: tokens without the end token, before a stop
        string is looked for. It must return at once.
        """
        ...

    def keeping_prefixes(self) -> AbstractContextManager[None]:
        """Within it, prompts may begin with keys and values of earlier calls; weights stay as they are."""
        ...

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Take the trainer's tensors (hub names) in place."""
        ...

    def release(self) -> None:
        """Give back the memory that sampling needs, until it is needed again."""
        ...


@dataclass(frozen=True, slots=True)
class Grade:
    """The grader's verdict: is the extracted answer equal to the reference, and why.

    `tests` is the share of its tests that a program passes; None where no program is asked for.

    Example, of the two rollouts:
        Grade(correct=True, extracted="4", reason="final_number: equal numbers")
        Grade(correct=False, extracted="50", reason="final_number: different numbers")
    """

    correct: bool
    extracted: str | None
    reason: str
    tests: float | None = None


@dataclass(frozen=True, slots=True)
class ScoredGroup:
    """The G rollouts of one prompt, each with its grade and its reward.

    `step_rewards` are there under process supervision: those of each rollout's steps, in order. `own_rewards`
    are what a reward of the user's own gave, unweighted.

    Example, with accuracy as the reward:
        ScoredGroup(problem, prompt, (right, wrong), (right_grade, wrong_grade), rewards=(1.0, 0.0))
    """

    problem: Problem
    prompt: Prompt
    rollouts: tuple[Rollout, ...]
    grades: tuple[Grade, ...]
    rewards: tuple[float, ...]
    step_rewards: tuple[tuple[StepReward, ...], ...] | None = None
    own_rewards: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Right-padded rows of one rollout batch, [B, T] unless said otherwise. Padding is 0.

    Position t of a `*_logprobs` holds log p(input_ids[t] | input_ids[:t]), nats; 0.0 wherever
    `completion_mask` is 0. `advantages` and `old_logprobs` are fixed for the whole rollout batch. `group_ids`
    [B] says which rows are compared; `lengths` [B] counts a row's tokens, prompt and completion. Rows with
    one number in `prompt_ids` [B] begin with the same `prompt_lengths` [B] tokens, which a model computes
    once. `rewards` [B]. `counted` [B], bool: rows that the denominator counts where `advantages` no longer
    say, as a mask has taken some to 0. Frozen: to change a tensor, make another Batch (dataclasses.replace).

    Example, B = 2 and T = 6, with the advantage R - mean R and before any model has scored the rows:
        Batch(
            input_ids=tensor([[7, 3, 7, 4, 1, 0],
                              [7, 3, 7, 5, 9, 1]]),
            completion_mask=tensor([[0, 0, 0, 1, 1, 0],
                                    [0, 0, 0, 1, 1, 1]]),
            sampler_logprobs=tensor([[0, 0, 0, -0.5, -0.25, 0],
                                     [0, 0, 0, -1, -0.75, -0.125]]),
            old_logprobs=zeros(2, 6),
            advantages=tensor([[0, 0, 0, 0.5, 0.5, 0],
                               [0, 0, 0, -0.5, -0.5, -0.5]]),
            group_ids=tensor([0, 0]),
            lengths=tensor([5, 6]),
            prompt_ids=tensor([0, 0]),
            prompt_lengths=tensor([3, 3]),
            rewards=tensor([1.0, 0.0]),
        )
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
    counted: Tensor | None = None


@dataclass(slots=True)
class LossOutput:
    """An unreduced loss [B, T] and per-token metrics [B, T]; the reducer divides once for the whole step.

    Example, the policy gradient -A log pi where the trainer's logprobs are the sampler's:
        LossOutput(
            loss=tensor([[0, 0, 0, 0.25, 0.125, 0],
                         [0, 0, 0, -0.5, -0.375, -0.0625]]),
            metrics={"ratio": ones(2, 6), "kl_old": zeros(2, 6)},
        )
    """

    loss: Tensor
    metrics: dict[str, Tensor] = field(default_factory=dict)
