from __future__ import annotations

from math import sqrt

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.objectives.advantages import (
    ADVANTAGES,
    accepted_only,
    group_centered,
    group_normalized,
    max_rl,
    process_supervision,
    reinforce_pp,
    rloo,
    signed,
    top_entropy,
    weigh_signs,
)

PARAMS = {
    "accepted_only": {"threshold": 0.5},
    "signed": {"threshold": 0.5},
    "group_normalized": {"std": "sample", "eps": 1e-6},
    "pass_at_k": {"k": 2, "std": "population", "eps": 1e-6},
}
COMPARING = ["group_centered", "group_normalized", "rloo", "max_rl", "pass_at_k"]


def one_success_in(size: int) -> dict[str, torch.Tensor]:
    rewards = torch.zeros(size)
    rewards[0] = 1.0
    return {"rewards": rewards, "group_ids": torch.zeros(size, dtype=torch.long)}


def test_one_success_in_eight() -> None:
    # mean 1/8, sum of squares 7/8: sample std sqrt(1/8), population std sqrt(7)/8
    sample = group_normalized(**one_success_in(8), std="sample", eps=0.0)
    population = group_normalized(**one_success_in(8), std="population", eps=0.0)
    assert sample[0].item() == pytest.approx(7 / 8 * sqrt(8), rel=1e-6)  # 2.4749
    assert population[0].item() == pytest.approx(sqrt(7), rel=1e-6)  # 2.6458
    assert group_centered(**one_success_in(8))[0].item() == 7 / 8
    assert rloo(**one_success_in(8))[0].item() == 1.0  # the others' mean is 0
    assert max_rl(**one_success_in(8)).tolist() == [7.0] + [-1.0] * 7  # (1 - 1/8) / (1/8)


def test_a_reward_at_the_threshold_is_not_accepted() -> None:
    rewards, group_ids = torch.tensor([1.0, 0.5, 0.0]), torch.zeros(3, dtype=torch.long)
    assert accepted_only(rewards=rewards, group_ids=group_ids, threshold=0.5).tolist() == [1.0, 0.0, 0.0]
    assert signed(rewards=rewards, group_ids=group_ids, threshold=0.5).tolist() == [1.0, -1.0, -1.0]


def test_each_sign_has_its_weight() -> None:
    found = weigh_signs(torch.tensor([[2.0, 0.0], [-3.0, -1.0]]), positive=0.1, negative=2.0)
    torch.testing.assert_close(found, torch.tensor([[0.2, 0.0], [-6.0, -2.0]]))


def test_tokens_of_high_entropy_keep_their_advantages() -> None:
    # Five tokens inside, entropies 5, 4, 3, 3, 1; the 9s are padding. ceil(.3 x 5) = 2 tokens: 5 and 4.
    # ceil(.6 x 5) = 3: the entropy of rank 3 is 3, and both that have it stay.
    entropy = torch.tensor([[9.0, 3.0, 5.0], [4.0, 1.0, 3.0]])
    mask = torch.tensor([[0, 1, 1], [1, 1, 1]])
    advantages = torch.tensor([[0.0, 2.0, 2.0], [-1.0, -1.0, -1.0]])
    pair = {"entropy": entropy, "completion_mask": mask}
    assert top_entropy(advantages, share=0.3, **pair).tolist() == [[0.0, 0.0, 2.0], [-1.0, 0.0, 0.0]]
    assert top_entropy(advantages, share=0.6, **pair).tolist() == [[0.0, 2.0, 2.0], [-1.0, 0.0, -1.0]]
    assert torch.equal(top_entropy(advantages, share=1 - 1e-12, **pair), advantages)  # the limit: all of them
    least = top_entropy(advantages, share=1e-9, **pair)  # at least one
    assert least.tolist() == [[0.0, 0.0, 2.0], [0.0, 0.0, 0.0]]
    nothing = torch.zeros(2, 3, dtype=torch.long)
    assert torch.equal(
        top_entropy(advantages, share=0.5, entropy=entropy, completion_mask=nothing), advantages
    )


def test_eps_is_added_to_the_std() -> None:
    # Rewards 1, 0: centred ±1/2, population std 1/2: 1/2 / (1/2 + 1/2). Sample std 1/sqrt(2):
    # 1/2 / (1/2 + 1/sqrt(2)) = sqrt(2) - 1.
    pair = {"rewards": torch.tensor([1.0, 0.0]), "group_ids": torch.tensor([0, 0])}
    assert group_normalized(**pair, std="population", eps=0.5).tolist() == [0.5, -0.5]
    sample = group_normalized(**pair, std="sample", eps=0.5)
    torch.testing.assert_close(sample, torch.tensor([sqrt(2) - 1, 1 - sqrt(2)]))
    # Over the batch: two outputs of a token with 1 and 0, mean 1/2, population std 1/2.
    rewards, mask = torch.tensor([[1.0], [0.0]]), torch.ones(2, 1)
    assert reinforce_pp(token_rewards=rewards, completion_mask=mask, eps=0.5).tolist() == [[0.5], [-0.5]]


@pytest.mark.parametrize("name", COMPARING)
def test_equal_rewards_give_exactly_0(name: str) -> None:
    """The float32 mean of seven 1.2s is not 1.2: without the rule the residue over a tiny std is a signal."""
    rewards, group_ids = torch.full((7,), 1.2), torch.zeros(7, dtype=torch.long)
    params = PARAMS.get(name, {}) | ({"eps": 0.0} if name in PARAMS else {})
    advantages = ADVANTAGES[name](rewards=rewards, group_ids=group_ids, **params)
    assert advantages.tolist() == [0.0] * 7


@pytest.mark.parametrize("std", ["sample", "population"])
def test_a_group_of_one_is_an_error_for_a_std(std: str) -> None:
    pair = {"rewards": torch.tensor([1.0, 0.0, 1.0]), "group_ids": torch.tensor([0, 0, 1])}
    with pytest.raises(ValueError, match=r"group_size: 1 group\(s\) hold one sample"):
        group_normalized(**pair, std=std, eps=1e-6)
    with pytest.raises(ValueError, match="leave-one-out"):
        rloo(**pair)
    assert group_centered(**pair).tolist() == [0.5, -0.5, 0.0]


def test_max_rl_refuses_negative_rewards() -> None:
    with pytest.raises(ValueError, match="rewards must be >= 0, got -1"):
        max_rl(rewards=torch.tensor([1.0, -1.0]), group_ids=torch.tensor([0, 0]))
    assert max_rl(rewards=torch.zeros(2), group_ids=torch.tensor([0, 0])).tolist() == [0.0, 0.0]


def test_reinforce_pp_normalises_over_the_tokens_of_the_batch() -> None:
    # Groups (1, 1) and (0, 0): nothing to learn within one. Rewards to go 1, 1, 1 and 0: mean 3/4, population
    # variance 3/16, so 1/4 / (sqrt(3)/4) and -3/4 / (sqrt(3)/4). Over the two outputs it would be 1 and -1.
    rewards = torch.tensor([[0.0, 0.0, 1.0], [0.0, 99.0, 99.0]])
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]])
    advantages = reinforce_pp(token_rewards=rewards, completion_mask=mask, eps=0.0)
    root = sqrt(3)
    torch.testing.assert_close(advantages, torch.tensor([[1 / root] * 3, [-root, 0.0, 0.0]]))


def test_reinforce_pp_sums_token_rewards_to_come() -> None:
    # to go: row 0 (.5, 1), row 1 (0); mean .5, population variance (0 + .25 + .25) / 3 = 1/6
    rewards = torch.tensor([[-0.5, 1.0], [0.0, 99.0]])
    mask = torch.tensor([[1, 1], [1, 0]])
    advantages = reinforce_pp(token_rewards=rewards, completion_mask=mask, eps=0.0)
    root = sqrt(1.5)  # .5 / sqrt(1/6)
    torch.testing.assert_close(advantages, torch.tensor([[0.0, root], [-root, 0.0]]))


def test_process_sums_the_normalised_rewards_of_later_steps() -> None:
    # One group; steps 1 | 0 end at tokens 1, 3 of row 0 and at 0, 2 of row 1. Four step rewards: mean .5,
    # population std .5, normalised +1, -1. Row 0: +1 - 1 = 0 up to token 1, then -1. Row 1: 0, then -1.
    advantages = process_supervision(
        step_rewards=torch.tensor([1.0, 0.0, 1.0, 0.0]),
        step_rows=torch.tensor([0, 0, 1, 1]),
        step_ends=torch.tensor([1, 3, 0, 2]),
        completion_mask=torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]]),
        group_ids=torch.tensor([0, 0]),
        std="population",
        eps=0.0,
    )
    assert advantages.tolist() == [[0.0, 0.0, -1.0, -1.0], [0.0, -1.0, -1.0, 0.0]]


def test_process_with_one_step_each_is_outcome_supervision() -> None:
    rewards = torch.tensor([1.0, 0.0, 0.0, 1.0, 1.0, 0.0])
    ids = torch.tensor([0, 0, 0, 1, 1, 1])
    mask = torch.tensor([[1, 1], [1, 0], [1, 1], [1, 0], [1, 1], [1, 1]])
    outcome = group_normalized(rewards=rewards, group_ids=ids, std="sample", eps=1e-6)
    by_step = process_supervision(
        step_rewards=rewards,
        step_rows=torch.arange(6),
        step_ends=torch.tensor([1, 0, 1, 0, 1, 1]),
        completion_mask=mask,
        group_ids=ids,
        std="sample",
        eps=1e-6,
    )
    torch.testing.assert_close(by_step, outcome[:, None] * mask)


def test_process_a_group_with_one_step_gives_0_and_a_masked_output_is_still_compared_with() -> None:
    # Row 0's step is the only one of its group. Rows 1 and 2: 1 and 0, sample std 1 / sqrt(2).
    found = process_supervision(
        step_rewards=torch.tensor([1.0, 1.0, 0.0]),
        step_rows=torch.tensor([0, 1, 2]),
        step_ends=torch.tensor([0, 1, 1]),
        completion_mask=torch.tensor([[1, 1], [1, 1], [0, 0]]),
        group_ids=torch.tensor([0, 1, 1]),
        std="sample",
        eps=0.0,
    )
    torch.testing.assert_close(found, torch.tensor([[0.0, 0.0], [sqrt(0.5)] * 2, [0.0, 0.0]]))


groups = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 8)), min_size=1, max_size=24).filter(
    lambda rows: all(sum(g == h for h, _ in rows) >= 2 for g, _ in rows)
)


@settings(max_examples=60, deadline=None)
@given(rows=groups, name=st.sampled_from(sorted(ADVANTAGES)), data=st.data())
def test_advantages_follow_their_rows_and_ids_are_only_labels(
    rows: list[tuple[int, int]], name: str, data: st.DataObject
) -> None:
    group_ids = torch.tensor([g for g, _ in rows])
    rewards = torch.tensor([r / 4 for _, r in rows], dtype=torch.float64)
    advantages = ADVANTAGES[name](rewards=rewards, group_ids=group_ids, **PARAMS.get(name, {}))
    order = torch.tensor(data.draw(st.permutations(range(len(rows)))))
    shuffled = ADVANTAGES[name](
        rewards=rewards[order], group_ids=100 - 7 * group_ids[order], **PARAMS.get(name, {})
    )
    torch.testing.assert_close(shuffled, advantages[order], rtol=1e-9, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(rows=groups, name=st.sampled_from(COMPARING))
def test_advantages_sum_to_0_in_every_group_and_order_as_the_rewards(
    rows: list[tuple[int, int]], name: str
) -> None:
    group_ids = torch.tensor([g for g, _ in rows])
    rewards = torch.tensor([r / 4 for _, r in rows], dtype=torch.float64)
    advantages = ADVANTAGES[name](rewards=rewards, group_ids=group_ids, **PARAMS.get(name, {}))
    for g in group_ids.unique():
        inside, scores = advantages[group_ids == g], rewards[group_ids == g]
        assert inside.sum().abs() < 1e-9
        assert bool((inside[scores.argsort()].diff() > -1e-12).all())
