"""The models that an update evaluates."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from harness.model.policy import Policy
from harness.training.critic import ValueModel
from harness.training.parallel import is_sharded


@dataclass(frozen=True)
class Models:
    """The policy, the reference of KL terms, and the value model; the first and the last are trained."""

    policy: Policy
    reference: Policy | None = None
    value: ValueModel | None = None

    @property
    def in_step(self) -> bool:
        """Whether weights lie in shards, which several processes gather together, pass for pass."""
        return is_sharded(self.policy) or (self.reference is not None and is_sharded(self.reference))

    @property
    def trained(self) -> list[nn.Module]:
        """Modules that the optimiser updates."""
        return [self.policy] if self.value is None else [self.policy, self.value]

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Parameters that the optimiser updates."""
        return [parameter for module in self.trained for parameter in module.parameters()]
