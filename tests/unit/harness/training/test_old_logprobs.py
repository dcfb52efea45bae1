"""Old logprobs are those of the sampling weights, each row's once, however an objective comes by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from harness.objectives.kl import k3
from harness.schema.run_config import RunConfig
from harness.training.advantages import build_batch
from harness.training.critic import ValueModel, init_value
from harness.training.models import Models
from harness.training.update import adapted_coef, update
from harness.types import Batch
from tests.unit.harness.tiny import DIMS, configure
from tests.unit.harness.training.one_step import MIXED, ONE_STEP, logprobs_of, policy

KL_IN_REWARD = ("objective.kl.placement=reward", "objective.kl.estimator=k1", "objective.kl.coef=0.1")
ARMS: dict[str, Sequence[str]] = {
    "grpo": ("objective=grpo",),
    "ppo_clip": ("objective=ppo_clip", "objective.value.shared_trunk=true"),
    "ppo": ("objective=ppo", "objective.value.shared_trunk=false"),
    "rloo, KL in the reward": ("objective=rloo", *KL_IN_REWARD),
    "reinforce_pp, KL in the reward": ("objective=reinforce_pp", *KL_IN_REWARD),
}
OTHER = replace(MIXED, prompt=replace(MIXED.prompt, token_ids=(9, 9)))


def updated(lines: Sequence[str], *, lr: float) -> tuple[RunConfig, Batch, dict[str, float]]:
    """Three epochs of two minibatches; at `lr` 0 the weights never move."""
    more = ("objective.updates.epochs=3", "objective.updates.minibatches=2", f"trainer.lr={lr or 1e-30}")
    config = configure(*lines, *ONE_STEP, *more)
    model, value = policy(), None
    if config.objective.value is not None:
        trunk = None if config.objective.value.shared_trunk else policy(3)
        value = init_value(DIMS.hidden_size, trunk=trunk, seed=7)
    modules: list[torch.nn.Module] = [model, *([value] if isinstance(value, ValueModel) else [])]
    batch = build_batch([MIXED, OTHER], config.objective)
    result = update(
        Models(model, policy(5) if config.objective.kl.uses_reference else None, value),
        torch.optim.SGD([p for m in modules for p in m.parameters()], lr=0.0),
        batch,
        config=config,
        order=torch.Generator().manual_seed(0),
        num_updates_done=0,
        num_updates_total=10,
    )
    return config, result.batch, result.metrics


@pytest.mark.parametrize("arm", ARMS)
def test_they_are_the_sampling_policys(arm: str) -> None:
    _, batch, _ = updated(ARMS[arm], lr=0.05)
    model = policy()
    for row, group in enumerate((MIXED, MIXED, MIXED, OTHER, OTHER, OTHER)):
        prompt, rollout = group.prompt.token_ids, group.rollouts[row % 3]
        expected = logprobs_of(model, prompt, rollout.completion_ids).detach()
        stored = batch.old_logprobs[row, len(prompt) : len(prompt) + len(expected)]
        assert torch.allclose(stored, expected, atol=1e-5)


@pytest.mark.parametrize("arm", ARMS)
def test_the_ratio_stays_1_while_the_weights_stay(arm: str) -> None:
    _, _, metrics = updated(ARMS[arm], lr=0.0)
    assert metrics["ratio"] == pytest.approx(1.0, abs=1e-5)
    assert metrics["clip_frac"] == 0.0 and abs(metrics["kl_old"]) < 1e-9


def test_ppos_coefficient_halves_where_the_policy_stayed() -> None:
    config, batch, _ = updated(ARMS["ppo"], lr=0.0)
    assert adapted_coef(policy(), batch, config=config, kl_coef=0.2) == pytest.approx(0.1)
    moved = policy(8)  # far away: the penalty must grow
    mask = batch.completion_mask
    now = torch.zeros_like(batch.old_logprobs)
    for row, group in enumerate((MIXED, MIXED, MIXED, OTHER, OTHER, OTHER)):
        prompt, ids = group.prompt.token_ids, group.rollouts[row % 3].completion_ids
        now[row, len(prompt) : len(prompt) + len(ids)] = logprobs_of(moved, prompt, ids).detach()
    assert config.objective.kl.target is not None
    assert k3(logprobs=batch.old_logprobs, ref_logprobs=now)[mask].mean() > 1.5 * config.objective.kl.target
    assert adapted_coef(moved, batch, config=config, kl_coef=0.2) == pytest.approx(0.4)
