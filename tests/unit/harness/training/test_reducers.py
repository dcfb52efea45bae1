"""The denominators of a whole update, by hand."""

from __future__ import annotations

import pytest
import torch

from tests.unit.harness.tiny import configure
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


@pytest.mark.parametrize(
    ("objective", "over", "factor"),
    [
        # Rows: MIXED 3, EQUAL 3, WRONG 3. GRPO's advantage is positive in 1 row, not 0 in 3.
        ("grpo", "accepted", 9 / 1),
        ("grpo", "nonzero", 9 / 3),
        # Accepted: 1 + 3 of 9, and its advantage is 1 or 0.
        ("sft_rejection", "accepted", 9 / 4),
        ("sft_rejection", "nonzero", 9 / 4),
    ],
)
def test_reduce_over_is_a_factor(objective: str, over: str, factor: float) -> None:
    lines = (f"objective={objective}", "objective.reduce=sequence_mean", NO_KL, *ONE_STEP)
    groups = [MIXED, EQUAL, WRONG]
    everything, _ = stepped(configure(*lines, "objective.reduce_over=all"), groups)
    found, _ = stepped(configure(*lines, f"objective.reduce_over={over}"), groups)
    close(found, factor * everything)


@pytest.mark.parametrize(
    ("reduce", "divisor"),
    # MIXED's completions have 2 + 4 + 3 = 9 tokens; 3 rows; rollout.max_new_tokens is 24 in smoke.
    [("token_mean", 9), ("sequence_sum", 3), ("constant", 3 * 24)],
)
def test_the_other_reducers_divide_the_sum_over_tokens(reduce: str, divisor: int) -> None:
    found, _ = stepped(configure(NO_KL, f"objective.reduce={reduce}", *ONE_STEP), [MIXED])
    model = policy()
    loss = torch.zeros(())
    for rollout, advantage in zip(MIXED.rollouts, (2 / 3**0.5, -1 / 3**0.5, -1 / 3**0.5), strict=True):
        loss = loss - advantage * logprobs_of(model, (7, 3), rollout.completion_ids).sum() / divisor
    close(found, gradient(loss, model))


def test_rows_without_advantage_add_nothing_but_count() -> None:
    config = configure(NO_KL, *ONE_STEP)
    alone, _ = stepped(config, [MIXED])
    beside, _ = stepped(config, [MIXED, EQUAL, WRONG])
    close(3 * beside, alone)  # 3 rows of 9
