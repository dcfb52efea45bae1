"""What every engine's calls have in common: requests that make sense, and rollouts from what was sampled."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import partial

from harness.rollout.generation import Request
from harness.types import OnEnd, Prompt, Rollout, SamplingParams

Decode = Callable[[Sequence[int]], str]


def check_requests(
    prompts: Sequence[Prompt], params: SamplingParams, seeds: Sequence[int], *, max_positions: int
) -> None:
    """Raises ValueError for requests that cannot fit or make sense."""
    if len(prompts) != len(seeds):
        raise ValueError(f"seeds has {len(seeds)} entries; give one to each of {len(prompts)} prompts")
    if params.max_new_tokens < 1:
        raise ValueError(f"max_new_tokens is {params.max_new_tokens}; sample at least one token")
    if params.temperature < 0 or not 0 < params.top_p <= 1 or params.top_k < 0:
        raise ValueError(f"params is {params}; need temperature >= 0, 0 < top_p <= 1 and top_k >= 0")
    for prompt in prompts:
        if not prompt.token_ids:
            raise ValueError(f"token_ids of {prompt.problem_id!r} is empty; a prompt needs a token")
        if len(prompt.token_ids) + params.max_new_tokens > max_positions:
            raise ValueError(
                f"max_new_tokens is {params.max_new_tokens}; with the {len(prompt.token_ids)} tokens of "
                f"{prompt.problem_id!r} it passes max_position_embeddings {max_positions}"
            )


def make_requests(prompts: Sequence[Prompt], seeds: Sequence[int], on_end: OnEnd | None) -> list[Request]:
    """One a prompt; `on_end` is told the place of each that ends."""
    return [
        Request(prompt.token_ids, seed, None if on_end is None else partial(on_end, place))
        for place, (prompt, seed) in enumerate(zip(prompts, seeds, strict=True))
    ]


def has_stop(ids: Sequence[int], stops: tuple[str, ...], decode: Decode) -> bool:
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
    """One a request, in order; `sample_idx` counts the earlier ones of the same problem."""
    found, counts = [], dict[str, int]()
    for prompt, request in zip(prompts, requests, strict=True):
        sample_idx = counts.get(prompt.problem_id, 0)
        counts[prompt.problem_id] = sample_idx + 1
        found.append(_rollout(prompt.problem_id, sample_idx, request, params, decode, policy_step))
    return found


def _rollout(
    problem_id: str,
    sample_idx: int,
    request: Request,
    params: SamplingParams,
    decode: Decode,
    policy_step: int,
) -> Rollout:
    """A stop string ends the completion at the first token that completes it; the text ends before it."""
    ids = request.tokens
    end = len(ids) - (request.finish_reason == "stop")
    text, finish_reason = decode(ids[:end]), request.finish_reason
    if any(stop in text for stop in params.stop):
        places = range(1, end + 1)
        kept = bisect_left(places, True, key=lambda n: has_stop(ids[:n], params.stop, decode)) + 1
        ids, text, finish_reason = ids[:kept], decode(ids[:kept]), "stop"
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
