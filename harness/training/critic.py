"""The value model: what it computes of rows, and its loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.model.fused import unpack, widened
from harness.model.policy import Policy, states_before
from harness.model.rows import Rows
from harness.objectives.value import value_loss
from harness.types import Batch, LossOutput


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


def token_values(value: ValueModel, policy: Policy, rows: Rows) -> Tensor:
    """V(tokens before t) at each wanted token t, the value before it is emitted; 0 elsewhere. [B, T]."""
    states = states_before(policy if value.trunk is None else value.trunk, rows)
    return unpack(value.values(states), rows.at, *rows.shape)


def critic_loss(
    value: ValueModel,
    policy: Policy,
    batch: Batch,
    rows: Rows,
    *,
    states: Tensor | None,
    clip: float | None,
) -> LossOutput:
    """The value loss of each completion token, [B, T], and its metrics.

    `states` [M, D] are the policy's before each completion token where the trunk is shared; None computes
    them.
    """
    assert batch.values is not None and batch.returns is not None
    if states is None:
        values = token_values(value, policy, rows)  # [B, T]
    else:
        values = unpack(value.values(states), rows.at, *rows.shape)
    loss, metrics = value_loss(values=values, old_values=batch.values, returns=batch.returns, clip=clip)
    return LossOutput(loss, {"value_loss": loss, "values": values, "returns": batch.returns, **metrics})
