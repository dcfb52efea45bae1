"""One decoding step over static buffers: the policy's weights, fused, and a key-value cache.

Every row writes step t's key and value at the same column t. A prompt ends at the column where its row was
admitted, so rows of any length need one slice to write, one slice to read, and a bias that hides what lies
before a row's first column.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.model.fused import rms_norm, turn
from harness.model.lora import merged
from harness.model.policy import Policy


@dataclass(frozen=True, slots=True)
class FusedLayer:
    """One layer's weights as decoding multiplies them: [in, out], with queries, keys and values joined."""

    input_norm: Tensor
    qkv: Tensor
    qkv_bias: Tensor | None
    head_norm: Tensor | None
    output: Tensor
    post_norm: Tensor
    gate_up: Tensor
    down: Tensor


def fuse(policy: Policy) -> list[FusedLayer]:
    """Join each layer's projections as decoding multiplies them, adapters merged; other weights are shared.

    The joined copies are stale after an update.
    """
    layers = []
    layer: Any
    for layer in policy.model.layers:
        weight, bias = layer.self_attn.fused_qkv(merged)
        layers.append(
            FusedLayer(
                input_norm=layer.input_layernorm.weight,
                qkv=weight.t(),
                qkv_bias=bias,
                head_norm=layer.self_attn.head_norm(),
                output=merged(layer.self_attn.o_proj).t(),
                post_norm=layer.post_attention_layernorm.weight,
                gate_up=layer.mlp.fused_gate_up(merged).t(),
                down=merged(layer.mlp.down_proj).t(),
            )
        )
    return layers


class Slots:
    """Static buffers of `rows` sequences by `columns` positions; the module docstring explains columns.

    keys, values [L, rows, KV, columns, Dh]; bias [rows, columns], 0 or -inf; tokens and logprobs
    [rows, columns + 1]; uniforms [rows, columns + 1 + max_new_tokens]; start [rows], each row's first column;
    done [rows], whether it has sampled an end token.
    """

    def __init__(self, policy: Policy, *, rows: int, columns: int, max_new_tokens: int) -> None:
        dims, weight = policy.dims, policy.head_weight
        self.rows, self.columns, self.max_new_tokens = rows, columns, max_new_tokens
        shape = (dims.num_layers, rows, dims.num_kv_heads, columns, dims.head_dim)
        # Zeros, because a masked column must be finite: 0 × NaN is NaN.
        self.keys = torch.zeros(shape, dtype=weight.dtype, device=weight.device)
        self.values = torch.zeros_like(self.keys)
        self.bias = torch.zeros(rows, columns, dtype=weight.dtype, device=weight.device)
        self.tokens = torch.zeros(rows, columns + 1, dtype=torch.long, device=weight.device)
        self.logprobs = torch.zeros(rows, columns + 1, device=weight.device)
        self.uniforms = torch.zeros(rows, columns + 1 + max_new_tokens, device=weight.device)
        self.start = torch.zeros(rows, dtype=torch.long, device=weight.device)
        self.done = torch.zeros(rows, dtype=torch.bool, device=weight.device)

    @property
    def device(self) -> torch.device:
        return self.keys.device

    def fits(self, rows: int, columns: int, max_new_tokens: int) -> bool:
        """Whether the buffers are at least this large."""
        return self.rows >= rows and self.columns >= columns and self.max_new_tokens >= max_new_tokens

    def clear(self) -> None:
        """Zero the cache: a diverged policy leaves NaN, which no mask hides."""
        self.keys.zero_()
        self.values.zero_()

    def _by_row(self) -> tuple[Tensor, ...]:
        return self.bias, self.tokens, self.logprobs, self.uniforms, self.start, self.done

    def move_rows(self, source: Tensor, target: Tensor, first: int, last: int) -> None:
        """Copy rows `source` over rows `target`; of the cache, columns first to last alone."""
        self.keys[:, target, :, first:last] = self.keys[:, source, :, first:last]
        self.values[:, target, :, first:last] = self.values[:, source, :, first:last]
        for buffer in self._by_row():
            buffer[target] = buffer[source]

    def shift(self, by: int, used: int) -> None:
        """Drop the first `by` columns of every row; `used` columns hold something."""
        for cache in (self.keys, self.values):
            cache[..., : used - by, :] = cache[..., by:used, :].clone()
        for buffer in (self.bias, self.tokens, self.logprobs, self.uniforms):
            buffer[:, :-by] = buffer[:, by:].clone()
            buffer[:, -by:] = 0
        self.start -= by


def decode_step(
    policy: Policy, layers: list[FusedLayer], slots: Slots, *, rows: int, first: int, ragged: int, column: int
) -> Tensor:
    """Feed `slots.tokens[:rows, column]`; next logits [rows, V]. Attends to columns from `first` on.

    `ragged` counts the columns from `first` on that some row does not have.
    """
    dims, eps = policy.dims, policy.dims.rms_norm_eps
    heads, kv_heads, head_dim = dims.num_heads, dims.num_kv_heads, dims.head_dim
    size = (dims.hidden_size,)
    group = heads // kv_heads
    # An ended row that waits to be replaced grows older than any position; what it computes is never read.
    positions = (column - slots.start[:rows]).clamp_(max=slots.columns - 1)
    rotations = policy.rotations(slots.columns)[positions].unsqueeze(1)  # [S, 1, Dh/2]
    bias = _head_bias(slots.bias[:rows, first : column + 1], kv_heads, group)  # [S KV, G, W]
    hidden = bias[:, :, :ragged]
    cached = _windows(slots.keys, rows, first, column), _windows(slots.values, rows, first, column)
    x = F.embedding(slots.tokens[:rows, column], policy.model.embed_tokens.weight)  # [S, D]
    for index, layer in enumerate(layers):
        normed = F.rms_norm(x, size, layer.input_norm, eps)
        qkv = normed @ layer.qkv if layer.qkv_bias is None else torch.addmm(layer.qkv_bias, normed, layer.qkv)
        qkv = qkv.view(rows, heads + 2 * kv_heads, head_dim)
        qk = qkv[:, : heads + kv_heads]
        if layer.head_norm is not None:
            qk = rms_norm(qk, layer.head_norm, eps)
        qk = turn(qk, rotations)  # [S, H + KV, Dh]
        (new_keys, keys), (new_values, values) = cached[0][index], cached[1][index]
        new_keys.copy_(qk[:, heads:])
        new_values.copy_(qkv[:, heads + kv_heads :])
        queries = qk[:, :heads].reshape(rows * kv_heads, group, head_dim)
        # beta 0 leaves the bias unread: adding it only where rows differ is faster than passing it through.
        scores = torch.baddbmm(bias, queries, keys.mT, beta=0, alpha=head_dim**-0.5)  # [S KV, G, W]
        if ragged:
            scores[:, :, :ragged].add_(hidden)
        attended = torch.bmm(torch.softmax(scores, dim=-1), values).view(rows, heads * head_dim)
        x = torch.addmm(x, attended, layer.output)
        gate, up = (F.rms_norm(x, size, layer.post_norm, eps) @ layer.gate_up).chunk(2, dim=-1)
        x = torch.addmm(x, F.silu(gate).mul_(up), layer.down)
    return policy.logits(F.rms_norm(x, size, policy.model.norm.weight, eps))


def _windows(cache: Tensor, rows: int, first: int, column: int) -> list[tuple[Tensor, Tensor]]:
    """Views of each layer's cache: the present column [S, KV, Dh], and all from `first` on [S KV, W, Dh].

    Cut once for all layers, since indexing costs a small batch as much as its matmuls.
    """
    cache = cache[:, :rows]
    seen = cache[..., first : column + 1, :].flatten(1, 2)
    return list(zip(cache[..., column, :].unbind(), seen.unbind(), strict=True))


def _head_bias(bias: Tensor, kv_heads: int, group: int) -> Tensor:
    """Repeat a bias [S, W] over the heads: [S KV, G, W], without a copy where there is one key-value head."""
    rows, seen = bias.shape
    bias = bias[:, None]
    if kv_heads > 1:
        bias = bias.expand(rows, kv_heads, seen).reshape(rows * kv_heads, 1, seen)
    return bias.expand(rows * kv_heads, group, seen)
