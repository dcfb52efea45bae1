"""The transformer's small operations, each one autograd node with a hand-written backward pass.

PyTorch's own compositions allocate and traverse several times as many [N, F] temporaries, which costs a small
model on a CPU as much as its matmuls do. First derivatives only.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from harness.model.rows import GatherIndex


def widened(x: Tensor) -> Tensor:
    """x in float32, or in float64 where it is that already."""
    return x if x.dtype == torch.float64 else x.float()


def uses_kernels(x: Tensor) -> bool:
    """Whether work on x is done by the Triton kernels of `harness.model.kernels`."""
    return x.is_cuda


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.rows = x.shape[0]
        return x.index_select(0, index)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        return grad.new_zeros((ctx.rows, *grad.shape[1:])).index_copy_(0, index, grad), None


class _Scatter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor, rows: int) -> Tensor:
        ctx.save_for_backward(index)
        return x.new_zeros((rows, *x.shape[1:])).index_copy_(0, index, x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (index,) = ctx.saved_tensors
        return grad.index_select(0, index), None, None


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor, order: Tensor, ends: Tensor) -> Tensor:
        ctx.save_for_backward(order, ends)
        return x.index_select(0, index)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        """Sum each row's copies, always in the same order, in float32 at least."""
        order, ends = ctx.saved_tensors
        flat = grad.flatten(1)
        summed = torch.ops.aten._embedding_bag_forward_only.default(
            flat, order, ends, mode=0, include_last_offset=True
        )[0]
        return summed.view(-1, *grad.shape[1:]), None, None, None


def spread(x: Tensor, rows: GatherIndex) -> Tensor:
    """Gather rows of x [N, ...] to [K, ...]; a row's gradient is the sum over its copies."""
    if rows.order is None:
        return pack(x, rows.index)
    return _Spread.apply(x, rows.index, rows.order, rows.ends)


def pack(x: Tensor, index: Tensor) -> Tensor:
    """Rows `index` [N] of x [R, ...]; `index` increases strictly, so the gradient is a copy, not a sum."""
    return x if index.shape[0] == x.shape[0] else _Gather.apply(x, index)


def unpack(x: Tensor, index: Tensor, batch: int, width: int) -> Tensor:
    """Scatter x [N, ...] to the strictly increasing flat positions `index` [N] of zeros [B, T, ...]."""
    rows = batch * width
    flat = x if index.shape[0] == rows else _Scatter.apply(x, index, rows)
    return flat.unflatten(0, (batch, width))


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        wide = widened(x)
        scale = (
            torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
            .square_()
            .div_(x.shape[-1])
            .add_(eps)
            .rsqrt_()
        )
        normed = (wide * scale).to(x.dtype)
        ctx.save_for_backward(normed, scale, weight)
        return normed * weight

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        """dx = scale (g − n mean(g n)), g = grad weight, n the normalised input."""
        normed, scale, weight = ctx.saved_tensors
        product = grad * normed
        grad_weight = product.flatten(0, -1 - weight.ndim).sum(0)
        mean = (product @ weight if weight.ndim == 1 else (product * weight).sum(-1)).unsqueeze(-1)
        mean = mean.div_(normed.shape[-1])
        grad_x = (grad * weight).addcmul_(normed, mean, value=-1).mul_(scale)
        return grad_x.to(normed.dtype), grad_weight, None


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x²) + eps) × weight over the last dimension; arXiv:1910.07467.

    x [N, D] with weight [D], or x [N, heads, Dh] with weight [heads, Dh]. The mean is in float32 at least.
    """
    if x.is_cuda and weight.ndim == 1:
        return F.rms_norm(x, weight.shape, weight, eps)
    return _RMSNorm.apply(x, weight, eps)


class _ResidualNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        if not uses_kernels(x):
            return x.view_as(x), _RMSNorm.forward(ctx, x, weight, eps)
        from harness.model import kernels

        normed, scales = kernels.rms_norm(x, weight, eps)
        ctx.save_for_backward(x, scales, weight)
        return x.view_as(x), normed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, beside: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        if not uses_kernels(grad):
            grad_x, grad_weight, _ = _RMSNorm.backward(ctx, grad)
            return grad_x.add_(beside), grad_weight, None
        from harness.model import kernels

        x, scales, weight = ctx.saved_tensors
        return (*kernels.rms_norm_backward(grad, beside, x, weight, scales), None)


def residual_norm(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """(x, `rms_norm` of x), x [N, D]: go on with both, and their gradients are added where they are made."""
    return _ResidualNorm.apply(x, weight, eps)


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, rotations: Tensor, num_heads: int) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(rotations)
        ctx.num_heads = num_heads
        if uses_kernels(qkv):
            from harness.model import kernels

            return kernels.rotate(qkv, rotations, num_heads)
        kv_heads = (qkv.shape[1] - num_heads) // 2
        queries, keys, values = qkv.split((num_heads, kv_heads, kv_heads), dim=1)
        keys_values = torch.cat((turn(keys, rotations), values), dim=1)
        return turn(queries, rotations), keys_values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, queries: Tensor, keys_values: Tensor) -> tuple[Tensor, None, None]:
        (rotations,) = ctx.saved_tensors
        if uses_kernels(queries):
            from harness.model import kernels

            return kernels.rotate_backward(queries, keys_values, rotations), None, None
        keys, values = keys_values.chunk(2, dim=1)
        back = rotations.conj()
        return torch.cat((turn(queries, back), turn(keys, back), values), dim=1), None, None


def turn(x: Tensor, rotations: Tensor) -> Tensor:
    """x [N, heads, Dh], 2i and 2i + 1 one complex number, times rotations [N, 1, Dh/2]."""
    pairs = torch.view_as_complex(widened(x).unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * rotations).flatten(-2).to(x.dtype)


def rotate(qkv: Tensor, rotations: Tensor, num_heads: int) -> tuple[Tensor, Tensor]:
    """Rotary embedding, `turn`, of the H queries and KV keys of qkv [N, H + 2 KV, Dh].

    Returns the queries [N, H, Dh], and keys and (unchanged) values in one [N, 2 KV, Dh].
    """
    return _Rotate.apply(qkv, rotations, num_heads)


class _SwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate_up: Tensor) -> Tensor:
        ctx.save_for_backward(gate_up)
        if uses_kernels(gate_up):
            from harness.model import kernels

            return kernels.swiglu(gate_up)
        gate, up = gate_up.chunk(2, dim=-1)
        return F.silu(gate).mul_(up)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """d silu(g) = s (1 + g (1 − s)), s = sigmoid(g)."""
        (gate_up,) = ctx.saved_tensors
        if uses_kernels(gate_up):
            from harness.model import kernels

            return kernels.swiglu_backward(grad, gate_up)
        gate, up = gate_up.chunk(2, dim=-1)
        grad_both = torch.empty_like(gate_up)
        grad_gate, grad_up = grad_both.chunk(2, dim=-1)
        torch.mul(grad, F.silu(gate), out=grad_up)
        torch.ops.aten.silu_backward.grad_input(grad * up, gate, grad_input=grad_gate)
        return grad_both


def swiglu(gate_up: Tensor) -> Tensor:
    """silu(gate) × up, [N, 2 F] -> [N, F]; arXiv:2002.05202."""
    return _SwiGLU.apply(gate_up)
