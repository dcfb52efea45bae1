"""The value model and the exact KL: what an update needs of a model beside the logprobs of its tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from harness.model.dims import forward_flops
from harness.model.fused import unpack, widened
from harness.model.lora import has_adapters
from harness.model.policy import Policy, states_before
from harness.model.rows import Rows
from harness.objectives import kl
from harness.objectives.value import value_loss
from harness.schema.objective_config import ObjectiveConfig
from harness.types import Batch

_CHUNK_ELEMENTS = 1 << 22  # of logits alive at once


class ValueModel(nn.Module):
    """V(prefix), a linear head on a decoder's last states; `trunk` None: on the policy's own."""

    def __init__(self, hidden_size: int, trunk: Policy | None) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = nn.Linear(hidden_size, 1)

    def values(self, states: Tensor) -> Tensor:
        """States [M, D] -> values [M], float32 at least, in units of reward."""
        return F.linear(widened(states), self.head.weight, self.head.bias).squeeze(1)


def init_value(hidden_size: int, *, trunk: Policy | None, seed: int) -> ValueModel:
    """A head of normal(0, 1 / (D + 1)) and bias 0, from `seed` alone: values start near 0.

    With arXiv:2009.01325's 1 / sqrt(D + 1) they start at the size of a reward, and the first steps' gradients
    are the critic's.
    """
    model = ValueModel(hidden_size, trunk)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        model.head.weight.normal_(0.0, 1 / (hidden_size + 1), generator=generator)
        model.head.bias.zero_()
    return model


@dataclass(frozen=True)
class Models:
    """What an update evaluates; the first and the third are trained. `kl_coef` is the penalty's, now."""

    policy: Policy
    reference: Policy | None
    value: ValueModel | None
    kl_coef: float

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Of the models that are trained."""
        others = [] if self.value is None else list(self.value.parameters())
        return [*self.policy.parameters(), *others]

    @property
    def shares_trunk(self) -> bool:
        return self.value is not None and self.value.trunk is None


def trained_flops(models: Models, done: dict[str, float]) -> float:
    """Of a forward and a backward pass over rows, `done` being their `batching.work`: of the policy and of a
    value model's own trunk. What adapters freeze has no gradient of its own, which is a third of a matmul.
    """
    policy = models.policy
    flops = 3 * (forward_flops(policy.dims, **done) + value_flops(models, done))
    if has_adapters(policy):
        adapters = sum(p.numel() for p in policy.parameters() if p.requires_grad)
        flops += 6 * adapters * done["tokens"] - forward_flops(policy.dims, **{**done, "pairs": 0.0})
    return flops


def value_flops(models: Models, done: dict[str, float]) -> float:
    """Of a forward pass of a value model's own trunk, which has no output head."""
    trunk = None if models.value is None else models.value.trunk
    return 0.0 if trunk is None else forward_flops(trunk.dims, **{**done, "predicted": 0.0})


def token_values(value: ValueModel, policy: Policy, rows: Rows) -> Tensor:
    """V(tokens before t) at each wanted token t, the value before it is emitted; 0 elsewhere. [B, T]."""
    states = states_before(policy if value.trunk is None else value.trunk, rows)
    return unpack(value.values(states), rows.at, *rows.shape)


def exact_kl(policy: Policy, reference: Policy, rows: Rows, *, temperature: float) -> Tensor:
    """KL(policy || reference) over the vocabulary at each wanted token, prefixes fixed, nats [B, T].

    Both are distributions of logits / temperature. The gradient reaches the policy; logits are computed a
    chunk at a time and again in the backward pass.
    """
    ours = states_before(policy, rows)  # [M, D]
    with torch.no_grad():
        theirs = states_before(reference, rows)

    def part(mine: Tensor, other: Tensor) -> Tensor:
        log_softmax = (widened(F.linear(mine, policy.head_weight)) / temperature).log_softmax(-1)
        with torch.no_grad():
            against = (widened(F.linear(other, reference.head_weight)) / temperature).log_softmax(-1)
        return kl.exact(log_softmax=log_softmax, ref_log_softmax=against)  # [m]

    size = max(1, _CHUNK_ELEMENTS // policy.head_weight.shape[0])
    pieces = [
        checkpoint(part, mine, other, use_reentrant=False)
        for mine, other in zip(ours.split(size), theirs.split(size), strict=True)
    ]
    return unpack(torch.cat(pieces), rows.at, *rows.shape)


def values_of(models: Models, rows: Rows) -> Tensor:
    """`token_values` of some rows, [b, t]."""
    assert models.value is not None
    return token_values(models.value, models.policy, rows)


def kl_over_vocabulary(models: Models, rows: Rows, temperature: float) -> Tensor:
    """`exact_kl` of some rows to the reference, [b, t]."""
    assert models.reference is not None
    return exact_kl(models.policy, models.reference, rows, temperature=temperature)


def critic_loss(
    models: Models,
    piece: Batch,
    rows: Rows,
    states: list[Tensor] | None,
    objective: ObjectiveConfig,
    metrics: dict[str, Tensor],
) -> Tensor:
    """coef × the value loss, summed over completion tokens; its metrics are added to `metrics`.

    `states` holds the policy's states [M, D] before each completion token where the trunk is shared.
    """
    slot, mask = objective.value, piece.completion_mask
    assert slot is not None and models.value is not None
    assert piece.values is not None and piece.returns is not None
    if states:
        values = unpack(models.value.values(states[0]), rows.at, *rows.shape)  # [b, t]
    else:
        values = values_of(models, rows)
    loss, extra = value_loss(values=values, old_values=piece.values, returns=piece.returns, clip=slot.clip)
    metrics |= {"value_loss": loss, "values": values, "returns": piece.returns, **extra}
    return slot.coef * torch.where(mask, loss, 0.0).sum()
