"""Advantages that need more than rewards: a KL in the reward, values, by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from harness.model.rows import pack_rows
from harness.training.advantages import build_batch, with_advantages
from harness.training.exact_kl import exact_kl
from tests.unit.harness.tiny import configure
from tests.unit.harness.training.one_step import EQUAL, MIXED, ONE_STEP, policy, stepped

LN2, LN3 = math.log(2.0), math.log(3.0)


def credited(objective: str, *overrides: str, coef: float = 0.5) -> tuple[Tensor, Tensor]:
    """(advantages of the completion tokens, the mask) of two rows whose log ratios to the reference are

    row 0: ln 2, 0 with reward 1; row 1: 0, ln 3, ln 3 with reward 0; the KL's coefficient is `coef`.
    """
    group = replace(MIXED, rollouts=MIXED.rollouts[::2], grades=MIXED.grades[::2], rewards=(1.0, 0.0))
    config = configure(f"objective={objective}", f"objective.kl.coef={coef}", *overrides)
    batch = build_batch([group], config.objective)  # prompts of 2 tokens, completions of 2 and 3
    batch.old_logprobs[0, 2:4] = torch.tensor([LN2, 0.0])
    batch.old_logprobs[1, 2:5] = torch.tensor([0.0, LN3, LN3])
    values = torch.zeros_like(batch.old_logprobs)
    values[0, 2:4] = torch.tensor([0.5, 0.25])
    batch = replace(batch, ref_logprobs=torch.zeros_like(batch.old_logprobs), values=values)
    batch = with_advantages(batch, config.objective, kl_coef=coef)
    assert not batch.advantages[~batch.completion_mask].any()
    return batch.advantages, batch.completion_mask


IN_REWARD = ("objective.kl.placement=reward", "objective.kl.estimator=k1")


def test_rloo_takes_the_kl_of_the_whole_output_from_its_reward() -> None:
    # R: 1 - 0.5 ln 2 and 0 - 0.5 (ln 3 + ln 3) = -ln 3. Of two, each minus the other.
    advantages, mask = credited("rloo", *IN_REWARD)
    gap = 1 - 0.5 * LN2 + LN3
    assert advantages[mask].tolist() == pytest.approx([gap, gap, -gap, -gap, -gap])


def test_reinforce_pp_takes_the_kl_of_each_token_and_sums_what_is_to_come() -> None:
    advantages, mask = credited("reinforce_pp", *IN_REWARD)
    # Rewards: (-ln2/2, 1) and (0, -ln3/2, -ln3/2). To come: (1 - ln2/2, 1) and (-ln3, -ln3, -ln3/2).
    to_go = torch.tensor([1 - LN2 / 2, 1.0, -LN3, -LN3, -LN3 / 2])
    expected = (to_go - to_go.mean()) / to_go.std(correction=0)
    assert torch.allclose(advantages[mask], expected, atol=1e-6)


def test_reinforce_pp_without_a_kl_is_the_limit_of_a_small_one() -> None:
    group = replace(MIXED, rollouts=MIXED.rollouts[::2], grades=MIXED.grades[::2], rewards=(1.0, 0.0))
    none = build_batch([group], configure("objective=reinforce_pp").objective).advantages
    gaps = []
    for coef in (1e-2, 1e-4, 1e-6):
        advantages, mask = credited("reinforce_pp", *IN_REWARD, coef=coef)
        gaps.append(float((advantages - none).abs().max()))
    # Outputs of 2 and 3 tokens, rewards 1 and 0: mean 2/5, std sqrt(6)/5. Over the outputs it would be ±1.
    assert none[mask].tolist() == pytest.approx([3 / 6**0.5] * 2 + [-2 / 6**0.5] * 3, abs=1e-5)
    assert gaps[0] > gaps[1] > gaps[2] and gaps[2] < 1e-5


def test_gae_takes_the_kl_of_each_token() -> None:
    lines = ("objective.value.gamma=1", "objective.value.lam=0.5", "objective.value.whiten=false")
    advantages, mask = credited("ppo", *IN_REWARD, "objective.kl.against=ref", *lines)
    # Row 0, values 0.5, 0.25: delta = -ln2/2 + 0.25 - 0.5, then 1 - 0.25; A = delta_0 + 0.5 × 0.75, 0.75.
    # Row 1, values 0: delta = 0, -ln3/2, -ln3/2; A_2 = -ln3/2, A_1 = -ln3/2 (1 + 1/2), A_0 = A_1 / 2.
    expected = [-LN2 / 2 - 0.25 + 0.375, 0.75, -LN3 * 3 / 8, -LN3 * 3 / 4, -LN3 / 2]
    assert advantages[mask].tolist() == pytest.approx(expected)


def test_the_exact_kl_in_the_reward() -> None:
    # R_i - coef × the sum over the output's tokens, then each less the mean of the two others.
    lines = ("objective=rloo", "objective.kl.coef=0.5", "objective.kl.estimator=exact", *ONE_STEP)
    config, reference = configure(*lines, "objective.kl.placement=reward"), policy(5)
    batch = build_batch([MIXED], config.objective)
    _, result = stepped(config, [], batch=batch, reference=reference)
    rows = pack_rows(batch.input_ids, batch.lengths, batch.completion_mask)
    penalty = exact_kl(policy(), reference, rows, temperature=1.0).sum(-1).detach()  # [3]
    rewards = torch.tensor([1.0, 0.0, 0.0]) - 0.5 * penalty
    expected = rewards - (rewards.sum() - rewards) / 2
    assert float(penalty.min()) > 0.01
    assert torch.allclose(result.batch.advantages, expected[:, None] * batch.completion_mask, atol=1e-5)


@pytest.mark.parametrize(
    ("objective", "lines"),
    [
        ("rloo", ()),
        ("rloo", IN_REWARD),
        ("reinforce_pp", ()),
        ("reinforce_pp", IN_REWARD),
        ("ppo", IN_REWARD),
    ],
)
def test_one_sign_is_kept_however_advantages_are_made(objective: str, lines: tuple[str, ...]) -> None:
    if objective == "ppo":
        lines = (*lines, "objective.kl.against=ref", "objective.value.whiten=false")
    both, mask = credited(objective, *lines)
    assert (both[mask] > 0).any() and (both[mask] < 0).any()
    positive, _ = credited(objective, *lines, "objective.advantage.sign=positive")
    negative, _ = credited(objective, *lines, "objective.advantage.sign=negative")
    assert torch.equal(positive, torch.where(both > 0, both, 0.0))
    assert torch.equal(negative, torch.where(both < 0, both, 0.0))


def test_outputs_beyond_the_cap_do_not_train() -> None:
    # All three are right; the cap leaves the first.
    config = configure("objective=sft_rejection", "objective.selection.cap_per_problem=1")
    batch = build_batch([EQUAL], config.objective)
    assert (batch.advantages != 0).any(-1).tolist() == [True, False, False]
