"""Products and attention that give a token the same bits, whatever else is computed with it.

A library chooses how to sum by the shapes of a call, so the sampler's rows of one token and the trainer's
packed batch round apart. Here both go through the same kernels with the same blocks: a product adds up its
terms in one order, and a query meets its keys in pages and shares of fixed sizes, in the sampler's cache as
in the trainer's batch. Slower than the library's own; gradients are the library's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from harness.model import attention
from harness.model.chunks import PAGE
from harness.model.fused import residual_norm, rotate, swiglu
from harness.model.paged_attention import attend_pages
from harness.model.rows import Layout

Attention = Callable[[Tensor, Tensor], Tensor]  # queries [n, H, Dh], keys and values [n, 2 KV, Dh]
EXACT_KEYS = 512  # keys of a share: fixed, where speed alone would choose by the batch
_BLOCKS = {"BLOCK_M": 128, "BLOCK_N": 64, "BLOCK_K": 64}
_PARTIAL_BYTES = 1 << 28  # of the shares' sums at once


@triton.jit
def _linear_kernel(
    x,
    weight,
    bias,
    residual,
    out,
    rows,
    width,
    features,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HAS_RESIDUAL: tl.constexpr,
):
    row = (tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)).to(tl.int64)
    feature = (tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)).to(tl.int64)
    term = tl.arange(0, BLOCK_K)
    there, wanted = row < rows, feature < features
    total = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    for start in range(0, width, BLOCK_K):
        inside = start + term < width
        a = tl.load(
            x + row[:, None] * width + (start + term)[None, :],
            mask=there[:, None] & inside[None, :],
            other=0.0,
        )  # [BLOCK_M, BLOCK_K]
        b = tl.load(
            weight + feature[None, :] * width + (start + term)[:, None],
            mask=wanted[None, :] & inside[:, None],
            other=0.0,
        )  # [BLOCK_K, BLOCK_N]
        total = tl.dot(a, b, total, input_precision="ieee")
    if HAS_BIAS:
        total += tl.load(bias + feature, mask=wanted, other=0.0).to(tl.float32)[None, :]
    at = row[:, None] * features + feature[None, :]
    whole = there[:, None] & wanted[None, :]
    if HAS_RESIDUAL:
        total += tl.load(residual + at, mask=whole, other=0.0).to(tl.float32)
    tl.store(out + at, total, mask=whole)


def product(
    x: Tensor,
    weight: Tensor,
    *,
    bias: Tensor | None = None,
    residual: Tensor | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """residual + x weightᵀ + bias, [n, K] and [F, K] -> [n, F]: summed in float32, rounded once (`dtype`)."""
    rows, features = x.shape[0], weight.shape[0]
    out = torch.empty(rows, features, dtype=dtype or x.dtype, device=x.device)
    grid = (triton.cdiv(features, _BLOCKS["BLOCK_N"]), triton.cdiv(rows, _BLOCKS["BLOCK_M"]))
    _linear_kernel[grid](
        x.contiguous(),
        weight.contiguous(),
        x if bias is None else bias,
        x if residual is None else residual.contiguous(),
        out,
        rows,
        x.shape[1],
        features,
        **_BLOCKS,
        HAS_BIAS=bias is not None,
        HAS_RESIDUAL=residual is not None,
        num_warps=4,
        num_stages=3,
    )
    return out


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None, wide: bool
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        dtype = torch.float32 if wide else None
        return product(x, weight, bias=bias, residual=residual, dtype=dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needs = ctx.needs_input_grad
        narrow = grad.to(x.dtype)
        return (
            narrow @ weight if needs[0] else None,
            narrow.t() @ x if needs[1] else None,
            narrow.sum(0) if needs[2] else None,
            grad if needs[3] else None,
            None,
        )


def linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    residual: Tensor | None = None,
    wide: bool = False,
) -> Tensor:
    """`product` with a gradient; with `wide` in float32."""
    return _Linear.apply(x, weight, bias, residual, wide)


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, queries: Tensor, keys_values: Tensor, layout: Layout) -> Tensor:
        ctx.save_for_backward(queries, keys_values)
        ctx.layout = layout
        return _attend(queries, keys_values, layout)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        """The gradient of the library's attention, which is computed for it."""
        with torch.enable_grad():
            inputs = [x.detach().requires_grad_() for x in ctx.saved_tensors]
            out = attention.attend(inputs[0], inputs[1], ctx.layout)
            grads = torch.autograd.grad(out, inputs, grad)
        return grads[0], grads[1], None


def attend(queries: Tensor, keys_values: Tensor, layout: Layout) -> Tensor:
    """`harness.model.attention.attend`, each query by itself: [N, H, Dh] and [N, 2 KV, Dh] -> [N, H Dh]."""
    return _Attend.apply(queries, keys_values, layout)


def layer(
    own: Any,
    qkv: Tensor,
    bias: Tensor | None,
    gate_up: Tensor,
    x: Tensor,
    rotations: Tensor,
    attends: Layout | Attention,
) -> tuple[Tensor, Tensor]:
    """Compute one block of the policy, `own`, by these products: (x [N, D], keys and values [N, 2 KV, Dh]).

    qkv [(H + 2 KV) Dh, D], bias and gate_up [2 F, D] are its joined projections. `attends` is the layout of a
    batch, or what attends to a cache.
    """
    dims, eps = own.dims, own.dims.rms_norm_eps
    x, normed = residual_norm(x, own.input_layernorm.weight, eps)
    both = linear(normed, qkv, bias).view(-1, dims.num_heads + 2 * dims.num_kv_heads, dims.head_dim)
    queries, keys_values = rotate(both, rotations, dims.num_heads)
    if isinstance(attends, Layout):
        attended = attend(queries, keys_values, attends)  # [N, H Dh]
    else:
        attended = attends(queries, keys_values)
    x = linear(attended, own.self_attn.o_proj.weight, residual=x)
    x, normed = residual_norm(x, own.post_attention_layernorm.weight, eps)
    inner = swiglu(linear(normed, gate_up))
    return linear(inner, own.mlp.down_proj.weight, residual=x), keys_values


def splits_of(longest: int) -> int:
    """Shares of `EXACT_KEYS` keys, a power of two, that the longest row needs."""
    return 1 << (-(-longest // EXACT_KEYS) - 1).bit_length()


def _attend(queries: Tensor, keys_values: Tensor, layout: Layout) -> Tensor:
    batch, width = layout.batch, layout.width
    heads, head_dim = queries.shape[1:]
    pages = -(-width // PAGE)  # of a row
    keys, values = _paged(keys_values, layout, pages)
    row, position = layout.index // width, layout.index % width  # [N]
    table = torch.arange(batch * pages, dtype=torch.int32, device=queries.device).view(batch, pages)
    splits = splits_of(width)
    size = max(1, _PARTIAL_BYTES // (heads * splits * head_dim * 4))
    found = []
    for start in range(0, len(row), size):
        part = slice(start, start + size)
        some = position[part].contiguous()
        found.append(
            attend_pages(
                queries[part].contiguous(),
                keys,
                values,
                table=table[row[part]],
                positions=some,
                row_slot=torch.arange(len(some), device=queries.device),
                splits=splits,
                least=EXACT_KEYS,
            )
        )
    return torch.cat(found)


def _paged(keys_values: Tensor, layout: Layout, pages: int) -> tuple[Tensor, Tensor]:
    """Keys and values in pages [B × pages, KV, PAGE, Dh]: a row's page i begins with its column i × PAGE."""
    batch, width = layout.batch, layout.width
    place = layout.index
    if layout.keys is not None:
        keys_values = keys_values[layout.keys.index]  # of all rows, each with its prompt
        place = torch.arange(len(keys_values), device=keys_values.device)
        if not layout.padded:
            assert layout.key_ends is not None
            ends = layout.key_ends.long()
            row = torch.searchsorted(ends[1:], place, right=True)
            place = row * width + place - ends[row]
    room = keys_values.new_zeros(batch, pages * PAGE, *keys_values.shape[1:])  # [B, columns, 2 KV, Dh]
    room.view(-1, *keys_values.shape[1:])[place // width * (pages * PAGE) + place % width] = keys_values
    paged = room.view(batch * pages, PAGE, *keys_values.shape[1:]).transpose(1, 2)  # [pages, 2 KV, PAGE, Dh]
    keys, values = paged.chunk(2, dim=1)
    return keys.contiguous(), values.contiguous()
