"""The weights of a layer's attention and feed-forward block, and how they are joined to multiply at once.

Parameters carry the hub's names. Adapters stay apart from what is joined, and add their own path.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from harness.model.dims import ModelDims
from harness.model.lora import joined_low_rank

WeightOf = Callable[[Any], Tensor]


def weight_alone(linear: Any) -> Tensor:
    """A module's own weight; a sampler joins merged ones instead (`harness.model.lora.merged`)."""
    weight: Tensor = linear.weight
    return weight


class Attention(nn.Module):
    """Grouped-query attention's weights."""

    def __init__(self, dims: ModelDims) -> None:
        super().__init__()
        bias = dims.architecture == "qwen2"
        query, key = dims.num_heads * dims.head_dim, dims.num_kv_heads * dims.head_dim
        self.dims = dims
        self.q_proj = nn.Linear(dims.hidden_size, query, bias=bias)
        self.k_proj = nn.Linear(dims.hidden_size, key, bias=bias)
        self.v_proj = nn.Linear(dims.hidden_size, key, bias=bias)
        self.o_proj = nn.Linear(query, dims.hidden_size, bias=False)
        self.q_norm: Norm | None = None
        self.k_norm: Norm | None = None
        if dims.architecture == "qwen3":
            self.q_norm, self.k_norm = Norm(dims.head_dim), Norm(dims.head_dim)

    def _pairs(self, rows: Tensor) -> Tensor:
        """Reorder each head's rows so that the halves that rotate together, i and i + Dh/2, lie side by side.

        Queries and keys are reordered alike, so their products do not change, and a rotation becomes one
        complex multiplication.
        """
        half = self.dims.head_dim // 2
        return rows.view(-1, 2, half, *rows.shape[1:]).transpose(1, 2).reshape(rows.shape)

    def fused_qkv(self, weight_of: WeightOf = weight_alone) -> tuple[Tensor, Tensor | None]:
        """Weight [(H + 2 KV) Dh, D] and bias of one projection to queries and keys (in pairs) and values."""
        query, key, value = (weight_of(x) for x in (self.q_proj, self.k_proj, self.v_proj))
        weights = (self._pairs(query), self._pairs(key), value)
        if self.q_proj.bias is None:
            return torch.cat(weights), None
        biases = (self._pairs(self.q_proj.bias), self._pairs(self.k_proj.bias), self.v_proj.bias)
        return torch.cat(weights), torch.cat(biases)

    def low_rank(self, x: Tensor) -> Tensor | None:
        """What adapters add to the joined projection, [N, (H + 2 KV) Dh]; None without any."""
        return joined_low_rank(
            [(self.q_proj, self._pairs), (self.k_proj, self._pairs), (self.v_proj, None)], x
        )

    def head_norm(self) -> Tensor | None:
        """Per-head scales of queries and keys, in pairs: [H + KV, Dh]; None unless qwen3."""
        if self.q_norm is None or self.k_norm is None:
            return None
        query = self._pairs(self.q_norm.weight).expand(self.dims.num_heads, -1)
        return torch.cat((query, self._pairs(self.k_norm.weight).expand(self.dims.num_kv_heads, -1)))


class MLP(nn.Module):
    """SwiGLU's weights."""

    def __init__(self, dims: ModelDims) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(dims.hidden_size, dims.intermediate_size, bias=False)
        self.up_proj = nn.Linear(dims.hidden_size, dims.intermediate_size, bias=False)
        self.down_proj = nn.Linear(dims.intermediate_size, dims.hidden_size, bias=False)

    def fused_gate_up(self, weight_of: WeightOf = weight_alone) -> Tensor:
        """Weight [2 F, D] of one projection to gate and up."""
        return torch.cat((weight_of(self.gate_proj), weight_of(self.up_proj)))

    def low_rank(self, x: Tensor) -> Tensor | None:
        """What adapters add to it, [N, 2 F]; None without any."""
        return joined_low_rank([(self.gate_proj, None), (self.up_proj, None)], x)


class Norm(nn.Module):
    """An RMS norm's scale."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size))
