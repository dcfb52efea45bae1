from __future__ import annotations

from dataclasses import replace

import pytest

from harness.objectives.selection import accepted, drop_zero_variance, needs_refill, truncated
from harness.types import Grade, Problem, Prompt, Rollout, ScoredGroup


def group(*scored: tuple[tuple[int, ...], float], problem: str = "p") -> ScoredGroup:
    rollouts = tuple(Rollout(problem, i, ids, "", None, "stop") for i, (ids, _) in enumerate(scored))
    return ScoredGroup(
        Problem(problem, "d", "train", "", "4"),
        Prompt(problem, "question", "", (7,)),
        rollouts,
        tuple(Grade(reward > 0, None, "") for _, reward in scored),
        tuple(reward for _, reward in scored),
    )


def kept(groups: list[ScoredGroup]) -> list[list[int]]:
    return [[r.sample_idx for r in g.rollouts] for g in groups]


A, B, C = (1,), (2,), (3,)


def test_accepted_keeps_rewards_above_the_threshold_and_drops_empty_groups() -> None:
    groups = [group((A, 1.0), (B, 0.0), (C, 0.5)), group((A, 0.0), problem="q")]
    chosen = accepted(groups, threshold=0.0, cap_per_problem=None, dedupe=False)
    assert kept(chosen) == [[0, 2]]
    assert chosen[0].rewards == (1.0, 0.5) and len(chosen[0].grades) == 2
    assert kept(accepted(groups, threshold=0.5, cap_per_problem=None, dedupe=False)) == [[0]]


def test_dedupe_and_cap_count_over_all_groups_of_a_problem() -> None:
    groups = [group((A, 1.0), (A, 1.0), (B, 1.0)), group((A, 1.0), (C, 1.0)), group((A, 1.0), problem="q")]
    assert kept(accepted(groups, threshold=0.0, cap_per_problem=None, dedupe=True)) == [[0, 2], [1], [0]]
    assert kept(accepted(groups, threshold=0.0, cap_per_problem=2, dedupe=False)) == [[0, 1], [0]]
    # a repeat does not use up the cap
    assert kept(accepted(groups, threshold=0.0, cap_per_problem=2, dedupe=True)) == [[0, 2], [0]]


def test_zero_variance_is_of_rewards_not_of_01_scores() -> None:
    groups = [group((A, 1.2), (B, 1.2)), group((A, 1.0), (B, 0.9)), group((A, 0.0), (B, 0.0))]
    assert drop_zero_variance(groups) == [groups[1]]


def test_variance_by_accuracy_asks_for_right_and_wrong_answers() -> None:
    # Rewards of the first and the last differ by another term (a length penalty, say), their answers do not.
    groups = [group((A, 1.0), (B, 0.5)), group((A, 1.0), (B, 0.0)), group((A, 0.0), (B, -0.5))]
    assert drop_zero_variance(groups, by="accuracy") == [groups[1]]
    assert drop_zero_variance(groups, by="reward") == groups


@pytest.mark.parametrize(
    "kept, sampled, limit, expected",
    [
        (8, 8, 24, 0),  # enough
        (9, 20, 24, 0),
        (4, 8, 24, 8),  # half are kept: 4 missing take 8
        (6, 16, 24, 6),  # 2 missing at 6/16 take 5.33
        (0, 8, 24, 8),  # nothing kept: ask for all of it again
        (4, 20, 24, 4),  # 20 would be needed, 4 are left
        (4, 24, 24, 0),  # at the limit
        (0, 0, 24, 8),
    ],
)
def test_needs_refill(kept: int, sampled: int, limit: int, expected: int) -> None:
    assert needs_refill(num_kept=kept, num_wanted=8, num_sampled=sampled, max_sampled=limit) == expected


def test_what_truncated_outputs_get() -> None:
    plain = group((A, 1.0), (B, 1.0), (C, 0.0))
    cut = replace(
        plain, rollouts=(plain.rollouts[0], *(replace(r, finish_reason="length") for r in plain.rollouts[1:]))
    )
    for rule in ("keep", "mask"):
        assert truncated([cut], rule=rule, fail_reward=-1.0, min_group_size=2) == [cut]
    failed = truncated([cut], rule="fail", fail_reward=-1.0, min_group_size=2)
    assert failed[0].rewards == (1.0, -1.0, -1.0)
    assert truncated([cut], rule="drop", fail_reward=0.0, min_group_size=2) == []
    assert kept(truncated([cut], rule="drop", fail_reward=0.0, min_group_size=1)) == [[0]]
    with pytest.raises(ValueError, match="unknown rule 'skip'"):
        truncated([cut], rule="skip", fail_reward=0.0, min_group_size=1)
