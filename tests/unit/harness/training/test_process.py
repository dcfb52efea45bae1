"""Process supervision: where a step's reward stands, and the advantages of a group by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from harness.model.files.tokenizer import EOS_ID, build_ladder_tokenizer
from harness.training.advantages import build_batch
from harness.training.experience import score, select
from harness.training.rollout_metrics import rollout_metrics
from harness.training.step_rewards import step_rewards
from harness.types import Rollout, ScoredGroup
from tests.unit.harness.tiny import configure, group, run_on_untrained_base
from tests.unit.harness.training.one_step import (
    MIXED,
    ONE_STEP,
    close,
    gradient,
    logprobs_of,
    policy,
    stepped,
)

PROCESS = ("objective=grpo_process", "objective.kl.coef=0", *ONE_STEP)
TOKENIZER = build_ladder_tokenizer()


def decode(ids: object) -> str:
    return str(TOKENIZER.decode(list(ids), skip_special_tokens=True))


def rollout(text: str) -> Rollout:
    ids = (*TOKENIZER.encode(text).ids, EOS_ID)
    return Rollout("p", 0, ids, text, (-1.0,) * len(ids), "stop")


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("2+3=5\n5*2=11\n\\boxed{11}", [("2+3=5", 0.5), ("2+3=5\n5*2=11", 0.0)]),
        ("12*12=144, so \\boxed{144}", [("12*12=144", 0.5)]),
        ("\\boxed{144}", []),
    ],
)
def test_a_reward_stands_at_the_token_that_ends_its_step(text: str, ends: list[tuple[str, float]]) -> None:
    made = rollout(text)
    found = step_rewards(made, decode=decode, weight=0.5)
    assert [reward for _, reward in found] == [reward for _, reward in ends]
    for (place, _), (until, _) in zip(found, ends, strict=True):
        assert decode(made.completion_ids[: place + 1]).startswith(until)
        assert not decode(made.completion_ids[:place]).startswith(until)


# MIXED: completions of 2, 4 and 3 tokens after prompts of 2, rewards 1, 0, 0. Steps: one right at the first
# token of row 0; one wrong and one right in row 1; none in row 2.
STEPS = (((0, 1.0),), ((0, 0.0), (2, 1.0)), ())
GROUP = replace(MIXED, step_rewards=STEPS)


def advantages(group: ScoredGroup, *lines: str) -> list[list[float]]:
    batch = build_batch([group], configure(*PROCESS, *lines).objective)
    assert not batch.advantages[~batch.completion_mask].any()
    lengths = [len(r.completion_ids) for r in group.rollouts]
    return [batch.advantages[row, 2 : 2 + n].tolist() for row, n in enumerate(lengths)]


def test_advantages_sum_what_is_still_to_come() -> None:
    # With the answers as last steps: (1, 1), (0, 1, 0), (0): mean 1/2, sample std sqrt(6/4 / 5) = sqrt(0.3).
    # Normalised a = 0.5 / sqrt(0.3) for 1 and -a for 0.
    a = 0.5 / 0.3**0.5
    found = advantages(GROUP)
    assert found[0] == pytest.approx([2 * a, a], abs=1e-4)
    assert found[1] == pytest.approx([-a, 0, 0, -a], abs=1e-4)
    assert found[2] == pytest.approx([-a, -a, -a], abs=1e-4)


def test_without_an_outcome_reward_the_steps_count_alone() -> None:
    # (1), (0, 1), none: mean 2/3, sample std sqrt((1 + 4 + 1) / 9 / 2) = 1 / sqrt(3).
    up, down = 1 / 3**0.5, -2 / 3**0.5
    found = advantages(GROUP, "objective.reward.accuracy=0")
    assert found[0] == pytest.approx([up, 0], abs=1e-4)
    assert found[1] == pytest.approx([up + down, up, up, 0], abs=1e-4)
    assert found[2] == [0.0, 0.0, 0.0]


def test_equal_steps_give_exactly_nothing() -> None:
    same = replace(MIXED, rewards=(1.2,) * 3, step_rewards=(((0, 1.2),), ((1, 1.2),), ()))
    assert advantages(same) == [[0.0] * 2, [0.0] * 4, [0.0] * 3]


def test_a_step_weighs_each_token_by_its_own_advantage() -> None:
    found, _ = stepped(configure(*PROCESS), [GROUP])
    model, loss, a = policy(), torch.zeros(()), 0.5 / 0.3**0.5
    rows = ([2 * a, a], [-a, 0, 0, -a], [-a, -a, -a])
    for each, values in zip(GROUP.rollouts, rows, strict=True):
        loss = loss - (torch.tensor(values) * logprobs_of(model, (7, 3), each.completion_ids)).mean() / 3
    close(found, gradient(loss, model))


def test_microbatches_do_not_change_the_step() -> None:
    whole, _ = stepped(configure(*PROCESS), [GROUP, GROUP])
    split, _ = stepped(configure(*PROCESS, "trainer.microbatch_tokens=1"), [GROUP, GROUP])
    close(split, whole)


def test_scoring_puts_them_into_the_group_and_dropping_takes_them_out(tmp_path: Path) -> None:
    run = run_on_untrained_base(tmp_path, *PROCESS, "objective.truncated=drop", "objective.reward.steps=2")
    problem = run.problems[0]
    texts = ("1+1=2 \\boxed{2}", "1+1=3 2+2=4", "no", "3*3=9")
    rollouts = [replace(rollout(t), problem_id=problem.id) for t in texts]
    rollouts[1] = replace(rollouts[1], finish_reason="length")
    groups = score(run, [problem], rollouts)
    assert groups[0].step_rewards is not None
    assert [[x for _, x in of] for of in groups[0].step_rewards] == [[2.0], [0.0, 2.0], [], [2.0]]
    assert rollout_metrics(groups)["right_steps"] == 3 / 4
    (kept,) = select(groups, run.config.objective)
    assert kept.step_rewards == (groups[0].step_rewards[0], (), groups[0].step_rewards[3])


def test_two_steps_that_end_at_one_token_are_normalised_apart() -> None:
    # Outputs of two tokens. Row 0 ends with a right statement and a right answer, both at token 1; row 1 has
    # a wrong answer there; row 2 a right statement at token 0 and a wrong answer at token 1. Five steps,
    # 1 1 | 0 | 1 0: mean .6, squares 3 × .16 + 2 × .36 = 1.2, sample std sqrt(1.2 / 4) = .547723, so
    # .730297 for 1 and -1.095445 for 0. Added up beforehand, 2 | 0 | 1 0, they would have mean .75.
    made = group("p", [7], [[4, 5], [5, 5], [6, 5]], [1.0, 0.0, 0.0])
    made = replace(made, step_rewards=(((1, 1.0),), (), ((0, 1.0),)))
    found = build_batch([made], configure(*PROCESS).objective).advantages[:, 1:]
    up, down = 0.730297, -1.095445
    expected = [[2 * up, 2 * up], [down, down], [up + down, down]]
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-5, rtol=0)


def test_rewards_of_steps_that_share_a_token_follow_the_mean_of_all_steps() -> None:
    # Outputs of one token: a statement worth .5 and the answer's 1 at it, 1, and 0. Four steps .5 1 1 0: mean
    # .625, squares .015625 + 2 × .140625 + .390625 = .6875, / 3: std .478714. -.261116 + .783349 = .522233.
    made = group("p", [7], [[4], [5], [6]], [1.0, 1.0, 0.0])
    made = replace(made, step_rewards=(((0, 0.5),), (), ()))
    advantages = build_batch([made], configure(*PROCESS).objective).advantages
    assert advantages[:, 1].tolist() == pytest.approx([0.522233, 0.783349, -1.305582], abs=1e-5)
