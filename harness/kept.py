"""What training keeps, whatever the objective: the loss on text like the base's, and the KL to the base."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from harness.config import RunConfig
from harness.fused import pack
from harness.model import Policy
from harness.pretrain import encode_corpus, pad
from harness.seeds import derive, stream_seed

NUM_DOCUMENTS = 128
ROWS = 32


class Kept:
    """Fixed documents, drawn anew from what the base was pretrained on, the same for every arm on that base.

    `kept_loss`: mean negative log-likelihood of their completion tokens, nats. `kept_kl_forward` is
    KL(base || policy) and `kept_kl_reverse` KL(policy || base), exact over the vocabulary, means over the
    same positions, nats.
    """

    def __init__(self, config: RunConfig, base: Policy) -> None:
        self.base = base
        root = stream_seed("base", seed=config.seed, base_seed=config.base_seed, replicate=0)
        documents = list(encode_corpus(config, num_documents=NUM_DOCUMENTS, seed=derive(root, "kept")))
        self.parts = [pad(documents[i : i + ROWS]) for i in range(0, len(documents), ROWS)]

    @torch.no_grad()
    def measure(self, policy: Policy) -> dict[str, float]:
        loss = forward = reverse = 0.0
        num_tokens = 0
        for input_ids, lengths, mask in self.parts:
            ours, targets = _log_softmax(policy, input_ids, lengths, mask)  # [M, V], [M]
            base, _ = _log_softmax(self.base, input_ids, lengths, mask)
            loss -= float(ours.gather(1, targets[:, None]).sum())
            forward += float((base.exp() * (base - ours)).sum())
            reverse += float((ours.exp() * (ours - base)).sum())
            num_tokens += len(targets)
        return {
            "kept_loss": loss / num_tokens,
            "kept_kl_forward": forward / num_tokens,
            "kept_kl_reverse": reverse / num_tokens,
        }


def _log_softmax(
    policy: Policy, input_ids: torch.Tensor, lengths: torch.Tensor, mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """log p(. | prefix) of every completion position, float32 [M, V], and the token there, [M]."""
    device = policy.head_weight.device
    width = input_ids.shape[1]
    at = mask.flatten().nonzero().squeeze(1)  # [M] flat padded positions
    before = (lengths.cumsum(0) - lengths)[at // width] + at % width - 1  # [M] the token before, packed
    states = pack(policy.hidden(input_ids.to(device), lengths.to(device)), before.to(device))  # [M, D]
    logits = F.linear(states, policy.head_weight).float()
    return logits.log_softmax(-1), input_ids.flatten()[at].to(device)
