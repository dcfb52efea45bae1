"""Hold samples to a model in float64: each token is what its uniform number asks for, but for rounding.

A GPU sums in an order that depends on the shapes of a step, so two runs of one request may part where its
uniform number falls on the edge between two tokens. They may part nowhere else, and to no other token.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from harness.model.policy import Policy
from harness.model.rows import pack_rows
from harness.rollout.sampling import uniforms

EPS = torch.finfo(torch.float32).eps
LOGPROB_ERROR = 1e-4  # nats, of float32 against float64: fifty times what a small model's are on a CPU
MOST_MISSED = 0.02  # of a row's tokens (or one): all others' uniform numbers lie inside their parts


class Row(NamedTuple):
    """A request, and the tokens [T] and logprobs [T] that were sampled for it."""

    prompt: tuple[int, ...]
    seed: int
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]


def cumulative(reference: Policy, row: Row, temperature: float) -> tuple[Tensor, Tensor]:
    """Probabilities of the tokens up to each, and logprobs, [T, V] each, at every place of a row, float64."""
    ids = torch.tensor([row.prompt + row.tokens])
    with torch.no_grad():
        states = reference.hidden(pack_rows(ids, torch.tensor([ids.shape[1]])))  # [P + T, D]
        logits = reference.logits(states[len(row.prompt) - 1 : -1])  # [T, V]
    logprobs = (logits / temperature).log_softmax(-1)
    return logprobs.exp().cumsum(-1), logprobs


def bound(reference: Policy) -> float:
    """Largest error of a float32 sum of probabilities over the vocabulary, in whatever order it is summed."""
    return EPS * reference.dims.vocab_size


def check(reference: Policy, row: Row, temperature: float) -> None:
    """Raise AssertionError unless each token's own part of [0, 1) has its uniform number, within `bound`."""
    upto, logprobs = cumulative(reference, row, temperature)
    token = torch.tensor(row.tokens)[:, None]  # [T, 1]
    own = logprobs.gather(1, token)[:, 0]  # [T]
    end = upto.gather(1, token)[:, 0]  # [T]
    uniform = torch.from_numpy(uniforms(row.seed, len(token))).double()
    missed = torch.maximum(end - own.exp() - uniform, uniform - end).clamp_(min=0.0)
    error = (own - torch.tensor(row.logprobs, dtype=torch.float64)).abs()
    assert float(error.max()) <= LOGPROB_ERROR, (row.seed, int(error.argmax()), float(error.max()))
    assert float(missed.max()) <= bound(reference), (row.seed, int(missed.argmax()), float(missed.max()))
    count = int((missed > 0).sum())
    assert count <= max(1, MOST_MISSED * len(token)), (row.seed, count, len(token))


def part(reference: Policy, a: Row, b: Row, temperature: float) -> bool:
    """Whether two runs of a request part; AssertionError unless both are right and part at an edge.

    That is an edge between two neighbours in the order of the draw, within `bound` of the uniform number.
    """
    assert (a.prompt, a.seed) == (b.prompt, b.seed)
    check(reference, a, temperature)
    check(reference, b, temperature)
    if a.tokens == b.tokens:
        return False
    both = zip(a.tokens, b.tokens, strict=False)
    place = next((i for i, (x, y) in enumerate(both) if x != y), None)
    assert place is not None, (a.seed, len(a.tokens), len(b.tokens))  # one of them ended too early
    low, high = sorted((a.tokens[place], b.tokens[place]))
    assert high == low + 1, (a.seed, place, low, high)
    edge = float(cumulative(reference, a, temperature)[0][place, low])
    uniform = float(uniforms(a.seed, place + 1)[place])
    assert abs(uniform - edge) <= bound(reference), (a.seed, place, uniform, edge)
    return True


def in_float64(policy: Policy) -> Policy:
    """The policy's copy on the CPU in float64."""
    copy = Policy(policy.dims, dtype=torch.float64, device="cpu")
    copy.load_state_dict({name: x.double().cpu() for name, x in policy.state_dict().items()})
    return copy
