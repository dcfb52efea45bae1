"""The sampler correction and the KL penalties in an update, and how the coefficient adapts."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from harness.training.advantages import build_batch, with_advantages
from harness.training.update import adapted_coef
from tests.unit.harness.tiny import configure
from tests.unit.harness.training.one_step import (
    EQUAL,
    MIXED,
    NO_KL,
    ONE_STEP,
    close,
    gradient,
    logprobs_of,
    policy,
    stepped,
    weights,
)

LN2 = math.log(2.0)


@pytest.mark.parametrize("level", ["token", "sequence", "sequence_mean"])
def test_the_sampler_correction_weighs_each_term(level: str) -> None:
    # The trainer's logprobs are the sampler's + 0.4, - 0.3, + 0.4, ...: the weight is exp of that for a
    # token, of its sum for an output, or of its mean; 1.2 at most, and exp(0.4) is 1.49.
    config = configure(NO_KL, *ONE_STEP, "objective.tis.cap=1.2", f"objective.tis.level={level}")
    batch, model, loss = build_batch([MIXED], config.objective), policy(), torch.zeros(())
    for row, advantage in enumerate((2 / 3**0.5, -1 / 3**0.5, -1 / 3**0.5)):
        lp = logprobs_of(model, MIXED.prompt.token_ids, MIXED.rollouts[row].completion_ids)
        gap = torch.tensor([0.4, -0.3, 0.4, -0.3])[: len(lp)]
        batch.sampler_logprobs[row, 2 : 2 + len(lp)] = lp.detach() - gap
        log_weight = {"token": gap, "sequence": gap.sum(), "sequence_mean": gap.mean()}[level]
        loss = loss - (advantage * (lp - lp.detach()).exp() * log_weight.exp().clamp(max=1.2)).mean() / 3
    found, result = stepped(config, [], batch=batch)
    close(found, gradient(loss, model))
    # tokens: 5 × 1.2 + 4 × exp(-0.3); outputs (2, 4, 3 tokens): sums 0.1, 0.2, 0.5; means 0.05, 0.05, 1/6
    expected = {
        "token": (5 * 1.2 + 4 * math.exp(-0.3)) / 9,
        "sequence": (2 * math.exp(0.1) + 4 * 1.2 + 3 * 1.2) / 9,
        "sequence_mean": (6 * math.exp(0.05) + 3 * math.exp(0.5 / 3)) / 9,
    }
    assert result.metrics["tis_weight"] == pytest.approx(expected[level], rel=1e-5)


def test_no_sampler_correction_where_the_two_agree() -> None:
    batch = build_batch([MIXED], configure(NO_KL).objective)
    model = policy()
    for row, rollout in enumerate(MIXED.rollouts):
        lp = logprobs_of(model, MIXED.prompt.token_ids, rollout.completion_ids).detach()
        batch.sampler_logprobs[row, 2 : 2 + len(lp)] = lp
    plain, _ = stepped(configure(NO_KL, *ONE_STEP), [MIXED])
    on = ("objective.tis.cap=2", "objective.tis.level=token")
    found, result = stepped(configure(NO_KL, *ONE_STEP, *on), [], batch=batch)
    close(found, plain)
    assert result.metrics["tis_weight"] == pytest.approx(1.0, abs=1e-5)


def test_ppos_penalty_is_kl_from_the_sampling_policy_and_pulls_back() -> None:
    # Means over 9 tokens; the advantages of (1, 0, 0) are 2/3, -1/3, -1/3. At its own weights the penalty has
    # no gradient; in the second epoch it adds r - 1 - log r, r = pi / pi_old, to -A r. Steps of 1/1000 in
    # float64: the gradient far away from the sampling weights is too large to compare in float32.
    lines = ("objective=ppo_kl", "objective.value=null", "objective.advantage.fn=group_centered")
    lines = (*lines, "objective.kl.coef=1", *ONE_STEP)
    none, result = stepped(configure(*lines), [EQUAL])
    assert float(none.norm()) < 1e-6 and result.metrics["kl_old"] == 0.0
    small = (*lines, "trainer.lr=1e-3")
    once, _ = stepped(configure(*small), [MIXED], dtype=torch.float64)
    both, _ = stepped(configure(*small, "objective.updates.epochs=2"), [MIXED], dtype=torch.float64)
    start, moved, loss = policy().double(), policy().double(), torch.zeros(())
    torch.nn.utils.vector_to_parameters(weights(start) - once, moved.parameters())
    farthest = 0.0
    for rollout, advantage in zip(MIXED.rollouts, (2 / 3, -1 / 3, -1 / 3), strict=True):
        old = logprobs_of(start, (7, 3), rollout.completion_ids).detach()
        log_r = logprobs_of(moved, (7, 3), rollout.completion_ids) - old
        loss = loss + (-advantage * log_r.exp() + log_r.exp() - 1 - log_r).sum() / 9
        farthest = max(farthest, float(log_r.detach().abs().max()))
    assert 0.05 < farthest < 2.0  # it has moved, and not out of sight
    close(both - once, 1e-3 * gradient(loss, moved))


@pytest.mark.parametrize(("target", "factor"), [(0.1, 2.0), (0.3, 1.0), (0.5, 0.5)])
def test_the_coefficient_doubles_and_halves(target: float, factor: float) -> None:
    # k3 at log r = ln 2 is 2 - 1 - ln 2 = 0.307: above 1.5 × 0.1, below 0.5 / 1.5 = 0.333.
    config = configure("objective.kl.coef=0.2", f"objective.kl.target={target}")
    batch = build_batch([MIXED], config.objective)
    batch = replace(batch, ref_logprobs=torch.full_like(batch.old_logprobs, LN2))
    assert adapted_coef(policy(), batch, config=config, kl_coef=0.2) == pytest.approx(0.2 * factor)


def test_the_proportional_coefficient() -> None:
    # kl / target - 1 = 0.307 / 0.25 - 1 > 0.2, held at 0.2; 3 samples of a horizon of 6: × (1 + 0.1).
    config = configure("objective.kl.coef=0.2", "objective.kl.target=0.25", "objective.kl.horizon=6")
    batch = build_batch([MIXED], config.objective)
    batch = replace(batch, ref_logprobs=torch.full_like(batch.old_logprobs, LN2))
    assert adapted_coef(policy(), batch, config=config, kl_coef=0.2) == pytest.approx(0.22)


@pytest.mark.parametrize(("target", "factor"), [(0.15, 2.0), (0.2, 1.0), (0.4, 0.5)])
def test_the_coefficient_is_measured_on_every_sample(target: float, factor: float) -> None:
    # Only output 0 has a positive advantage, and no KL: 2 tokens of 0, 7 of 2 - 1 - ln 2 = 0.307, mean 0.239:
    # above 1.5 × 0.15 = 0.225, below 0.4 / 1.5 = 0.267. Output 0 alone would halve the coefficient each time.
    lines = (
        "objective.kl.placement=reward",
        "objective.kl.estimator=k1",
        "objective.advantage.sign=positive",
    )
    config = configure("objective.kl.coef=0.2", f"objective.kl.target={target}", *lines)
    batch = build_batch([MIXED], config.objective)
    ref = torch.full_like(batch.old_logprobs, LN2)
    ref[0] = 0.0
    batch = with_advantages(replace(batch, ref_logprobs=ref), config.objective, groups=[MIXED])
    assert batch.advantages.any(-1).tolist() == [True, False, False]
    assert adapted_coef(policy(), batch, config=config, kl_coef=0.2) == pytest.approx(0.2 * factor)


def test_against_old_the_coefficient_sees_where_the_updates_went() -> None:
    config = configure("objective=ppo_kl", "objective.value=null", "objective.advantage.fn=group_centered")
    batch = build_batch([MIXED], config.objective)
    for row, rollout in enumerate(MIXED.rollouts):
        lp = logprobs_of(policy(), (7, 3), rollout.completion_ids).detach()
        batch.old_logprobs[row, 2 : 2 + len(lp)] = lp
    assert adapted_coef(policy(), batch, config=config, kl_coef=1.0) == 0.5  # it has not moved
    assert adapted_coef(policy(3), batch, config=config, kl_coef=1.0) == 2.0
