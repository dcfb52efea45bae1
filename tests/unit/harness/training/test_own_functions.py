"""The user's own reward, advantage and loss: tried before a launch, checked in training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harness.objectives.losses import ppo_clip
from harness.objectives.policy_loss import policy_loss
from harness.schema.own_function import OwnFunction, OwnReward, forget
from harness.schema.run_config import RunConfig
from harness.training.advantages import active_rows, build_batch
from harness.training.own_functions import OwnFunctionError, own_advantage, own_loss, own_reward, probe
from harness.training.rollout_metrics import rollout_metrics
from harness.types import Grade, Problem, Rollout
from tests.unit.harness.tiny import configure, group

PROBLEM = Problem(id="p", dataset="d", split="train", text="1+1", answer="2")
NO_CLIP = ("objective.loss.clip_low=null", "objective.loss.clip_high=null", "objective.loss.fn=custom")
NO_STD = ("objective.advantage.std=none", "objective.advantage.eps=0", "objective.advantage.fn=custom")
HEADS = {
    "reward": "def f(*, rollout, grade, problem, scale=1.0):\n    ",
    "advantage": "def f(*, rewards, group_ids, scale=1.0):\n    ",
    "loss": "import torch\ndef f(*, logprobs, ratio, advantages, completion_mask, scale=1.0):\n    ",
}
MORE = {"reward": ("objective.reward.custom.weight=1",), "advantage": NO_STD, "loss": NO_CLIP}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    forget()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def own(slot: str, body: str, *overrides: str) -> RunConfig:
    Path("mine.py").write_text(HEADS[slot] + body + "\n")
    forget()
    return configure(f"objective.{slot}.custom.path=mine.py:f", *MORE[slot], *overrides)


@pytest.mark.parametrize(
    ("slot", "body"),
    [
        ("reward", "return grade.correct"),
        ("reward", "return scale * len(rollout.completion_ids) - 3"),
        ("advantage", "return rewards - rewards.mean()"),
        ("loss", "return -ratio * advantages"),
        ("loss", "return -ratio * advantages, {'mine': ratio.detach() - 1}"),
        ("loss", "n = completion_mask.sum(-1, keepdim=True)\n    return -logprobs * advantages / n"),
    ],
)
def test_what_works_passes_the_probe(slot: str, body: str) -> None:
    probe(own(slot, body).objective, [PROBLEM])


@pytest.mark.parametrize(
    ("slot", "body", "words"),
    [
        ("reward", "return None", "it gave a NoneType for problem p; return a finite number"),
        ("reward", "return float('nan')", "it gave nan for problem p"),
        ("reward", "return [1.0]", "it gave a list for problem p"),
        ("reward", "return 1 / len(rollout.text)", r"ZeroDivisionError: division by zero \(line 2\)"),
        (
            "reward",
            "return grade.score",
            r"'score' \(line 2\); a grade has correct, extracted, reason",
        ),
        ("reward", "return rollout.completion", r"; a rollout has problem_id, .*completion_ids, text, "),
        ("reward", "return problem.question", r"; a problem has id, dataset, split, text, answer, "),
        ("reward", "import random; return random.random()", "one output got .* a run could not be repeated"),
        ("reward", "raise SystemExit", "SystemExit"),
        ("advantage", "return rewards.tolist()", r"it gave a list; return floats of the shape \[12\]"),
        ("advantage", "return rewards.view(3, 4).mean(1)", r"it gave \[3\] of torch.float32"),
        ("advantage", "return (rewards > 0)", r"it gave \[12\] of torch.bool"),
        (
            "advantage",
            "g = rewards.view(3, 4)\n    return (g / g.std(1, keepdim=True)).view(-1)",
            "NaN or infin",
        ),
        ("advantage", "import torch; return torch.rand(12)", "two calls gave other numbers"),
        ("loss", "return (-ratio * advantages).sum()", r"it gave \[\] of .* shape \[2, 4\]"),
        ("loss", "return -ratio.detach() * advantages", "it has no gradient"),
        ("loss", "return ratio * advantages / completion_mask.sum()", "a row's loss changes with the other"),
        ("loss", "return (ratio * advantages).mean(-1, keepdim=True) * completion_mask", "or with padding"),
        ("loss", "return (ratio - ratio) / (ratio - ratio)", "it gave NaN or infinity"),
        ("loss", "return (ratio - ratio.detach()).abs().sqrt()", "its gradient is NaN or infinite"),
        ("loss", "return -ratio * advantages, [1]", "its metrics are a list"),
    ],
)
def test_what_does_not_work_is_refused_in_one_line(slot: str, body: str, words: str) -> None:
    config = own(slot, body)
    with pytest.raises(OwnFunctionError, match=words) as found:
        probe(config.objective, [PROBLEM])
    assert str(found.value).startswith(f"objective.{slot}.custom.path=mine.py:f: ")
    assert "\n" not in str(found.value)


def test_a_negative_reward_is_refused_where_the_advantage_divides_by_the_mean() -> None:
    config = own("reward", "return -1.0", "objective.advantage.fn=max_rl", *NO_STD[:2])
    with pytest.raises(OwnFunctionError, match=r"gave -1, and advantage.fn=max_rl needs rewards >= 0"):
        probe(config.objective, [PROBLEM])


def test_parameters_reach_the_function_and_unknown_ones_are_named() -> None:
    rollout = Rollout("p", 0, (1, 2, 3), "x", None, "stop")
    grade = Grade(correct=False, extracted=None, reason="")
    Path("mine.py").write_text(HEADS["reward"] + "return scale * len(rollout.completion_ids)\n")
    reward = own_reward(OwnReward(path="mine.py:f", params={"scale": 0.5}, weight=1))
    assert reward(rollout, grade, PROBLEM) == 1.5
    with pytest.raises(OwnFunctionError, match=r"unexpected keyword argument 'sacle'.*problem, sacle"):
        own_reward(OwnReward(path="mine.py:f", params={"sacle": 0.5}, weight=1))(rollout, grade, PROBLEM)


def test_an_advantage_of_ones_own_stands_where_a_rule_does() -> None:
    """Rewards 1, 0 in one group and 1, 1 in the other: the mean of all four is 0.75."""
    config = own(
        "advantage", "return scale * (rewards - rewards.mean())", "objective.advantage.sign=positive"
    )
    groups = [group("a", [1], [[2], [3, 4]], [1.0, 0.0]), group("b", [1], [[2], [3]], [1.0, 1.0])]
    batch = build_batch(groups, config.objective)
    assert batch.advantages[:, 1:].tolist() == [[0.25, 0.0], [0.0, 0.0], [0.25, 0.0], [0.25, 0.0]]
    given = own_advantage(OwnFunction(path="mine.py:f", params={"scale": 2.0}))
    assert given(rewards=torch.tensor([1.0, 0.0]), group_ids=torch.tensor([0, 0])).tolist() == [1.0, -1.0]


def test_a_loss_of_ones_own_is_ours_where_it_says_the_same() -> None:
    """PPO's clip written by the user: equal loss and gradient, poisoned padding included."""
    own(
        "loss",
        "clipped = ratio.clamp(1 - 0.1, 1 + 0.4)\n"
        "    return -torch.minimum(ratio * advantages, clipped * advantages)",
    )
    mine = own_loss(OwnFunction(path="mine.py:f"))
    mask = torch.tensor([[False, True, True], [False, True, False]])
    leaf = torch.tensor([[0.0, -0.5, -2.0], [0.0, -0.1, float("nan")]])
    old = torch.tensor([[0.0, -1.0, -1.0], [0.0, -0.3, float("inf")]])
    found = []
    for loss, params in ((mine, {}), ("ppo_clip", {"clip_low": 0.1, "clip_high": 0.4})):
        logprobs = leaf.clone().requires_grad_()
        out = policy_loss(
            loss=loss,
            loss_params=params,
            ratio="token",
            logprobs=logprobs,
            old_logprobs=old,
            advantages=torch.tensor([1.0, -1.0]),
            completion_mask=mask,
        )
        (grad,) = torch.autograd.grad(torch.where(mask, out.loss, 0.0).sum(), logprobs)
        found.append((torch.where(mask, out.loss, 0.0), grad))
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])
    # e^.5 is clipped to 1.4; e^-1 stays; e^.2 with A = -1 stays
    assert found[0][0][0, 1].item() == pytest.approx(-1.4)
    assert ppo_clip.__name__ == "ppo_clip" and found[0][1].isfinite().all()


def test_rows_without_an_advantage_reach_a_loss_of_ones_own() -> None:
    """Ours leave them out, since they have no gradient; an own loss may have one."""
    config = own("loss", "return -logprobs", "objective.kl.coef=0")
    groups = [group("a", [1], [[2], [3]], [1.0, 1.0])]
    batch = build_batch(groups, config.objective)
    assert active_rows(batch, config.objective).tolist() == [0, 1]
    assert active_rows(batch, configure("objective.kl.coef=0").objective).tolist() == []


def test_the_metrics_have_the_mean_of_ones_own_reward() -> None:
    from dataclasses import replace

    groups = [replace(group("a", [1], [[2], [3]], [1.0, 0.0]), own_rewards=(0.5, 0.25))]
    assert rollout_metrics(groups)["reward_custom"] == 0.375
    assert "reward_custom" not in rollout_metrics([group("a", [1], [[2]], [1.0])])
