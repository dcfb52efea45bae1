"""A policy with V = 3 and T = 2 whose every output is a row of one batch, so that nothing is sampled.

Token 2 ends an output, and the second token does so in any case: seven outputs, of one and of two tokens.
`theta` holds the logits of the first token [3] and, for each first token, of the second [3, 3]. An
expectation is a sum weighted by pi. Float64.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from harness.objectives.policy_loss import policy_loss
from harness.objectives.reduce import counted_rows, denominator, reduce

V, END, PAD = 3, 2, 0
OUTPUTS = torch.tensor([(END, PAD), *itertools.product(range(END), range(V))])  # [7, 2]
NUM, VISIBLE = len(OUTPUTS), 0.1
REWARDS = torch.tensor([1, 0, 0, 1, 0, 1, 0], dtype=torch.float64)


def mask_of(outputs: Tensor) -> Tensor:
    """[N, 2]: there is a second token unless the first one ended the output."""
    return torch.stack([torch.ones(len(outputs), dtype=torch.bool), outputs[:, 0] != END], dim=1)


MASK = mask_of(OUTPUTS)


def log_softmaxes(theta: Tensor, outputs: Tensor = OUTPUTS) -> Tensor:
    """log pi(. | prefix) at both positions of each output, [N, 2, V]."""
    table = theta.log_softmax(-1)  # [V + 1, V]
    return torch.stack([table[0].expand(len(outputs), V), table[1 + outputs[:, 0]]], dim=1)


def logprobs_of(theta: Tensor, outputs: Tensor = OUTPUTS) -> Tensor:
    found = log_softmaxes(theta, outputs).gather(-1, outputs.unsqueeze(-1)).squeeze(-1)  # [N, 2]
    return torch.where(mask_of(outputs), found, 0.0)


def probabilities(theta: Tensor) -> Tensor:
    return logprobs_of(theta).sum(-1).exp()  # [NUM], they add up to 1


def expectation(per_token: Tensor, theta: Tensor) -> Tensor:
    """E over outputs of `theta`, held fixed, of each position's values [NUM, 2]; no token is 0. [2]."""
    return (probabilities(theta).detach()[:, None] * torch.where(MASK, per_token, 0.0)).sum(0)


def grad(scalar: Tensor, theta: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(scalar, theta)
    return gradient


def batch_gradient(
    theta: Tensor, outputs: Tensor, advantages: Tensor, *, old: Tensor | None = None, **slots: object
) -> Tensor:
    """Gradient of one step on `outputs` [B, 2] of the policy `old` (None: fresh from `theta`)."""
    reducer, over = slots.pop("reduce", "sequence_sum"), slots.pop("over", "all")
    mask = mask_of(outputs)
    output = policy_loss(
        logprobs=logprobs_of(theta, outputs),
        old_logprobs=logprobs_of(theta if old is None else old, outputs).detach(),
        advantages=advantages,
        completion_mask=mask,
        **{"loss": "policy_gradient", "loss_params": {}, "ratio": "token", **slots},
    )
    counted = counted_rows(advantages=advantages, completion_mask=mask, over=over)
    divisor = denominator(kind=reducer, completion_mask=mask, counted=counted, constant=5)
    loss = reduce(loss=output.loss, completion_mask=mask, kind=reducer, denominator=divisor)
    return grad(loss, theta)


def same(a: Tensor, b: Tensor) -> None:
    assert b.abs().max() > 1e-6, "an identity between zeros shows nothing"
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def apart(a: Tensor, b: Tensor) -> float:
    """How far `a` is from every multiple of `b`: the sine of their angle. 0 is the same direction."""
    cosine = (a * b).sum() / (a.norm() * b.norm())
    return float((1 - cosine.square()).clamp(min=0).sqrt())


def some_batch(seed: int, size: int = 8) -> tuple[Tensor, Tensor]:
    rows = torch.randint(0, NUM, (size,), generator=torch.Generator().manual_seed(seed))
    return OUTPUTS[rows], REWARDS[rows]


def expected_step(theta: Tensor, advantages: Tensor, **slots: object) -> Tensor:
    """E over outputs of the gradient of a step on one output."""
    p = probabilities(theta).detach()
    each = [batch_gradient(theta, OUTPUTS[i : i + 1], advantages[i : i + 1], **slots) for i in range(NUM)]
    return torch.stack([p[i] * each[i] for i in range(NUM)]).sum(0)


def updated(theta: Tensor) -> Tensor:
    """The policy some updates later."""
    noise = torch.randn(theta.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return (theta.detach() + 0.5 * noise).requires_grad_()
