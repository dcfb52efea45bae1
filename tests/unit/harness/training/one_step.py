"""One rollout batch of three groups, and one call of update on it with plain SGD at rate 1."""

from __future__ import annotations

from dataclasses import fields

import torch
from torch import Tensor

from harness.model.policy import Policy, init_policy
from harness.model.rows import pack_rows
from harness.schema.run_config import RunConfig
from harness.training.advantages import build_batch
from harness.training.models import Models
from harness.training.update import UpdateResult, update
from harness.types import Batch, ScoredGroup
from tests.unit.harness.tiny import DIMS, group

ONE_STEP = (
    "objective.updates.minibatches=1",
    "trainer.warmup_steps=0",
    "trainer.lr=1",
    "trainer.max_grad_norm=1e9",
)
NO_KL = "objective.kl.coef=0"
# Sample std of (1, 0, 0): the mean is 1/3, the deviations 2/3, -1/3, -1/3, so sqrt(6/9/2) = 1/sqrt(3). The
# advantages are 2/3 sqrt(3) = 2/sqrt(3) and -1/sqrt(3), up to eps.
MIXED = group("mixed", [7, 3], [[4, 1], [5, 9, 6, 1], [2, 2, 1]], [1.0, 0.0, 0.0])
EQUAL = group("equal", [8], [[4, 4, 4, 4, 1], [1], [6, 1]], [1.0, 1.0, 1.0])
WRONG = group("wrong", [8, 8, 8], [[4, 1], [3, 1], [6, 2, 1]], [0.0, 0.0, 0.0])


def policy(seed: int = 0) -> Policy:
    """Wide enough weights for the distributions to be far from uniform."""
    made = init_policy(DIMS, seed)
    with torch.no_grad():
        for p in made.parameters():
            if p.ndim > 1:
                p.mul_(12.0)
    return made


def weights(of: Policy) -> Tensor:
    return torch.cat([p.detach().flatten() for p in of.parameters()])


def logprobs_of(model: Policy, prompt: tuple[int, ...], completion: tuple[int, ...]) -> Tensor:
    """log p of each completion token, one row alone and unpadded: [N]."""
    ids = torch.tensor([[*prompt, *completion]])
    states = model.hidden(pack_rows(ids, torch.tensor([ids.shape[1]])))  # [T, D]
    logits = states @ model.head_weight.T
    return logits.log_softmax(-1)[range(len(prompt) - 1, ids.shape[1] - 1), list(completion)]


def in_dtype(batch: Batch, dtype: torch.dtype) -> Batch:
    """Its float tensors in another precision."""
    made = {f.name: getattr(batch, f.name) for f in fields(batch)}
    return Batch(
        **{k: x.to(dtype) if x is not None and x.is_floating_point() else x for k, x in made.items()}
    )


def stepped(
    config: RunConfig,
    groups: list[ScoredGroup],
    *,
    reference: Policy | None = None,
    batch: Batch | None = None,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, UpdateResult]:
    """(minus the change of the weights = the gradient, the result) of one call of `update`."""
    model = policy().to(dtype)
    batch = batch or build_batch(groups, config.objective)
    before = weights(model)
    result = update(
        Models(model, reference),
        torch.optim.SGD(model.parameters(), lr=0.0),
        batch if dtype == torch.float32 else in_dtype(batch, dtype),
        config=config,
        order=torch.Generator().manual_seed(0),
        num_updates_done=0,
        num_updates_total=10,
    )
    return before - weights(model), result


def costs(result: UpdateResult) -> tuple[float, ...]:
    return result.trained_tokens, result.trained_flops, result.scored_tokens, result.scored_flops


def gradient(loss: Tensor, model: Policy) -> Tensor:
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])


def close(a: Tensor, b: Tensor) -> None:
    assert float(b.norm()) > 1e-3
    assert float((a - b).norm()) < 2e-5 * float(b.norm())
