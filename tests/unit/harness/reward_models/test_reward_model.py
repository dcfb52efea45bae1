"""The learned outcome reward: how it is judged, that it learns, and how it reaches a sample's reward."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from harness.reward_models.classifier import judge, trained_once
from harness.reward_models.reward_model import RewardModel, fit, source_of
from harness.training.critic import init_value
from harness.training.experience import score
from harness.types import Prompt, Rollout
from tests.unit.harness.tiny import DIMS, run_on_untrained_base
from tests.unit.harness.training.test_critic import value_model

LINES = ("objective=rlhf_ppo", "rollout.max_new_tokens=8")


def test_auc_and_calibration_by_hand() -> None:
    # Pairs right × wrong: 0.9 > 0.8, 0.9 > 0.1, 0.3 < 0.8, 0.3 > 0.1: 3 of 4. Each is alone in its bin:
    # (0.1 + 0.8 + 0.7 + 0.1) / 4. Brier: (0.01 + 0.64 + 0.49 + 0.01) / 4.
    found = judge(torch.tensor([0.9, 0.8, 0.3, 0.1]), torch.tensor([1.0, 0.0, 1.0, 0.0]))
    expected = {"rm_auc": 0.75, "rm_ece": 0.425, "rm_brier": 0.2875, "rm_right": 0.5, "rm_held_out": 4.0}
    assert found == pytest.approx(expected)
    # One bin: |0.62 + 0.68 - 1| / 2; a tie counts half.
    assert judge(torch.tensor([0.62, 0.68]), torch.tensor([1.0, 0.0]))["rm_ece"] == pytest.approx(0.15)
    assert judge(torch.tensor([0.5, 0.5]), torch.tensor([1.0, 0.0]))["rm_auc"] == 0.5
    assert judge(torch.tensor([0.5]), torch.tensor([1.0]))["rm_auc"] == 0.5


def test_within_a_problem_only_its_own_pairs_count() -> None:
    # a: 0.4 < 0.5 and a tie of 0.5, so 0.5 of 2. b: 0.9 > 0.8, 1 of 1. c has no wrong output. Between a and b
    # the two right outputs of b and c beat a's wrong one, which is in the AUC: pairs 4 right x 2 wrong,
    # 0.5: 0.4 no, 0.5 half, 0.9 yes, 0.7 yes; 0.8: 0.9 yes alone. 3.5 of 8.
    scores = torch.tensor([0.4, 0.5, 0.5, 0.9, 0.8, 0.7])
    labels = torch.tensor([1.0, 1.0, 0.0, 1.0, 0.0, 1.0])
    found = judge(scores, labels, problems=["a", "a", "a", "b", "b", "c"])
    assert found["rm_auc_within"] == pytest.approx(1.5 / 3) and found["rm_auc"] == pytest.approx(3.5 / 8)
    # A problem that is easy against one that is hard says nothing about choosing among one's outputs.
    hard = judge(torch.tensor([0.9, 0.1]), torch.tensor([1.0, 0.0]), problems=["easy", "hard"])
    assert hard["rm_auc"] == 1.0 and "rm_auc_within" not in hard
    assert "rm_auc_within" not in judge(scores, labels)


def samples(num: int) -> tuple[list[Prompt], list[Rollout], list[bool]]:
    """Two outputs of each problem; the right ones end with token 4, the wrong ones with 5."""
    prompts, rollouts, labels = [], [], []
    for i in range(num):
        for right in (True, False):
            ids = (2 + i % 7, 6, 4 if right else 5)
            prompts.append(Prompt(f"p{i}", "question", "", (7, 3 + i % 5)))
            rollouts.append(Rollout(f"p{i}", int(right), ids, "", None, "stop"))
            labels.append(right)
    return prompts, rollouts, labels


def test_it_learns_to_tell_right_from_wrong_on_held_out_problems(tmp_path: Path) -> None:
    lines = ("objective.reward_model.epochs=8", "objective.reward_model.batch_size=8")
    run = run_on_untrained_base(tmp_path, *LINES, *lines, "objective.reward_model.lr=1e-2")
    slot = run.config.objective.reward_model
    assert slot is not None
    metrics = fit(source_of(run), slot, value_model(False), *samples(30))
    assert metrics["rm_auc"] > 0.95 and metrics["rm_auc_within"] > 0.95 and metrics["rm_brier"] < 0.1
    assert metrics["rm_held_out"] == 12.0  # every fifth of 30 problems, two outputs each


def test_a_score_does_not_depend_on_its_batch_mates() -> None:
    prompts, rollouts, _ = samples(6)
    rollouts = [*rollouts[:-1], Rollout("p5", 0, (4, 4, 4, 4, 4, 4), "", None, "stop")]
    together = RewardModel(value_model(False), 1000, {}).score(prompts, rollouts)
    apart = RewardModel(value_model(False), 1, {}).score(prompts, rollouts)
    assert together == pytest.approx(apart, abs=1e-6) and max(together) - min(together) > 1e-3


def test_the_models_probability_is_a_weighted_part_of_the_reward(tmp_path: Path) -> None:
    run = run_on_untrained_base(tmp_path, "objective.reward.random=1", "objective.reward.random_p=1")
    data = run.config.objective.model_copy(
        update={"reward": run.config.objective.reward.model_copy(update={"model": 0.5})}
    )
    run.config = run.config.model_copy(update={"objective": data})
    run.learned_rewards.output = SimpleNamespace(score=lambda prompts, rollouts: [0.1 * i for i in range(8)])
    problems = run.problems[:2]
    rollouts = [Rollout(p.id, i, (4,), "no", (-1.0,), "stop") for p in problems for i in range(4)]
    first, second = score(run, problems, rollouts)
    # wrong: 0 for accuracy, 1 at random, half of 0, 0.1, ...
    assert first.rewards == pytest.approx((1.0, 1.05, 1.1, 1.15))
    assert second.rewards == pytest.approx((1.2, 1.25, 1.3, 1.35))


def test_its_files_do_not_depend_on_the_clock_and_older_ones_are_read(tmp_path: Path) -> None:
    model = init_value(DIMS.hidden_size, trunk=None, seed=0)
    for seconds in (1.0, 2.0):
        made = {"metrics": {"rm_auc": 0.5}, "cost": {"seconds": seconds}}
        found = trained_once(tmp_path / str(seconds), model, lambda made=made: dict(made), owner="a")
        assert found == made == trained_once(tmp_path / str(seconds), model, dict, owner="a")
    first, second = tmp_path / "1.0", tmp_path / "2.0"
    assert sorted(x.name for x in first.iterdir()) == ["cost.json", "made.json", "manifest.json", "model.pt"]
    for name in ("made.json", "manifest.json", "model.pt"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    (first / "cost.json").unlink()
    (first / "manifest.json").unlink()
    (first / "made.json").write_text('{"metrics": {}, "cost": {"seconds": 7}}')
    assert trained_once(first, model, dict, owner="a") == {"metrics": {}, "cost": {"seconds": 7}}


def test_it_is_trained_once_and_its_cost_is_counted_once(tmp_path: Path) -> None:
    first = run_on_untrained_base(tmp_path, *LINES, "objective.reward_model.num_problems=8")
    again = run_on_untrained_base(tmp_path, *LINES, "objective.reward_model.num_problems=8")
    model, same = first.learned_rewards.output, again.learned_rewards.output
    assert isinstance(model, RewardModel) and isinstance(same, RewardModel)
    assert first.counters.tokens == again.counters.tokens and first.counters.tokens["reward_model"] > 0
    assert first.counters.flops == again.counters.flops and first.counters.seconds == again.counters.seconds
    assert model.metrics == same.metrics
    for a, b in zip(
        model.model.parameters(),
        same.model.parameters(),
        strict=True,
    ):
        assert torch.equal(a, b)
    trunk = model.model.trunk
    assert trunk is not None
    assert not torch.equal(trunk.model.norm.weight, first.models.policy.model.norm.weight)  # it was trained
