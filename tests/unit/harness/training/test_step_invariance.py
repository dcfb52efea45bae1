"""The gradient of a whole step, models and all: in float64 the same to 1e-6 however the batch is laid out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from harness.model.policy import Policy
from harness.training.advantages import build_batch
from harness.training.critic import init_value
from harness.training.models import Models
from harness.training.update import update
from harness.types import Batch, ScoredGroup
from tests.unit.harness.objectives.scenario import config_of
from tests.unit.harness.objectives.test_objectives import HAND
from tests.unit.harness.tiny import DIMS
from tests.unit.harness.training.one_step import EQUAL, MIXED, WRONG, in_dtype, policy

SLOW = ("trainer.warmup_steps=0", "trainer.lr=1e-4", "trainer.max_grad_norm=1e9")
UPDATES = ("objective.updates.minibatches=1", "objective.updates.epochs=2")  # the second is off-policy


def named(g: ScoredGroup) -> ScoredGroup:
    """With texts of their own, and a right statement at the first token of every second output."""
    rollouts = tuple(replace(r, text=f"{g.problem.id} {i}") for i, r in enumerate(g.rollouts))
    steps = tuple(((0, float(i % 2 == 0)),) for i in range(len(rollouts)))
    return replace(g, rollouts=rollouts, step_rewards=steps)


GROUPS = [named(g) for g in (MIXED, EQUAL, WRONG)]


def turned(g: ScoredGroup, order: Sequence[int]) -> ScoredGroup:
    assert g.step_rewards is not None
    return replace(
        g,
        rollouts=tuple(g.rollouts[i] for i in order),
        grades=tuple(g.grades[i] for i in order),
        rewards=tuple(g.rewards[i] for i in order),
        step_rewards=tuple(g.step_rewards[i] for i in order),
    )


def near() -> Policy:
    """A reference close to the policy: far away, a penalty's gradient would drown the others."""
    made, g = policy().double(), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.02 * torch.randn(p.shape, generator=g, dtype=torch.float64))
    return made


def moved(name: str, groups: list[ScoredGroup], *lines: str, pad: int = 0) -> Tensor:
    """How far one call of `update` moves every weight, critic's included, [P]: SGD, two epochs."""
    config = config_of(name, *SLOW, *UPDATES, *lines)
    objective = config.objective
    model, reference = policy().double(), near() if objective.kl.uses_reference else None
    value = None
    if (slot := objective.value) is not None:
        trunk = None if slot.shared_trunk else policy(3).double()
        value = init_value(DIMS.hidden_size, trunk=trunk, seed=7).double()
    trained = [*model.parameters(), *(value.parameters() if value is not None else [])]
    before = torch.cat([p.detach().flatten() for p in trained])
    update(
        Models(model, reference, value),
        torch.optim.SGD(trained, lr=0.0),
        padded(in_dtype(build_batch(groups, objective), torch.float64), pad),
        config=config,
        order=torch.Generator().manual_seed(0),
        num_updates_done=0,
        num_updates_total=10,
    )
    return torch.cat([p.detach().flatten() for p in trained]) - before


def padded(batch: Batch, columns: int) -> Batch:
    wide = {f.name: getattr(batch, f.name) for f in fields(batch)}
    return Batch(
        **{k: F.pad(x, (0, columns)) if x is not None and x.dim() == 2 else x for k, x in wide.items()}
    )


def close(found: Tensor, whole: Tensor) -> None:
    assert float(whole.norm()) > 1e-6
    assert float((found - whole).norm()) < 1e-6 * float(whole.norm())


VARIANTS = [(name, ()) for name in sorted(HAND)] + [("ppo", ("objective.value.shared_trunk=true",))]


@pytest.mark.parametrize(("name", "lines"), VARIANTS)
def test_a_step_does_not_depend_on_how_it_is_laid_out(name: str, lines: tuple[str, ...]) -> None:
    whole = moved(name, GROUPS, *lines)
    for tokens in (1, 13):  # a row at a time, two or so
        close(moved(name, GROUPS, *lines, f"trainer.microbatch_tokens={tokens}"), whole)
    close(moved(name, GROUPS, *lines, pad=9), whole)
    close(moved(name, [turned(GROUPS[2], (1, 2, 0)), GROUPS[0], turned(GROUPS[1], (2, 1, 0))], *lines), whole)
    # It is a test: another batch moves the weights otherwise.
    other = [replace(GROUPS[0], rewards=(0.0, 1.0, 1.0), step_rewards=((), ((0, 0.0),), ())), *GROUPS[1:]]
    if name != "distill_on_policy":
        assert float((moved(name, other, *lines) - whole).norm()) > 1e-3 * float(whole.norm())
