"""One token a row from logits and one uniform number a row. Pure."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from harness.types import SamplingParams


def uniforms(seed: int, count: int) -> np.ndarray:
    """The first `count` uniform numbers of a request, float32 [count] in [0, 1), from its seed alone.

    Philox counts, so a longer request begins with a shorter one's numbers. Salmon et al., SC 2011.
    """
    return np.random.Generator(np.random.Philox(key=seed)).random(count, dtype=np.float32)


def truncate(probs: Tensor, *, top_k: int, top_p: float) -> Tensor:
    """Zero what top-k, then nucleus sampling (arXiv:1904.09751) exclude; [S, V] -> [S, V], not renormalised.

    Top-k keeps the lower token id among equals. The nucleus is every token at least as probable as τ, the
    largest number for which they have `top_p` of what top-k left: all equals of τ belong, where a sort would
    choose among them by their place.
    """
    if top_k > 0:
        order = probs.argsort(dim=-1, descending=True, stable=True)
        probs = probs.scatter(-1, order[:, top_k:], 0.0)
    if top_p < 1.0:
        ranked = probs.sort(dim=-1, descending=True).values
        cumulative = ranked.cumsum(-1)
        last = (cumulative < top_p * cumulative[:, -1:]).sum(-1, keepdim=True).clamp_(max=probs.shape[1] - 1)
        probs = torch.where(probs >= ranked.gather(-1, last), probs, 0.0)
    return probs


def sample(logits: Tensor, uniform: Tensor, params: SamplingParams) -> tuple[Tensor, Tensor | None]:
    """Tokens [S] and, if asked for, their logprobs [S] under softmax(logits / temperature), untruncated.

    logits [S, V], uniform [S] float32 in [0, 1). Temperature 0 takes the largest logit and scores it at
    temperature 1. Otherwise the token is the first whose cumulative probability exceeds uniform × total:
    uniform has 24 bits, so that product stays below the total however it is rounded, and a token of
    probability 0 adds nothing to the cumulative sum, so neither it nor an index past the end is ever drawn.
    """
    greedy = params.temperature == 0.0
    logits = logits.float()
    if greedy:
        tokens = logits.argmax(-1)
        if not params.logprobs:
            return tokens, None
        return tokens, logits.log_softmax(-1).gather(1, tokens[:, None]).squeeze(1)
    probs = torch.softmax(logits if params.temperature == 1.0 else logits / params.temperature, dim=-1)
    allowed = probs
    if params.top_k > 0 or params.top_p < 1.0:
        allowed = truncate(probs, top_k=params.top_k, top_p=params.top_p)
    cumulative = allowed.cumsum(-1)
    threshold = uniform[:, None] * cumulative[:, -1:]
    # The clamp is for rows of NaN alone: a diverged policy still yields tokens.
    tokens = torch.searchsorted(cumulative, threshold, right=True).clamp_(max=probs.shape[1] - 1)
    return tokens.squeeze(1), probs.gather(1, tokens).log_().squeeze(1) if params.logprobs else None
