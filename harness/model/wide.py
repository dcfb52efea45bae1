"""Products of matrices in half precision with float32 results: terms are exact there, and summed there."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from harness.model.fused import widened


def wide_product(a: Tensor, b: Tensor) -> Tensor:
    """a [n, k] times b [k, m], [n, m] in float32 at least. On a GPU without copies of a and b in float32."""
    if a.is_cuda and a.dtype in (torch.bfloat16, torch.float16):
        return torch.mm(a, b, out_dtype=torch.float32)
    return widened(a) @ widened(b)


class _WideLogits(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(states, weight)
        return wide_product(states, weight.t())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None]:
        states, weight = ctx.saved_tensors
        grad = grad.to(states.dtype)
        return grad @ weight, grad.t() @ states if ctx.needs_input_grad[1] else None


def head_logits(states: Tensor, weight: Tensor, *, fp32: bool, exact: bool = False) -> Tensor:
    """Logits [n, V] of states [n, D] and an output head's weight [V, D]; with `fp32`, as they are summed.

    Otherwise they are rounded to the states' type. So are the gradients of both, before they are multiplied.
    `exact`: by the kernel of `harness.model.exact`.
    """
    if exact:
        from harness.model.exact import linear

        return linear(states, weight, wide=fp32)
    if not fp32 or states.dtype == torch.float32:
        return states @ weight.t()
    if torch.is_grad_enabled():
        return _WideLogits.apply(states, weight)
    return wide_product(states, weight.t())
