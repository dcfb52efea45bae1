"""A minibatch in which nothing counts moves nothing: no momentum, no weight decay, no update counted."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.schema.run_config import ConfigError, RunConfig
from harness.training.advantages import build_batch
from harness.training.critic import init_value
from harness.training.models import Models
from harness.training.optim import adamw, guarded_step
from harness.training.update import UpdateResult, update
from harness.types import ScoredGroup
from tests.unit.harness.objectives.test_objectives import NAMES
from tests.unit.harness.tiny import DIMS, configure
from tests.unit.harness.training.one_step import EQUAL, MIXED, policy
from tests.unit.harness.training.test_truncated import cut

# Outputs of 3 rows each, all cut at the length limit; steps for process supervision.
ALL_CUT = [
    replace(cut(each, 0, 1, 2), step_rewards=(((0, 1.0),), ((0, 0.0),), ())) for each in (MIXED, EQUAL)
]
BASE = ("objective.truncated=mask", "trainer.weight_decay=0.1", "trainer.warmup_steps=0", "trainer.lr=0.01")
KL = ("objective.kl.coef=0.1", "objective.kl.against=ref", "objective.kl.reference=base")
VARIANTS = {
    "its own KL": (),
    "no KL": ("objective.kl.coef=0", "objective.kl.reference=base", "objective.kl.target=null"),
    "k3 in the loss": (*KL, "objective.kl.placement=loss", "objective.kl.estimator=k3"),
    "k1 in the reward": (*KL, "objective.kl.placement=reward", "objective.kl.estimator=k1"),
}


class Trained:
    """Models after one step on random gradients: every moment of the optimiser is in motion."""

    def __init__(self, config: RunConfig, dtype: torch.dtype = torch.float32) -> None:
        slot = config.objective.value
        value = None
        if slot is not None:
            value = init_value(DIMS.hidden_size, trunk=None if slot.shared_trunk else policy(3), seed=7)
        self.config, self.models = config, Models(policy().to(dtype), policy(5).to(dtype), value)
        self.optimizer = adamw(
            self.models.policy,
            lr=0.01,
            betas=(0.9, 0.95),
            eps=1e-8,
            weight_decay=0.1,
            others=[] if value is None else [(value, 1.0)],
            bits=8 if config.trainer.optimizer == "adamw_8bit" else 32,
        )
        generator = torch.Generator().manual_seed(1)
        for p in self.models.parameters:
            p.grad = torch.randn(p.shape, generator=generator).to(dtype)
        guarded_step(self.optimizer, self.models.parameters, lr=0.01, max_grad_norm=1.0)

    def update(self, groups: Sequence[ScoredGroup]) -> UpdateResult:
        return update(
            self.models,
            self.optimizer,
            build_batch(groups, self.config.objective),
            config=self.config,
            order=torch.Generator().manual_seed(0),
            num_updates_done=1,
            num_updates_total=10,
        )

    def everything(self, *, of_policy: bool = False) -> list[Tensor]:
        """Weights and optimiser state (masters too), copied."""
        modules = [self.models.policy] if of_policy else self.models.trained
        own = [p.detach().clone() for module in modules for p in module.parameters()]
        return own if of_policy else [*own, *tensors(copy.deepcopy(self.optimizer.state_dict()))]


def tensors(state: Any) -> Iterator[Tensor]:
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, dict | list | tuple):
        for each in state.values() if isinstance(state, dict) else state:
            yield from tensors(each)


def assert_untouched(trained: Trained, groups: Sequence[ScoredGroup]) -> None:
    before = trained.everything()
    result = trained.update(groups)
    assert result.metrics["updates"] == 0.0 and result.metrics["skipped_updates"] == 0.0
    assert result.metrics["grad_norm"] == 0.0 and result.metrics.get("loss", 0.0) == 0.0
    after = trained.everything()
    assert len(before) == len(after) > 20
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_where_every_output_is_cut_and_masked(name: str) -> None:
    taken = []
    for variant, lines in VARIANTS.items():
        teacher = ["objective.teacher.path=/teacher"] if name.startswith("distill") else []
        try:
            config = configure(f"objective={name}", *teacher, *BASE, *lines)
        except ConfigError:  # that slot takes no such KL
            continue
        assert_untouched(Trained(config), ALL_CUT)
        taken.append(variant)
    assert "its own KL" in taken and len(taken) >= (1 if name.startswith("distill") else 3), taken


@pytest.mark.parametrize("reduce", ["token_mean", "sequence_mean", "sequence_sum", "constant"])
def test_whatever_the_reducer(reduce: str) -> None:
    assert_untouched(Trained(configure(*BASE, *KL, f"objective.reduce={reduce}")), ALL_CUT)


@pytest.mark.parametrize("optimizer", ["adamw", "adamw_8bit"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_whatever_the_optimiser(optimizer: str, dtype: torch.dtype) -> None:
    if optimizer == "adamw_8bit" and find_spec("bitsandbytes") is None:
        pytest.skip("the extra [8bit] is not installed")
    config = configure(*BASE, *KL, f"trainer.optimizer={optimizer}", f"dtype={str(dtype).split('.')[1]}")
    assert_untouched(Trained(config, dtype), ALL_CUT)


@pytest.mark.parametrize(
    ("over", "groups"),
    [
        ("accepted", [cut(MIXED, 0)]),  # the only right output is cut: no row with a positive advantage
        ("nonzero", [EQUAL]),  # equal rewards: no row with any advantage
    ],
)
@pytest.mark.parametrize("reduce", ["token_mean", "sequence_mean", "sequence_sum", "constant"])
def test_where_the_denominator_counts_no_row(over: str, groups: list[ScoredGroup], reduce: str) -> None:
    # The others have tokens and a KL, but a loss is a mean over rows that count, and none does.
    lines = (f"objective.reduce_over={over}", f"objective.reduce={reduce}", "objective.updates.minibatches=1")
    assert_untouched(Trained(configure(*BASE, *KL, *lines)), groups)


def test_only_the_minibatch_in_which_nothing_counts_is_left_out() -> None:
    # Two minibatches of one group: EQUAL's outputs are all cut, MIXED's count.
    config = configure(*BASE, *KL, "objective.updates.minibatches=2")
    trained = Trained(config)
    before = trained.everything()
    assert trained.update([MIXED, ALL_CUT[1]]).metrics["updates"] == 1.0
    assert any(not torch.equal(a, b) for a, b in zip(before, trained.everything(), strict=True))


def test_a_critic_learns_where_the_policys_loss_counts_nothing() -> None:
    # Rewards of -1 and values near 0: every advantage is negative, so no row is "accepted". The value loss
    # has a denominator of its own, all tokens: the critic moves, the policy does not.
    lines = ("objective=ppo", "objective.value.shared_trunk=false", "objective.value.whiten=false")
    lines = (*lines, "objective.reduce_over=accepted", "objective.updates.minibatches=1")
    trained = Trained(configure(*BASE, *lines))
    own, critic = trained.everything(of_policy=True), copy.deepcopy(trained.models.value)
    assert critic is not None and trained.models.value is not None
    result = trained.update([replace(MIXED, rewards=(-1.0, -1.0, -1.0))])
    assert result.batch.advantages.max() <= 0 and result.metrics["updates"] == 1.0
    assert all(torch.equal(a, b) for a, b in zip(own, trained.everything(of_policy=True), strict=True))
    assert not torch.equal(critic.head.weight, trained.models.value.head.weight)
