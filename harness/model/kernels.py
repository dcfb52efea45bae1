"""Triton kernels of training on a GPU: SwiGLU, rotary embedding, and logprobs from logits, each one pass.

On a CPU `harness.model.fused` and `harness.model.head` do the same in PyTorch; a test compares the two.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 1024
_LOGITS_PER_BLOCK = 4096


@triton.jit
def _swiglu_kernel(gate_up, out, width, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < width
    gate = tl.load(gate_up + row * 2 * width + at, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(gate_up + row * 2 * width + width + at, mask=inside, other=0.0)
    gate = (gate * tl.sigmoid(gate)).to(up.dtype)
    tl.store(out + row * width + at, gate * up, mask=inside)


@triton.jit
def _swiglu_backward_kernel(grad, gate_up, out, width, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < width
    gate = tl.load(gate_up + row * 2 * width + at, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(gate_up + row * 2 * width + width + at, mask=inside, other=0.0).to(tl.float32)
    above = tl.load(grad + row * width + at, mask=inside, other=0.0).to(tl.float32)
    sigmoid = tl.sigmoid(gate)
    tl.store(out + row * 2 * width + at, above * up * sigmoid * (1 + gate * (1 - sigmoid)), mask=inside)
    tl.store(out + row * 2 * width + width + at, above * gate * sigmoid, mask=inside)


def swiglu(gate_up: Tensor) -> Tensor:
    """silu(gate) × up, [n, 2 F] -> [n, F]; arXiv:2002.05202."""
    rows, width = gate_up.shape[0], gate_up.shape[1] // 2
    out = gate_up.new_empty(rows, width)
    _swiglu_kernel[(rows, triton.cdiv(width, _BLOCK))](gate_up, out, width, BLOCK=_BLOCK)
    return out


def swiglu_backward(grad: Tensor, gate_up: Tensor) -> Tensor:
    """Gradient [n, 2 F] of `swiglu` from the gradient [n, F] above; d silu(g) = s (1 + g (1 − s))."""
    rows, width = gate_up.shape[0], gate_up.shape[1] // 2
    out = torch.empty_like(gate_up)
    _swiglu_backward_kernel[(rows, triton.cdiv(width, _BLOCK))](
        grad.contiguous(), gate_up, out, width, BLOCK=_BLOCK
    )
    return out


@triton.jit
def _rms_norm_kernel(x, weight, out, scales, size, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    inside = at < size
    value = tl.load(x + row * size + at, mask=inside, other=0.0).to(tl.float32)
    scale = tl.rsqrt(tl.sum(value * value, axis=0) / size + eps)
    tl.store(scales + row, scale)
    gain = tl.load(weight + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + row * size + at, value * scale * gain, mask=inside)


@triton.jit
def _rms_norm_backward_kernel(
    grad, beside, x, weight, scales, grad_x, grad_weight, rows, size, BLOCK: tl.constexpr
):
    at = tl.arange(0, BLOCK)
    inside = at < size
    gain = tl.load(weight + at, mask=inside, other=0.0).to(tl.float32)
    total = tl.zeros([BLOCK], tl.float32)
    for row in range(tl.program_id(0), rows, tl.num_programs(0)):
        place = (row + tl.zeros([BLOCK], tl.int64)) * size + at
        above = tl.load(grad + place, mask=inside, other=0.0).to(tl.float32)
        scale = tl.load(scales + row)
        normed = tl.load(x + place, mask=inside, other=0.0).to(tl.float32) * scale
        total += above * normed
        above *= gain
        slope = scale * (above - normed * (tl.sum(above * normed, axis=0) / size))
        slope += tl.load(beside + place, mask=inside, other=0.0).to(tl.float32)
        tl.store(grad_x + place, slope, mask=inside)
    tl.store(grad_weight + tl.program_id(0) * size + at, total, mask=inside)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """x / sqrt(mean(x²) + eps) × weight, [n, D], and the float32 scales [n]; arXiv:1910.07467."""
    rows, size = x.shape
    out, scales = torch.empty_like(x), torch.empty(rows, dtype=torch.float32, device=x.device)
    block = triton.next_power_of_2(size)
    _rms_norm_kernel[(rows,)](x, weight, out, scales, size, eps, BLOCK=block, num_warps=_warps(block))
    return out, scales


def rms_norm_backward(
    grad: Tensor, beside: Tensor, x: Tensor, weight: Tensor, scales: Tensor
) -> tuple[Tensor, Tensor]:
    """(gradient of x [n, D], of weight [D]) from the gradient above; `beside` [n, D] is added to the first.

    `beside` is the gradient that reaches x past the norm, along the residual stream.
    """
    rows, size = x.shape
    programs = min(rows, 4 * _num_multiprocessors(x.device))
    grad_x = torch.empty_like(x)
    partial = torch.empty(programs, size, dtype=torch.float32, device=x.device)
    block = triton.next_power_of_2(size)
    _rms_norm_backward_kernel[(programs,)](
        grad.contiguous(),
        beside.contiguous(),
        x,
        weight,
        scales,
        grad_x,
        partial,
        rows,
        size,
        BLOCK=block,
        num_warps=_warps(block),
    )
    return grad_x, partial.sum(0).to(weight.dtype)


@lru_cache(maxsize=16)
def _num_multiprocessors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count


def _warps(block: int) -> int:
    return max(1, min(8, block // 256))


@triton.jit
def _rotate_kernel(
    qkv,
    rotations,
    queries,
    keys_values,
    BACK: tl.constexpr,
    Q: tl.constexpr,  # pairs of all queries, of all keys (as many as of values), of one head
    K: tl.constexpr,
    HALF: tl.constexpr,
    PADDED: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    pair = tl.arange(0, PADDED)
    both = tl.arange(0, 2)[None, :]
    whole = qkv + row * 2 * (Q + 2 * K) + 2 * pair[:, None] + both
    query = queries + row * 2 * Q + 2 * pair[:, None] + both
    other = keys_values + row * 4 * K + 2 * (pair - Q)[:, None] + both
    in_queries = pair[:, None] + 0 * both < Q
    in_others = (pair[:, None] + 0 * both >= Q) & (pair[:, None] + 0 * both < Q + 2 * K)
    if BACK:
        x = tl.load(query, mask=in_queries, other=0.0) + tl.load(other, mask=in_others, other=0.0)
    else:
        x = tl.load(whole, mask=in_queries | in_others, other=0.0)
    even, odd = tl.split(x.to(tl.float32))
    cos, sin = tl.split(tl.load(rotations + row * 2 * HALF + 2 * (pair % HALF)[:, None] + both))
    cos = tl.where(pair < Q + K, cos, 1.0)  # values are not turned
    sin = tl.where(pair < Q + K, -sin if BACK else sin, 0.0)
    turned = tl.join(even * cos - odd * sin, even * sin + odd * cos)
    if BACK:
        tl.store(whole, turned, mask=in_queries | in_others)
    else:
        tl.store(query, turned, mask=in_queries)
        tl.store(other, turned, mask=in_others)


def rotate(qkv: Tensor, rotations: Tensor, num_heads: int) -> tuple[Tensor, Tensor]:
    """`fused.rotate`: qkv [N, H + 2 KV, Dh] -> queries [N, H, Dh], keys and values [N, 2 KV, Dh]."""
    rows, heads, head_dim = qkv.shape
    queries = qkv.new_empty(rows, num_heads, head_dim)
    keys_values = qkv.new_empty(rows, heads - num_heads, head_dim)
    _rotate(qkv.contiguous(), rotations, queries, keys_values, back=False)
    return queries, keys_values


def rotate_backward(queries: Tensor, keys_values: Tensor, rotations: Tensor) -> Tensor:
    """The gradient of qkv from those of queries, and of keys and values: turned the other way."""
    rows, num_heads, head_dim = queries.shape
    qkv = queries.new_empty(rows, num_heads + keys_values.shape[1], head_dim)
    _rotate(qkv, rotations, queries.contiguous(), keys_values.contiguous(), back=True)
    return qkv


def _rotate(qkv: Tensor, rotations: Tensor, queries: Tensor, keys_values: Tensor, *, back: bool) -> None:
    rows, heads, head_dim = qkv.shape
    half = head_dim // 2
    _rotate_kernel[(rows,)](
        qkv,
        torch.view_as_real(rotations).contiguous(),
        queries,
        keys_values,
        BACK=back,
        Q=queries.shape[1] * half,
        K=keys_values.shape[1] * half // 2,
        HALF=half,
        PADDED=triton.next_power_of_2(heads * half),
    )


@triton.jit
def _logprobs_kernel(
    logits, targets, logprobs, normalisers, entropy, inverse_temperature, vocab, BLOCK: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    base = logits + row * vocab
    highest = float("-inf")
    total = 0.0
    weighted = 0.0
    for start in range(0, vocab, BLOCK):
        token = start + tl.arange(0, BLOCK)
        inside = token < vocab
        value = tl.load(base + token, mask=inside, other=float("-inf")).to(tl.float32) * inverse_temperature
        new_highest = tl.maximum(highest, tl.max(value, axis=0))
        keep = tl.exp(highest - new_highest)
        probs = tl.exp(value - new_highest)
        total = total * keep + tl.sum(probs, axis=0)
        weighted = weighted * keep + tl.sum(tl.where(inside, probs * value, 0.0), axis=0)
        highest = new_highest
    normaliser = highest + tl.log(total)
    picked = tl.load(base + tl.load(targets + row)).to(tl.float32) * inverse_temperature
    tl.store(logprobs + row, picked - normaliser)
    tl.store(normalisers + row, normaliser)
    tl.store(entropy + row, normaliser - weighted / total)


def logprobs_of(logits: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """log softmax(logits / temperature)[targets], its normaliser and its entropy, float32 nats [n] each.

    logits [n, V] in any float type, read once; targets [n].
    """
    rows, vocab = logits.shape
    out = [torch.empty(rows, dtype=torch.float32, device=logits.device) for _ in range(3)]
    _logprobs_kernel[(rows,)](
        logits, targets, *out, 1.0 / temperature, vocab, BLOCK=_LOGITS_PER_BLOCK, num_warps=8
    )
    return out[0], out[1], out[2]


@triton.jit
def _logits_gradient_kernel(
    logits, out, targets, normalisers, grad, inverse_temperature, vocab, BLOCK: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    token = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = token < vocab
    at = row * vocab + token
    value = tl.load(logits + at, mask=inside, other=0.0).to(tl.float32) * inverse_temperature
    above = tl.load(grad + row) * inverse_temperature
    slope = tl.where(token == tl.load(targets + row), above, 0.0)
    slope -= above * tl.exp(value - tl.load(normalisers + row))
    tl.store(out + at, slope, mask=inside)


def logits_gradient(
    logits: Tensor, targets: Tensor, normalisers: Tensor, grad: Tensor, temperature: float, *, out: Tensor
) -> Tensor:
    """Gradient of `logprobs_of` at logits [n, V], times grad [n]: (onehot − softmax) grad / T, in `out`.

    `out` [n, V] may be the logits themselves.
    """
    rows, vocab = logits.shape
    grid = (rows, triton.cdiv(vocab, _LOGITS_PER_BLOCK))
    _logits_gradient_kernel[grid](
        *(logits, out, targets, normalisers, grad.contiguous()),
        1.0 / temperature,
        vocab,
        BLOCK=_LOGITS_PER_BLOCK,
    )
    return out
