"""What marks a run whose numbers may mean nothing."""

from __future__ import annotations

import pytest

from harness.launch.bookkeeping import dead_flags

GOOD = {"step": 1, "zero_variance_groups": 0.5, "truncated": 0.5, "updates": 2.0, "skipped_updates": 0.0}


@pytest.mark.parametrize(
    ("rows", "flags"),
    [
        ([GOOD, GOOD], []),
        ([], []),
        ([{**GOOD, "zero_variance_groups": 1.0}] * 2, ["no_reward_variance"]),
        ([{**GOOD, "zero_variance_groups": 1.0}, GOOD], []),  # a dead step is no dead run
        ([{**GOOD, "truncated": 1.0}] * 2, ["all_truncated"]),
        ([{**GOOD, "truncated": 1.0}, GOOD], []),  # one step of truncated outputs is no truncated run
        ([{**GOOD, "updates": 0.0}, GOOD], []),
        ([GOOD, {**GOOD, "skipped_updates": 1.0}], ["non_finite_gradients"]),  # once is enough
        ([{**GOOD, "updates": 0.0}] * 2, ["no_updates"]),
        (
            [{**GOOD, "zero_variance_groups": 1.0, "truncated": 1.0, "updates": 0.0, "skipped_updates": 2.0}],
            ["no_reward_variance", "all_truncated", "non_finite_gradients", "no_updates"],
        ),
    ],
)
def test_dead_flags(rows: list[dict[str, float]], flags: list[str]) -> None:
    assert dead_flags(rows) == flags
