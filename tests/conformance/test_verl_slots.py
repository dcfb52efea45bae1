"""Against verl 0.9.1 itself, on the CPU: every slot that trainer.engine=verl claims.

Advantages go through the trainer's own `compute_advantage`, losses through its workers' own `ppo_loss` in
four microbatches with nested tensors. No training step of verl is run here: that needs a GPU.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from harness.objectives.kl import token_rewards
from harness.objectives.losses import truncated_importance_weight
from harness.training.advantages import with_advantages
from harness.training.verl.slots import NAME, REDUCERS
from tests.conformance.verl_steps import LONGEST, REASON, ROWS, Step, differences, verl_weights

pytest.importorskip("verl", reason=REASON)

ADVANTAGES = {
    "raw_reward": (),
    "accepted_only": ("objective.advantage.threshold=0.5",),
    "signed": ("objective.advantage.threshold=0.5", "objective.advantage.positive_weight=0.1"),
    "group_centered": (),
    "group_normalized": ("objective.advantage.std=sample", "objective.advantage.eps=1e-6"),
    "rloo": (),
    "max_rl": (),
    "pass_at_k": ("objective.advantage.k=2", "objective.advantage.std=population"),
    "reinforce_pp": ("objective.advantage.eps=1e-8",),
}


def compute(data: Any, adv_estimator: str = NAME) -> torch.Tensor:
    """Advantages [B, T] as verl's trainer makes them, by the name of an estimator."""
    from verl.trainer.ppo.ray_trainer import compute_advantage

    found = compute_advantage(data, adv_estimator=adv_estimator, config=SimpleNamespace())
    return found.batch["advantages"]


def advantage_overrides(fn: str) -> list[str]:
    plain = ["objective=grpo", "objective.advantage.std=none", "objective.advantage.eps=0"]
    return [*plain, f"objective.advantage.fn={fn}", "rollout.group_size=4", *ADVANTAGES[fn]]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("fn", ADVANTAGES)
def test_advantages_are_ours_to_the_bit(on_verl: Any, fn: str, seed: int) -> None:
    config, step = on_verl(*advantage_overrides(fn)), Step(seed)
    theirs = compute(step.data())
    ours = with_advantages(step.batch(), config.objective).advantages
    assert ours.abs().max() > 0
    assert torch.equal(theirs, ours)


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
@pytest.mark.parametrize("fn", ["group_normalized", "rloo", "reinforce_pp"])
def test_a_kl_in_the_reward_is_ours_but_for_the_order_of_sums(on_verl: Any, fn: str, estimator: str) -> None:
    kl = ["objective.kl.placement=reward", "objective.kl.coef=0.1", f"objective.kl.estimator={estimator}"]
    config, step = on_verl(*advantage_overrides(fn), *kl), Step(0)
    from verl.trainer.ppo import core_algos
    from verl.trainer.ppo.ray_trainer import apply_kl_penalty

    data, _ = apply_kl_penalty(step.data(), kl_ctrl=core_algos.FixedKLController(0.1), kl_penalty=estimator)
    theirs = compute(data)
    ours = with_advantages(step.batch(), config.objective, kl_coef=0.1).advantages
    torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=2e-6)


def test_verls_own_grpo_makes_a_signal_of_equal_rewards_and_ours_does_not(on_verl: Any) -> None:
    on_verl(*advantage_overrides("group_normalized"))
    step = Step(0)
    data = step.data()
    rewards = torch.full((ROWS,), 1.2)
    data.batch["token_level_rewards"] = token_rewards(
        rewards=rewards, kl=torch.zeros(ROWS, LONGEST), completion_mask=step.mask, coef=0.0
    )
    data.non_tensor_batch["uid"] = np.array([str(i // 7) for i in range(ROWS)], dtype=object)
    grpo = compute(data, "grpo")
    assert float(grpo.abs().max()) > 0.01
    ours = compute(data)
    assert float(ours.abs().max()) == 0.0


LOSSES = {
    "nll": ("objective.loss.fn=nll", "objective.advantage.fn=accepted_only"),
    "policy_gradient": ("objective.loss.fn=policy_gradient",),
    "surrogate": ("objective.loss.fn=surrogate",),
    "surrogate, sequence": ("objective.loss.fn=surrogate", "objective.ratio=sequence"),
    "ppo_clip": ("objective=grpo",),
    "ppo_clip, dual": ("objective=grpo", "objective.loss.dual_clip=3"),
    "ppo_clip, sequence": ("objective=rloo",),
    "ppo_clip, sequence_mean": ("objective=gspo",),
    "cispo": ("objective=cispo",),
    "sapo": ("objective=sapo",),
    "gmpo": ("objective=gmpo",),
    "topr": ("objective=topr",),
}


def loss_overrides(name: str, reducer: str) -> list[str]:
    own = LOSSES[name]
    plain = ["objective=pg", "objective.advantage.std=none", "objective.advantage.eps=0"]
    start = [] if own[0].startswith("objective=") else plain
    extra = ["objective.selection.fn=all"] if name == "nll" else []
    return [*start, *own, "objective.kl.coef=0", f"objective.reduce={reducer}", *extra]


@pytest.mark.parametrize("reducer", REDUCERS)
@pytest.mark.parametrize("name", LOSSES)
def test_gradients_of_losses_are_ours_to_the_bit(on_verl: Any, name: str, reducer: str) -> None:
    """The loss itself is a sum in another order, so it may differ in its last bits."""
    config = on_verl(*loss_overrides(name, reducer))
    for seed in range(3):
        loss, gradient, largest = differences(Step(seed), config)
        assert largest > 1e-3
        assert gradient == 0.0
        assert loss < 1e-6


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_a_kl_to_the_old_policy_is_ours_to_the_bit(on_verl: Any, estimator: str) -> None:
    kl = [f"objective.kl.estimator={estimator}", "objective.kl.against=old", "objective.kl.coef=0.3"]
    loss, gradient, largest = differences(Step(0), on_verl("objective=grpo", *kl))
    assert (gradient, loss < 1e-6, largest > 1e-3) == (0.0, True, True)


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
@pytest.mark.parametrize("reducer", REDUCERS)
def test_a_kl_to_the_reference_is_ours_within_the_clamp(on_verl: Any, estimator: str, reducer: str) -> None:
    kl = [f"objective.kl.estimator={estimator}", "objective.kl.coef=0.3", f"objective.reduce={reducer}"]
    config = on_verl("objective=grpo", *kl)
    loss, gradient, largest = differences(Step(0), config, kl=True)
    assert loss < 1e-6 and gradient <= 1e-6 * largest


def test_beyond_the_clamp_k3_is_what_the_record_says(on_verl: Any) -> None:
    config, step = on_verl("objective=grpo", "objective.kl.coef=1"), Step(0)
    for off, equal in ((2.55, True), (2.7, False), (-10.9, True), (-11.1, False)):
        step.ref = torch.where(step.mask, step.logprobs + off, 0.0)
        _, gradient, largest = differences(step, config, kl=True)
        assert (gradient <= 1e-5 * largest) == equal, off


def test_an_entropy_bonus_is_ours(on_verl: Any) -> None:
    config = on_verl("objective=grpo", "objective.kl.coef=0", "objective.entropy_coef=0.01")
    loss, gradient, _ = differences(Step(0), config)
    assert loss < 1e-6 and gradient == 0.0


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_the_samplers_correction_is_ours(on_verl: Any, level: str) -> None:
    config = on_verl("objective=grpo", "objective.kl.coef=0", f"+objective.tis={{cap: 2, level: {level}}}")
    step = Step(0)
    mine = truncated_importance_weight(
        old_logprobs=step.old, sampler_logprobs=step.sampler, completion_mask=step.mask, cap=2.0, level=level
    )
    theirs = verl_weights(step, config)
    assert torch.where(step.mask, mine, 0.0).max() == 2.0
    torch.testing.assert_close(torch.where(step.mask, theirs, 0.0), torch.where(step.mask, mine, 0.0))
    loss, gradient, largest = differences(step, config, tis=True)
    assert loss < 1e-6 and gradient <= 1e-6 * largest
