"""Compute the entropy of next-token distributions from hidden states, with its gradient."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from harness.model.chunks import ENTROPY_CHUNK_ELEMENTS
from harness.model.fused import widened
from harness.model.wide import head_logits


def chunked_entropy(states: Tensor, weight: Tensor, *, temperature: float, fp32: bool = False) -> Tensor:
    """-sum_v p log p of softmax(states weightᵀ / temperature), nats [M], float32 at least.

    states [M, D], weight [V, D]; `fp32`: see `harness.model.wide.head_logits`. Gradients reach both; logits
    are computed a chunk at a time and again in the backward pass.
    """

    def entropy(part: Tensor) -> Tensor:
        log_p = (widened(head_logits(part, weight, fp32=fp32)) / temperature).log_softmax(-1)  # [m, V]
        return -(log_p.exp() * log_p).sum(-1)  # [m]

    size = max(1, ENTROPY_CHUNK_ELEMENTS // weight.shape[0])
    return torch.cat([checkpoint(entropy, part, use_reentrant=False) for part in states.split(size)])
