"""Compute log-probabilities of chosen tokens from hidden states, one chunk of logits at a time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from harness.model.chunks import CHUNK_ELEMENTS, MAX_SAVED_ELEMENTS, MIN_CHUNK_TOKENS
from harness.model.fused import uses_kernels, widened
from harness.model.wide import head_logits, wide_product


def _wide(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _scaled_logits(states: Tensor, weight: Tensor, temperature: float) -> Tensor:
    """Logits / temperature of one chunk, [n, V], in float32 at least."""
    logits = widened(states @ weight.t())
    return logits if temperature == 1.0 else logits.div_(temperature)


class _ChunkedLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        targets: Tensor,
        temperature: float,
        with_entropy: bool,
        chunk: int,
    ) -> tuple[Tensor, Tensor]:
        logprobs = torch.empty(states.shape[0], dtype=_wide(states), device=states.device)
        normalisers = torch.empty_like(logprobs)
        entropy = torch.empty_like(logprobs) if with_entropy else logprobs.new_empty(0)
        for start in range(0, states.shape[0], chunk):
            part = slice(start, start + chunk)
            logits = _scaled_logits(states[part], weight, temperature)
            picked = logits.gather(1, targets[part, None]).squeeze(1)
            normalisers[part] = torch.logsumexp(logits, dim=1)
            logprobs[part] = picked - normalisers[part]
            if with_entropy:
                probs = (logits - normalisers[part, None]).exp_()
                entropy[part] = normalisers[part] - (probs.mul_(logits)).sum(1)
        ctx.save_for_backward(states, weight, targets, normalisers)
        ctx.temperature, ctx.chunk = temperature, chunk
        ctx.mark_non_differentiable(entropy)
        return logprobs, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, Tensor | None, None, None, None, None]:
        """d logprob / d logits = (onehot(target) − softmax) / T, with the softmax computed again."""
        states, weight, targets, normalisers = ctx.saved_tensors
        grad_states = torch.empty_like(states)
        trained = ctx.needs_input_grad[1]
        grad_weight = torch.zeros_like(weight, dtype=_wide(weight)) if trained else None
        grad = grad / ctx.temperature
        for start in range(0, states.shape[0], ctx.chunk):
            part = slice(start, start + ctx.chunk)
            logits = _scaled_logits(states[part], weight, ctx.temperature)
            grad_logits = logits.sub_(normalisers[part, None]).exp_().mul_(-grad[part, None])
            grad_logits.scatter_add_(1, targets[part, None], grad[part, None])
            grad_logits = grad_logits.to(states.dtype)
            torch.mm(grad_logits, weight, out=grad_states[part])
            if grad_weight is None:
                continue
            if grad_logits.dtype == grad_weight.dtype:
                grad_weight.addmm_(grad_logits.t(), states[part])
            else:
                grad_weight.add_(grad_logits.t() @ states[part])
        whole = None if grad_weight is None else grad_weight.to(weight.dtype)
        return grad_states, whole, None, None, None, None


class _KernelLogprobs(torch.autograd.Function):
    """`_ChunkedLogprobs` for a GPU: a kernel reads a chunk of logits, another makes them their gradient.

    With `save`, what the backward pass needs of them stays in memory; otherwise it computes them again. That
    is the logits, or, with `fp32`, their gradient for a gradient of 1 above: in the states' type, half the
    size.
    """

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        targets: Tensor,
        temperature: float,
        chunk: int,
        save: bool,
        fp32: bool,
        exact: bool,
    ) -> tuple[Tensor, Tensor]:
        from harness.model import kernels

        results, saved = [], []
        for some, wanted in zip(states.split(chunk), targets.split(chunk), strict=True):
            logits = head_logits(some, weight, fp32=fp32, exact=exact)
            found = kernels.logprobs_of(logits, wanted, temperature)
            results.append(found)
            if save and fp32:
                ones, slopes = torch.ones_like(found[1]), torch.empty_like(logits, dtype=states.dtype)
                logits = kernels.logits_gradient(logits, wanted, found[1], ones, temperature, out=slopes)
            saved.append(logits if save else None)
        logprobs, normalisers, entropy = (torch.cat(parts) for parts in zip(*results, strict=True))
        ctx.save_for_backward(states, weight, targets, normalisers)
        ctx.temperature, ctx.chunk, ctx.saved, ctx.fp32, ctx.exact = temperature, chunk, saved, fp32, exact
        ctx.mark_non_differentiable(entropy)
        return logprobs, entropy

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad: Tensor, _: Tensor
    ) -> tuple[Tensor, Tensor | None, None, None, None, None, None, None]:
        states, weight, _, _ = ctx.saved_tensors
        grad_states, grad_weight = torch.empty_like(states), None
        saved = ctx.saved
        ctx.saved = [None] * len(saved)  # logits are overwritten: a second backward pass recomputes
        for i in range(len(saved)):
            part = slice(i * ctx.chunk, (i + 1) * ctx.chunk)
            slopes, scale = _slopes(ctx, saved[i], part, grad[part])
            saved[i] = None
            some = states[part] if scale is None else (states[part] * scale).to(states.dtype)
            torch.mm(slopes, weight, out=grad_states[part])
            if scale is not None:
                grad_states[part] *= scale
            if ctx.needs_input_grad[1]:
                if len(saved) == 1:
                    return grad_states, slopes.t() @ some, *(None,) * 6
                product = wide_product(slopes.t(), some) if ctx.fp32 else (slopes.t() @ some).float()
                grad_weight = product if grad_weight is None else grad_weight.add_(product)
            del slopes
        whole = None if grad_weight is None else grad_weight.to(weight.dtype)
        return grad_states, whole, *(None,) * 6


def _slopes(ctx: Any, saved: Tensor | None, part: slice, grad: Tensor) -> tuple[Tensor, Tensor | None]:
    """Gradient of a chunk's logits [n, V]; if it is still to be multiplied, by what, [n, 1] float32."""
    from harness.model import kernels

    states, weight, targets, normalisers = ctx.saved_tensors
    if saved is not None and ctx.fp32:
        return saved, grad[:, None]
    logits = saved
    if logits is None:
        logits = head_logits(states[part], weight, fp32=ctx.fp32, exact=ctx.exact)
    narrow = torch.empty_like(logits, dtype=states.dtype) if logits.dtype != states.dtype else logits
    args = (logits, targets[part], normalisers[part], grad, ctx.temperature)
    return kernels.logits_gradient(*args, out=narrow), None


def chunked_logprobs(
    states: Tensor,
    weight: Tensor,
    targets: Tensor,
    temperature: float,
    *,
    with_entropy: bool,
    chunk_tokens: int | None,
    fp32: bool = False,
    exact: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """log softmax(states weightᵀ / temperature)[targets] and the entropy or None, nats [M], float32 at least.

    states [M, D], weight [V, D], targets [M]. `fp32` and `exact`: see `harness.model.wide`. Gradients reach
    states and weight; the entropy carries none.
    """
    chunk = chunk_tokens or max(MIN_CHUNK_TOKENS, CHUNK_ELEMENTS[states.device.type] // weight.shape[0])
    if uses_kernels(states) and len(states):
        save = torch.is_grad_enabled() and len(states) * weight.shape[0] <= MAX_SAVED_ELEMENTS
        chunk = chunk_tokens or (chunk // 2 if fp32 else len(states) if save else chunk)
        options = (chunk, save, fp32, exact)
        logprobs, entropy = _KernelLogprobs.apply(states, weight, targets, temperature, *options)
    else:
        args = (states, weight, targets, temperature, with_entropy, chunk)
        logprobs, entropy = _ChunkedLogprobs.apply(*args)
    return logprobs, entropy if with_entropy else None
