"""Pages of the GPU's cache: worked by hand, and at random."""

from __future__ import annotations

import random

from harness.model.chunks import PAGE
from harness.rollout.gpu.pages import Moves, Pages, pages_of

STEPS = 16


def test_pages_follow_the_tokens() -> None:
    assert [pages_of(n) for n in (0, 1, PAGE, PAGE + 1)] == [0, 1, 1, 2]
    pages = Pages(4)
    pages.cover(0, PAGE)
    pages.cover(1, 2 * PAGE)
    assert pages.held == {0: [1], 1: [2, 3]} and pages.free == [4]
    pages.cover(0, PAGE)  # nothing is missing
    pages.cover(0, PAGE + 1)
    assert pages.held[0] == [1, 4] and pages.free == []
    pages.release(1)
    assert pages.held == {0: [1, 4]} and sorted(pages.free) == [2, 3]


def test_the_shortest_waits_and_the_longest_goes_on() -> None:
    pages = Pages(5)
    for slot, columns in {0: 2 * PAGE, 1: PAGE, 2: 2 * PAGE}.items():
        pages.cover(slot, columns)
    # Slot 2 needs a third page and none is free. Slot 1 is the shortest: its page goes to slot 2.
    moves = pages.plan({0: 2 * PAGE, 1: PAGE, 2: 2 * PAGE + 1})
    assert moves == Moves(out={1: [3]})
    assert pages.held == {0: [1, 2], 2: [4, 5, 3]} and pages.paused == {1: 1}
    # Slot 0 ends. Two pages are free; slot 1 would take one and leave two slots one to grow into: too few.
    pages.release(0)
    assert pages.plan({1: PAGE, 2: 2 * PAGE + 1}) == Moves()
    assert pages.room([1], STEPS) == 0  # nobody new before those that wait
    # Slot 2 ends. Nothing else runs.
    pages.release(2)
    moves = pages.plan({1: PAGE})
    assert list(moves.back) == [1] and len(pages.held[1]) == 1 and pages.paused == {}


def test_room_leaves_every_slot_a_page_to_grow_into() -> None:
    pages = Pages(7)
    assert pages.room([], STEPS) == 0
    # One page each and one to grow into: three slots take 6 of 7; a fourth would make it 8.
    assert pages.room([PAGE - STEPS] * 5, STEPS) == 3
    assert pages.room([PAGE - STEPS + 1] * 5, STEPS) == 2  # two pages each: 2 × 3 of 7
    assert pages.room([7 * PAGE], STEPS) == 1  # nothing runs: it may try
    pages.cover(0, PAGE)
    assert pages.room([PAGE - STEPS] * 5, STEPS) == 2  # 6 free: (1 + 1) × 2, and slot 0's own


def test_any_history_keeps_the_books() -> None:
    """Slots grow, end and start at random: no page has two holders, none is lost, and the longest runs."""
    rng = random.Random(0)
    for _ in range(150):
        num_pages = rng.randint(4, 30)
        pages, lengths = Pages(num_pages), dict[int, int]()
        for _ in range(60):
            for slot in [s for s in lengths if s in pages.held]:
                lengths[slot] = min(lengths[slot] + rng.randint(1, STEPS), num_pages * PAGE)
            for slot in [s for s in lengths if s in pages.held and rng.random() < 0.05]:
                del lengths[slot]
                pages.release(slot)
            vacant = [s for s in range(10) if s not in lengths]
            prompts = [rng.randint(1, 2 * PAGE) for _ in vacant]
            for slot, length in zip(vacant, prompts[: pages.room(prompts, STEPS)], strict=False):
                lengths[slot] = length
                pages.cover(slot, length)
            before = {slot: list(held) for slot, held in pages.held.items()}
            moves = pages.plan(lengths)
            held = [page for some in pages.held.values() for page in some]
            assert sorted([*held, *pages.free]) == list(range(1, num_pages + 1))
            assert lengths.keys() == pages.held.keys() | pages.paused.keys()
            assert not pages.held.keys() & pages.paused.keys()
            for slot, some in pages.held.items():
                assert len(some) >= pages_of(lengths[slot])
                if slot in before:  # a page that holds tokens is never taken from a slot that goes on
                    assert some[: len(before[slot])] == before[slot]
            assert all(before[slot] == some for slot, some in moves.out.items())
            if lengths:
                assert max(lengths, key=lambda s: (lengths[s], -s)) in pages.held
