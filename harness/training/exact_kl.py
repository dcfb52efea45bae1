"""The KL divergence of two policies over the whole vocabulary."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from harness.model.fused import unpack, widened
from harness.model.policy import Policy, states_before
from harness.model.rows import Rows
from harness.objectives import kl

_CHUNK_ELEMENTS = 1 << 22  # of logits alive at once


def exact_kl(policy: Policy, reference: Policy, rows: Rows, *, temperature: float) -> Tensor:
    """KL(policy || reference) over the vocabulary at each wanted token, prefixes fixed, nats [B, T].

    Both are distributions of logits / temperature. The gradient reaches the policy; logits are computed a
    chunk at a time and again in the backward pass.
    """
    states = states_before(policy, rows)  # [M, D]
    with torch.no_grad():
        ref_states = states_before(reference, rows)  # [M, D]

    def chunk_kl(states: Tensor, ref_states: Tensor) -> Tensor:
        log_softmax = (widened(policy.logits(states)) / temperature).log_softmax(-1)  # [m, V]
        with torch.no_grad():
            logits = widened(reference.logits(ref_states)) / temperature
            ref_log_softmax = logits.log_softmax(-1)  # [m, V]
        return kl.exact(log_softmax=log_softmax, ref_log_softmax=ref_log_softmax)  # [m]

    size = max(1, _CHUNK_ELEMENTS // policy.head_weight.shape[0])
    chunks = [
        checkpoint(chunk_kl, part, ref_part, use_reentrant=False)
        for part, ref_part in zip(states.split(size), ref_states.split(size), strict=True)
    ]
    return unpack(torch.cat(chunks), rows.at, *rows.shape)
