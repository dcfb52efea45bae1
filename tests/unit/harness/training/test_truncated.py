"""Truncated outputs: masked, dropped or failed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from harness.training.experience import score, select
from harness.types import Rollout, ScoredGroup
from tests.unit.harness.tiny import configure, run_on_untrained_base
from tests.unit.harness.training.one_step import (
    EQUAL,
    MIXED,
    NO_KL,
    ONE_STEP,
    WRONG,
    close,
    gradient,
    logprobs_of,
    policy,
    stepped,
)


def cut(group: ScoredGroup, *indices: int) -> ScoredGroup:
    """Copy of a group with some outputs stopped by the length limit."""
    rollouts = tuple(
        replace(r, finish_reason="length") if i in indices else r for i, r in enumerate(group.rollouts)
    )
    return replace(group, rollouts=rollouts)


def test_masked_outputs_have_no_loss_but_count() -> None:
    # Row 1 leaves the loss; MIXED's advantages and the 3 rows of the denominator stay.
    config = configure(NO_KL, *ONE_STEP, "objective.truncated=mask")
    found, _ = stepped(config, [cut(MIXED, 1)])
    model = policy()
    loss = torch.zeros(())
    for i, advantage in ((0, 2 / 3**0.5), (2, -1 / 3**0.5)):
        loss = loss - advantage * logprobs_of(model, (7, 3), MIXED.rollouts[i].completion_ids).mean() / 3
    close(found, gradient(loss, model))


def test_dropped_outputs_leave_their_group() -> None:
    objective = configure("objective.truncated=drop").objective
    kept = select([cut(MIXED, 1), cut(EQUAL, 0, 1), cut(WRONG, 0, 1, 2)], objective)
    # MIXED keeps rows 0 and 2; EQUAL's last row has no group left to compare with.
    assert [g.rollouts for g in kept] == [(MIXED.rollouts[0], MIXED.rollouts[2])]
    alone = configure("objective=reinforce_pp", "objective.truncated=drop").objective
    assert [len(g.rollouts) for g in select([cut(MIXED, 1), cut(EQUAL, 0, 1)], alone)] == [2, 1]


def test_outputs_that_were_cut_fail(tmp_path: Path) -> None:
    run = run_on_untrained_base(tmp_path, "objective.truncated=fail", "objective.fail_reward=-0.5")
    problem = run.problems[0]
    right = Rollout(problem.id, 0, (4, 1), f"\\boxed{{{problem.answer}}}", (-1.0, -1.0), "stop")
    rollouts = [right, replace(right, finish_reason="length"), right, right]
    (group,) = score(run, [problem], rollouts)
    assert group.rewards == (1.0, -0.5, 1.0, 1.0) and all(g.correct for g in group.grades)
