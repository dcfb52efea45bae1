from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.training.batching import make_batch, microbatches, minibatches, take, work
from harness.types import Batch, FinishReason, Grade, Problem, Prompt, Rollout, ScoredGroup


def rollout(
    ids: tuple[int, ...], *, problem: str = "p", sample: int = 0, finish: FinishReason = "stop"
) -> Rollout:
    return Rollout(problem, sample, ids, "text", tuple(-0.5 * (i + 1) for i in range(len(ids))), finish)


def group(
    *completions: tuple[int, ...], problem: str = "p", prompt: tuple[int, ...] = (7, 3, 7)
) -> ScoredGroup:
    rollouts = tuple(rollout(ids, problem=problem, sample=i) for i, ids in enumerate(completions))
    return ScoredGroup(
        Problem(problem, "d", "train", "2+2", "4"),
        Prompt(problem, "question", "2+2", prompt),
        rollouts,
        tuple(Grade(True, "4", "") for _ in rollouts),
        tuple(1.0 for _ in rollouts),
    )


def lengths_batch(lengths: list[int]) -> Batch:
    """One-token prompts; rows 2k and 2k + 1 share a group."""
    return make_batch(
        [
            group(*(tuple(range(1, n)) for n in lengths[i : i + 2]), prompt=(9,))
            for i in range(0, len(lengths), 2)
        ],
        pad_id=0,
    )


def test_make_batch_is_the_worked_example_of_types() -> None:
    batch = make_batch([group((4, 1), (5, 9, 1))], pad_id=0)
    assert batch.input_ids.tolist() == [[7, 3, 7, 4, 1, 0], [7, 3, 7, 5, 9, 1]]
    assert batch.completion_mask.long().tolist() == [[0, 0, 0, 1, 1, 0], [0, 0, 0, 1, 1, 1]]
    assert batch.sampler_logprobs.tolist() == [[0, 0, 0, -0.5, -1.0, 0], [0, 0, 0, -0.5, -1.0, -1.5]]
    assert batch.lengths.tolist() == [5, 6]
    assert not batch.old_logprobs.any() and not batch.advantages.any()


def test_group_ids_are_of_groups_not_of_problems() -> None:
    batch = make_batch([group((1,), (2,)), group((3,)), group((4,), (5,), problem="q")], pad_id=0)
    assert batch.group_ids.tolist() == [0, 0, 1, 2, 2]


def test_a_masked_truncated_row_keeps_its_place() -> None:
    plain = group((4, 1), (5, 9))
    cut = replace(plain, rollouts=(plain.rollouts[0], rollout((5, 9), sample=1, finish="length")))
    batch = make_batch([cut], pad_id=0, mask_truncated=True)
    assert batch.completion_mask.sum(1).tolist() == [2, 0]
    assert batch.sampler_logprobs[1].tolist() == [0.0] * 5
    assert batch.lengths.tolist() == [5, 5]
    assert make_batch([cut], pad_id=0).completion_mask.sum(1).tolist() == [2, 2]


def test_bad_rollouts_are_named() -> None:
    one, two = group((4, 1)), group((5, 9))
    without = replace(two, rollouts=(replace(two.rollouts[0], sampler_logprobs=None),))
    with pytest.raises(ValueError, match="present in 1 of 2 rollouts; give all or none"):
        make_batch([one, without], pad_id=0)
    assert not make_batch([without], pad_id=0).sampler_logprobs.any()
    short = replace(two, rollouts=(replace(two.rollouts[0], sampler_logprobs=(-1.0,)),))
    with pytest.raises(ValueError, match="1 for 2 tokens of problem p sample 0"):
        make_batch([short], pad_id=0)
    with pytest.raises(ValueError, match="no rollouts"):
        make_batch([], pad_id=0)


def test_take_cuts_to_the_longest_row_taken() -> None:
    batch = lengths_batch([3, 6, 2, 5])
    part = take(batch, torch.tensor([2, 0]))
    assert part.input_ids.tolist() == [[9, 1, 0], [9, 1, 2]]
    assert part.group_ids.tolist() == [1, 0]
    assert part.ref_logprobs is None
    batch = replace(batch, values=batch.sampler_logprobs + 1)
    assert take(batch, torch.tensor([3])).values.shape == (1, 5)


sizes = st.lists(st.integers(2, 12), min_size=2, max_size=16).filter(lambda x: len(x) % 2 == 0)


@settings(max_examples=60, deadline=None)
@given(lengths=sizes, budget=st.integers(1, 60))
def test_microbatches_partition_within_the_budget(lengths: list[int], budget: int) -> None:
    batch = lengths_batch(lengths)
    parts = microbatches(batch, token_budget=budget)
    assert sorted(torch.cat(parts).tolist()) == list(range(len(lengths)))
    for part in parts:
        assert len(part) == 1 or len(part) * int(batch.lengths[part].max()) <= budget
    assert [lengths[i] for i in torch.cat(parts)] == sorted(lengths, reverse=True)


@settings(max_examples=40, deadline=None)
@given(lengths=sizes, data=st.data())
def test_minibatches_partition_and_keep_groups_whole(lengths: list[int], data: st.DataObject) -> None:
    batch = lengths_batch(lengths)
    num = data.draw(st.integers(1, len(lengths) // 2))
    seed = data.draw(st.integers(0, 9))
    parts = minibatches(batch, num=num, unit="group", generator=torch.Generator().manual_seed(seed))
    again = minibatches(batch, num=num, unit="group", generator=torch.Generator().manual_seed(seed))
    assert [p.tolist() for p in parts] == [p.tolist() for p in again]
    assert sorted(torch.cat(parts).tolist()) == list(range(len(lengths)))
    seen = [set(batch.group_ids[p].tolist()) for p in parts]
    assert sum(len(s) for s in seen) == len(set().union(*seen))
    assert max(len(s) for s in seen) - min(len(s) for s in seen) <= 1


def test_minibatches_by_row_and_their_limit() -> None:
    batch = lengths_batch([3, 3, 3, 3])
    in_order = minibatches(batch, num=4, unit="row", generator=None)
    assert [p.tolist() for p in in_order] == [[0], [1], [2], [3]]
    with pytest.raises(ValueError, match="num_minibatches: must be 1 to 2"):
        minibatches(batch, num=3, unit="group", generator=None)


def test_microbatches_without_padding_keep_prompts_together_and_count_them_once() -> None:
    # Prompts of 3; a's rows have 7, 4 and 5 tokens, b's 9 and 4, c's 8.
    made = [
        group(*(tuple(range(n - 3)) for n in lengths), problem=name, prompt=(7, 3, i))
        for i, (name, lengths) in enumerate({"a": (7, 4, 5), "b": (9, 4), "c": (8,)}.items())
    ]
    batch = make_batch(made, pad_id=0)
    assert batch.prompt_ids.tolist() == [0, 0, 0, 1, 1, 2] and batch.prompt_lengths.tolist() == [3] * 6

    def parts(budget: int) -> list[list[int]]:
        return [x.tolist() for x in microbatches(batch, token_budget=budget, padded=False)]

    # b: 9 + 1 = 10; c: 8; a: 7 + 2 + 1 = 10.
    assert parts(28) == [[3, 4, 5, 0, 2, 1]]
    assert parts(27) == [[3, 4, 5, 0, 2], [1]]
    assert parts(10) == [[3, 4], [5], [0, 2, 1]]
    assert parts(9) == [[3], [4], [5], [0, 2], [1]]  # 1 is alone, with its prompt again: 4 tokens
    # Padded: by length, rows × longest.
    padded = microbatches(batch, token_budget=16)
    assert [x.tolist() for x in padded] == [[3], [5, 0], [2, 1, 4]]
    assert work(batch, torch.tensor([3, 4, 0])) == {
        "tokens": 9 + 1 + 7,
        "predicted": 6 + 1 + 4,
        "pairs": 9 * 10 / 2 + 4 + 7 * 8 / 2,
    }


def test_padded_microbatches_keep_prompts_together_where_that_costs_less() -> None:
    # Two prompts of 6, each with rows of 8 and 7 tokens, two rows a microbatch. By length 8 + 8 and 7 + 7 are
    # computed and padding has no part: 30 + 30 / 3. By prompt 8 + 1 twice, padded to 16: 18 + 32 / 3.
    long = [group((1, 2), (3,), problem=name, prompt=(7, 3, 1, 1, 1, i)) for i, name in enumerate("ab")]
    assert [x.tolist() for x in microbatches(make_batch(long, pad_id=0), token_budget=16)] == [[0, 1], [2, 3]]
    # Prompts of 1, rows of 8 and 2: by length 16 + 4 are computed, 20 + 20 / 3; by prompt 9 + 9, 18 + 32 / 3.
    short = [group((1,) * 7, (3,), problem=name, prompt=(i,)) for i, name in enumerate("ab")]
    assert [x.tolist() for x in microbatches(make_batch(short, pad_id=0), token_budget=16)] == [
        [0, 2],
        [1, 3],
    ]


def test_groups_with_one_prompt_share_it() -> None:
    batch = make_batch([group((4,)), group((5, 6)), group((4,), prompt=(7, 3))], pad_id=0)
    assert batch.group_ids.tolist() == [0, 1, 2] and batch.prompt_ids.tolist() == [0, 0, 1]
