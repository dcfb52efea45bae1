"""Check and make an engine's requests, and build rollouts from what was sampled: shared by all engines."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from harness.types import FinishReason, OnEnd, Prompt, Rollout, SamplingParams

Decode = Callable[[Sequence[int]], str]


@dataclass(slots=True)
class Request:
    """One prompt to continue, and what it became. `on_end` gets its tokens without the end token."""

    prompt: tuple[int, ...]
    seed: int
    limit: int
    on_end: Callable[[list[int]], None] | None = None
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish_reason: FinishReason = "length"

    def ended(self) -> None:
        """Call `on_end`, once tokens and finish_reason are final."""
        if self.on_end is not None:
            self.on_end(self.tokens[: len(self.tokens) - (self.finish_reason == "stop")])


def check_requests(
    prompts: Sequence[Prompt],
    params: SamplingParams,
    seeds: Sequence[int],
    *,
    max_positions: int,
    limits: Sequence[int] | None,
) -> None:
    """Raises ValueError for requests that cannot fit or make sense."""
    if len(prompts) != len(seeds):
        raise ValueError(f"seeds has {len(seeds)} entries; give one to each of {len(prompts)} prompts")
    if params.max_new_tokens < 1:
        raise ValueError(f"max_new_tokens is {params.max_new_tokens}; sample at least one token")
    most = [params.max_new_tokens] * len(prompts) if limits is None else limits
    if len(most) != len(prompts) or not all(1 <= limit <= params.max_new_tokens for limit in most):
        raise ValueError(
            f"limits is {most}; give each of {len(prompts)} prompts one from 1 to {params.max_new_tokens}"
        )
    if params.temperature < 0 or not 0 < params.top_p <= 1 or params.top_k < 0:
        raise ValueError(f"params is {params}; need temperature >= 0, 0 < top_p <= 1 and top_k >= 0")
    for prompt, limit in zip(prompts, most, strict=True):
        if not prompt.token_ids:
            raise ValueError(f"token_ids of {prompt.problem_id!r} is empty; a prompt needs a token")
        if len(prompt.token_ids) + limit > max_positions:
            raise ValueError(
                f"max_new_tokens is {limit}; with the {len(prompt.token_ids)} tokens of "
                f"{prompt.problem_id!r} it passes max_position_embeddings {max_positions}"
            )


def make_requests(
    prompts: Sequence[Prompt],
    seeds: Sequence[int],
    on_end: OnEnd | None,
    *,
    params: SamplingParams,
    limits: Sequence[int] | None,
) -> list[Request]:
    """One request a prompt; `on_end` is called with the index of each that ends."""
    most = [params.max_new_tokens] * len(prompts) if limits is None else limits
    return [
        Request(prompt.token_ids, seed, limit, None if on_end is None else partial(on_end, place))
        for place, (prompt, seed, limit) in enumerate(zip(prompts, seeds, most, strict=True))
    ]


def has_stop(ids: Sequence[int], stops: tuple[str, ...], decode: Decode) -> bool:
    """Whether the text of `ids` contains a stop string."""
    text = decode(ids)
    return any(stop in text for stop in stops)


def rollouts(
    prompts: Sequence[Prompt],
    requests: Sequence[Request],
    *,
    params: SamplingParams,
    decode: Decode,
    policy_step: int,
) -> list[Rollout]:
    """One rollout a request, in order; `sample_idx` counts the earlier ones of the same problem."""
    made, counts = [], dict[str, int]()
    for prompt, request in zip(prompts, requests, strict=True):
        sample_idx = counts.get(prompt.problem_id, 0)
        counts[prompt.problem_id] = sample_idx + 1
        made.append(_rollout(prompt.problem_id, sample_idx, request, params, decode, policy_step))
    return made


def _rollout(
    problem_id: str,
    sample_idx: int,
    request: Request,
    params: SamplingParams,
    decode: Decode,
    policy_step: int,
) -> Rollout:
    """Cut a completion at the first token that completes a stop string; the text ends before the string."""
    ids = request.tokens
    end = len(ids) - (request.finish_reason == "stop")
    text, finish_reason = decode(ids[:end]), request.finish_reason
    if any(stop in text for stop in params.stop):
        lengths = range(1, end + 1)
        length = bisect_left(lengths, True, key=lambda n: has_stop(ids[:n], params.stop, decode)) + 1
        ids, text, finish_reason = ids[:length], decode(ids[:length]), "stop"
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
