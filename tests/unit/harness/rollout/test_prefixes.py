"""Keys and values that are kept from call to call: what is found, and that samples go on from it alike."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from harness.rollout import columns
from harness.rollout.native import NativeEngine
from harness.rollout.prefixes import NOWHERE, ROOT, Prefixes
from harness.rollout.scheduler import Scheduler
from harness.types import Prompt, Rollout, SamplingParams
from tests.unit.harness.model.test_policy import DIMS, LLAMA, random_policy

EOS = (3, 11)
PARAMS = SamplingParams(max_new_tokens=16, temperature=1.5, logprobs=True)


def bound(max_bytes: int) -> Prefixes:
    """For caches [L, rows, KV, columns, Dh] of one layer and head and two numbers: 16 bytes a token."""
    kept = Prefixes(max_bytes)
    slots: Any = SimpleNamespace(keys=torch.zeros(1, 4, 1, 8, 2))
    kept.bind(slots)
    return kept


def test_sequences_share_their_beginnings() -> None:
    kept = bound(1 << 20)
    assert kept.enter(ROOT, [7, 8]) == (2, [0, 1])
    assert kept.enter(ROOT, [7, 9, 8]) == (
        4,
        [1, 2],
    )  # 7 is there; the 8 after 9 is another than that after 7
    assert kept.enter(2, [5]) == (5, [0])
    for ids, places in (([], []), ([7], [1]), ([7, 8, 5], [1, 2, 5]), ([7, 9, 8], [1, 3, 4])):
        assert kept.find(ids) == places
    assert kept.find([8]) is None and kept.find([7, 9, 5]) is None
    numbers = torch.arange(10.0).view(5, 1, 1, 2)  # [M, L, KV, Dh]
    kept.append(numbers[:2], -numbers[:2])
    kept.append(numbers[2:], -numbers[2:])
    assert torch.equal(kept.keys[[1, 2, 5]], numbers[[0, 1, 4]])
    assert torch.equal(kept.values[[3, 4]], -numbers[[2, 3]])
    assert not kept.keys[0].any()  # what stands before a sequence


def test_nothing_is_entered_without_room() -> None:
    kept = bound(4 * 16)  # places 0 to 3
    assert kept.enter(ROOT, [7, 8, 9, 6]) == (NOWHERE, [0, 1, 2])
    assert kept.enter(NOWHERE, [6]) == (NOWHERE, [])
    assert kept.enter(ROOT, [7, 8]) == (2, [])  # what is there is found
    assert kept.enter(ROOT, [5]) == (NOWHERE, [])
    assert kept.find([7, 8, 9]) == [1, 2, 3] and kept.find([7, 8, 9, 6]) is None


def engine(size: int = 64, name: str = "llama") -> NativeEngine:
    policy = random_policy(DIMS[name])
    return NativeEngine(policy, eos_token_ids=EOS, decode=str, max_batch_size=size)


def prompt(ids: Sequence[int]) -> Prompt:
    return Prompt(" ".join(map(str, ids)), "t", "", tuple(ids))


PROMPTS = [prompt(range(20, 21 + i)) for i in range(9)]  # the first has one token


def follow_ups(first: Sequence[Rollout]) -> list[Prompt]:
    """Every prompt alone, and with a third, a half and all of its sample, the end token apart."""
    found = []
    for before, rollout in zip(PROMPTS, first, strict=True):
        ids = [i for i in rollout.completion_ids if i not in EOS]
        found += [prompt((*before.token_ids, *ids[: len(ids) * part // 6])) for part in (0, 2, 3, 6)]
    return found


def prefilled(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Every prompt that is prefilled from now on."""
    seen: list[tuple[int, ...]] = []
    original = Scheduler._prefill

    def noted(self: Scheduler, prompts: list[tuple[int, ...]], members: list[list[int]]) -> Any:
        seen.extend(prompts)
        return original(self, prompts, members)

    monkeypatch.setattr(Scheduler, "_prefill", noted)
    return seen


def same(found: Sequence[Rollout], expected: Sequence[Rollout]) -> None:
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.completion_ids == theirs.completion_ids and mine.finish_reason == theirs.finish_reason
        assert mine.sampler_logprobs == pytest.approx(theirs.sampler_logprobs, abs=1e-4)


@pytest.mark.parametrize("size", [64, 5])
@pytest.mark.parametrize("name", DIMS)
def test_samples_go_on_from_kept_prefixes_as_from_prefilled_ones(
    name: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All rows at once, and few that are refilled; a third call goes on from what the second one sampled."""
    alone = engine(name=name)
    seen = prefilled(monkeypatch)
    mine = engine(size, name)
    with mine.keeping_prefixes():
        first = mine.generate(PROMPTS, params=PARAMS, seeds=range(9))
        assert set(seen) <= {p.token_ids for p in PROMPTS}
        seen.clear()
        asked = follow_ups(first)
        limits = [1 + i % 16 for i in range(36)]
        second = mine.generate(asked, params=PARAMS, seeds=range(100, 136), limits=limits)
        on = [prompt((*p.token_ids, *r.completion_ids)) for p, r in zip(asked, second, strict=True)]
        third = mine.generate(on, params=PARAMS, seeds=range(200, 236))
        assert seen == []
    lengths = {len(r.completion_ids) for r in second}
    assert len(lengths) > 5 and 1 in lengths and {r.finish_reason for r in second} == {"stop", "length"}
    same(second, alone.generate(asked, params=PARAMS, seeds=range(100, 136), limits=limits))
    same(third, alone.generate(on, params=PARAMS, seeds=range(200, 236)))


def test_a_prompt_that_is_not_kept_is_prefilled_beside_those_that_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mine, seen = engine(), prefilled(monkeypatch)
    new = [prompt((50, 51)), prompt((*PROMPTS[3].token_ids, 50, 51))]
    with mine.keeping_prefixes():
        mine.generate(PROMPTS, params=PARAMS, seeds=range(9))
        seen.clear()
        found = mine.generate([*new, *PROMPTS], params=PARAMS, seeds=range(30, 41))
        assert seen == [p.token_ids for p in new]
    same(found, engine().generate([*new, *PROMPTS], params=PARAMS, seeds=range(30, 41)))


def test_what_there_was_no_room_for_is_prefilled(monkeypatch: pytest.MonkeyPatch) -> None:
    mine, seen = engine(), prefilled(monkeypatch)
    with mine.keeping_prefixes():
        mine._kept = Prefixes(40 * 2 * 2 * 2 * 8 * 4)  # keys and values of 2 layers, 2 heads of 8, float32
        first = mine.generate(PROMPTS, params=PARAMS, seeds=range(9))
        asked = follow_ups(first)
        seen.clear()
        found = mine.generate(asked, params=PARAMS, seeds=range(100, 136))
        assert len(mine._kept.places) == 39  # and the place before a sequence
        assert 0 < len(set(seen)) < len({p.token_ids for p in asked})
    same(found, engine().generate(asked, params=PARAMS, seeds=range(100, 136)))


def test_nothing_is_kept_once_the_weights_may_change(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = engine()
    with mine.keeping_prefixes():
        mine.generate(PROMPTS, params=PARAMS, seeds=range(9))
    mine.load_weights(random_policy(LLAMA, seed=5).state_dict().items())
    fresh = engine()
    fresh.load_weights(random_policy(LLAMA, seed=5).state_dict().items())
    expected = fresh.generate(PROMPTS, params=PARAMS, seeds=range(9))
    fewer = fresh.generate(PROMPTS[1:], params=PARAMS, seeds=range(1, 9))  # they round otherwise
    with mine.keeping_prefixes():  # nor what an earlier one has left
        assert mine.generate(PROMPTS[1:], params=PARAMS, seeds=range(1, 9)) == fewer
    assert mine.generate(PROMPTS, params=PARAMS, seeds=range(9)) == expected


def test_looks_every_few_steps_keep_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows run on past their end until the next look; what they computed there is not kept."""
    monkeypatch.setitem(columns.STEPS_BETWEEN_CHECKS, "cpu", 8)
    mine = engine(5)
    with mine.keeping_prefixes():
        asked = follow_ups(mine.generate(PROMPTS, params=PARAMS, seeds=range(9)))
        found = mine.generate(asked, params=PARAMS, seeds=range(100, 136))
    same(found, engine().generate(asked, params=PARAMS, seeds=range(100, 136)))
