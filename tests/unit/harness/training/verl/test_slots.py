"""The functions that verl calls, without verl: test_verl_slots.py in conformance goes through verl's code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from harness.objectives.kl import k3
from harness.objectives.policy_loss import KLPenalty, policy_loss
from harness.schema.run_config import RunConfig
from harness.training.verl.slots import CONFIG, advantages, run_config, token_loss
from tests.unit.harness.tiny import configure


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., RunConfig]:
    def made(*overrides: str) -> RunConfig:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.json"
        path.write_text(configure(*overrides).model_dump_json())
        monkeypatch.setenv(CONFIG, str(path))
        return run_config()

    return made


def test_advantages_by_hand(at: Callable[..., RunConfig]) -> None:
    """Rewards 3 and 1 of prompt b, 2 and 2 of a: centred 1 and -1, 0 and 0; bad ones count half."""
    at("objective=dr_grpo", "objective.advantage.negative_weight=0.5")
    rewards = torch.tensor([[0.0, 3.0], [1.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
    mask = torch.tensor([[1, 1], [1, 0], [1, 0], [1, 1]])
    found, returns = advantages(rewards, mask, ["b", "b", "a", "a"], config=None, reward_baselines=None)
    assert found.tolist() == [[1.0, 1.0], [-0.5, 0.0], [0.0, 0.0], [0.0, 0.0]]
    assert torch.equal(found, returns)


def test_reinforce_pp_goes_by_tokens(at: Callable[..., RunConfig]) -> None:
    at("objective=reinforce_pp")
    rewards = torch.tensor([[-1.0, 3.0], [0.0, 0.0]])  # to go: 2, 3 and 0
    found, _ = advantages(rewards, torch.tensor([[1, 1], [1, 0]]), ["a", "b"])
    mean, std = 5 / 3, (((2 - 5 / 3) ** 2 + (3 - 5 / 3) ** 2 + (5 / 3) ** 2) / 3) ** 0.5
    wanted = torch.tensor([[(2 - mean) / std, (3 - mean) / std], [-mean / std, 0.0]])
    torch.testing.assert_close(found, wanted)


def test_the_loss_is_weighed_and_the_penalty_is_not(at: Callable[..., RunConfig]) -> None:
    """A KL to the old policy beside the sampler's correction: loss x weight + coef x KL."""
    config = at("objective=grpo", "objective.kl.against=old", "objective.kl.coef=0.3")
    g = torch.Generator().manual_seed(0)
    old, new, advantage = (torch.randn(2, 3, generator=g) for _ in range(3))
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]])
    weights = torch.tensor([[0.5, 1.0, 2.0], [1.5, 0.0, 0.0]])

    def ours(kl: KLPenalty | None) -> torch.Tensor:
        params = config.objective.loss.params
        given = {"logprobs": new, "old_logprobs": old, "advantages": advantage, "completion_mask": mask}
        return policy_loss(loss="ppo_clip", loss_params=params, ratio="token", kl=kl, **given).loss

    inside = mask.bool()
    total, _ = token_loss(config.objective, old, new, advantage, mask, weights=weights)
    penalty = 0.3 * k3(logprobs=old, ref_logprobs=new)
    assert torch.equal(total[inside], (ours(None) * weights + penalty)[inside])
    alone, _ = token_loss(config.objective, old, new, advantage, mask)
    assert torch.equal(alone[inside], ours(KLPenalty("k3", 0.3, "old"))[inside])
