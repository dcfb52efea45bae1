"""Pages of the key-value cache: which slot holds which, and which slots wait when they run out.

A page holds the keys and values of `PAGE` consecutive tokens of a sequence. A slot has as many as its tokens
need, and gets the next ones before the steps that write there. When none are left, the shortest slots are
paused: their pages are copied to the host's memory and given to the others, and copied back, to the bit, once
there is room. So a cache of any size that holds one longest sequence yields the same samples up to rounding:
a step of other rows sums in another order, unless the policy is exact. Plain Python.

    pages = Pages(num_pages=8)
    pages.cover(0, columns=70)         # slot 0 gets two pages for 70 tokens
    pages.plan({0: 86, 1: 40})         # slot 1 gets one; nobody has to move
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.model.chunks import PAGE

DUMMY_PAGE = 0  # what rows that only fill a graph read and write; no slot ever holds it


def pages_of(columns: int) -> int:
    """Pages that hold `columns` tokens."""
    return -(-columns // PAGE)


@dataclass(frozen=True, slots=True)
class Moves:
    """Slots that were paused and those that go on, each with its pages of before and of now, in order."""

    out: dict[int, list[int]] = field(default_factory=dict)
    back: dict[int, list[int]] = field(default_factory=dict)


class Pages:
    """Pages 1 to `num_pages` and their holders. `held` maps a slot to its pages, in the order of its tokens.

    `paused` maps a slot without pages to the number that it had.
    """

    def __init__(self, num_pages: int) -> None:
        self.num_pages = num_pages
        self.free = list(range(num_pages, DUMMY_PAGE, -1))  # taken from the end
        self.held: dict[int, list[int]] = {}
        self.paused: dict[int, int] = {}

    def missing(self, slot: int, columns: int) -> int:
        """Pages that a slot needs beside those it holds, for `columns` tokens."""
        return max(0, pages_of(columns) - len(self.held.get(slot, ())))

    def cover(self, slot: int, columns: int) -> None:
        """Give a slot the pages of its first `columns` tokens. There must be enough."""
        wanted = self.missing(slot, columns)
        assert wanted <= len(self.free), (slot, columns, len(self.free))
        self.held.setdefault(slot, []).extend(self.free.pop() for _ in range(wanted))

    def release(self, slot: int) -> None:
        """Take a slot's pages back: its sequence has ended."""
        self.free.extend(reversed(self.held.pop(slot, [])))
        self.paused.pop(slot, None)

    def room(self, lengths: Sequence[int], ahead: int) -> int:
        """Count how many of the next sequences, of so many tokens each, may start now.

        Each needs pages for its tokens and `ahead` more, and leaves every slot a page to grow into: else it
        would only push another out. None may while a slot is paused. Where nothing runs, one always may.
        """
        if self.paused:
            return 0
        left, running = len(self.free), len(self.held)
        for count, length in enumerate(lengths):
            left -= pages_of(length + ahead)
            if left < running + count + 1 and (running or count):
                return count
        return len(lengths)

    def plan(self, columns: Mapping[int, int]) -> Moves:
        """Give every slot the pages of its first `columns` tokens, pausing the shortest as long as it must.

        Those that were paused go on, the longest first, where that leaves each running slot a page to grow
        into. The longest slot always runs, so all come to their end, however few pages there are.
        """
        moves = Moves()
        running = sorted((s for s in columns if s not in self.paused), key=lambda s: (-columns[s], s))
        while sum(self.missing(slot, columns[slot]) for slot in running) > len(self.free):
            slot = running.pop()
            moves.out[slot] = list(self.held[slot])
            self.release(slot)
            self.paused[slot] = len(moves.out[slot])
        for slot in running:
            self.cover(slot, columns[slot])
        for slot in sorted(self.paused.keys() - moves.out.keys(), key=lambda s: (-columns[s], s)):
            if running and len(self.free) - pages_of(columns[slot]) < len(running) + 1:
                break
            del self.paused[slot]
            self.cover(slot, columns[slot])
            moves.back[slot] = self.held[slot]
            running.append(slot)
        return moves
