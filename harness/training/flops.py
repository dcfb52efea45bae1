"""Model FLOPs of an update's passes over rows, from what `batching.work` says that they compute."""

from __future__ import annotations

from harness.model.dims import forward_flops
from harness.model.lora import has_adapters
from harness.training.critic import ValueModel
from harness.training.models import Models


def trained_flops(models: Models, work: dict[str, float]) -> float:
    """FLOPs of a forward and a backward pass of the policy and of a value model's own trunk.

    The backward pass costs two forward passes. Weights that adapters freeze have no gradient of their own,
    which saves a third of a matmul.
    """
    policy = models.policy
    flops = 3 * (forward_flops(policy.dims, **work) + value_flops(models.value, work))
    if has_adapters(policy):
        adapters = sum(p.numel() for p in policy.parameters() if p.requires_grad)
        flops += 6 * adapters * work["tokens"] - forward_flops(policy.dims, **{**work, "pairs": 0.0})
    return flops


def value_flops(value: ValueModel | None, work: dict[str, float]) -> float:
    """FLOPs of a forward pass of a value model's own trunk, without its head; 0 on the policy's trunk."""
    trunk = None if value is None else value.trunk
    return 0.0 if trunk is None else forward_flops(trunk.dims, **{**work, "predicted": 0.0})
