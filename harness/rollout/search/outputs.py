"""What a search asks for and gets: outputs in part or whole, their values, and what it found. Pure.

A search of one problem is a generator. It yields a `Draw` (sample these) or a `Judge` (value these) and is
sent the answer, so that many problems' searches advance together and their samples are decoded in one batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Output:
    """A completion, whole or in part, of which `num_given` tokens were drawn by earlier simulations.

    `ends` are the numbers of tokens up to each derivation step's end, rising; `answer` is the vote (None: no
    answer was found). `complete`: it has its end token, or no room for another.

    Example, 2+2=4;4*3=12 as tokens of a character each, going on from the first step:
        Output(ids=(2,20,2,21,4,9,4,22,3,21,1,2), logprobs=(...), text="2+2=4;4*3=12", ends=(5, 12),
               answer="12", complete=True, stopped=True, num_given=5, simulation=7)
    """

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    text: str
    ends: tuple[int, ...]
    answer: str | None
    complete: bool
    stopped: bool
    num_given: int
    simulation: int

    @property
    def num_drawn(self) -> int:
        """Tokens that its simulation sampled."""
        return len(self.ids) - self.num_given

    def part(self, start: int, end: int) -> tuple[int, ...]:
        """Tokens from one place to another, without the end token."""
        return self.ids[start : min(end, len(self.ids) - self.stopped)]


@dataclass(frozen=True, slots=True)
class Ask:
    """Go on from the first `length` tokens of `start` (None: from the prompt), by at most `limit` tokens.

    `limit` None is all the room that is left.
    """

    start: Output | None = None
    length: int = 0
    limit: int | None = None

    @property
    def ids(self) -> tuple[int, ...]:
        """The tokens that are given."""
        return () if self.start is None else self.start.ids[: self.length]

    @property
    def logprobs(self) -> tuple[float, ...]:
        """Their logprobs, where the sampler gives any."""
        return () if self.start is None else self.start.logprobs[: self.length]


@dataclass(frozen=True, slots=True)
class Draw:
    """Sample these; the answer is an Output each, in order."""

    asks: list[Ask]


@dataclass(frozen=True, slots=True)
class Judge:
    """Value the first so many tokens of these outputs; the answer is a number in [0, 1] each."""

    parts: list[tuple[Output, int]]


Search = Generator[Draw | Judge, Any, "Found"]


@dataclass
class Found:
    """What a search of one problem found: complete outputs in the order of their simulations.

    `begun` and `spent` are the problem's tokens before an output's simulation (of a beam, its run) began and
    once it was over, `values` what each output is worth (of votes: see `worth`). `rows` is the tree, a
    dictionary a node; `num_nodes` and `depth` are its size and its longest path, in steps.
    """

    outputs: list[Output] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    begun: list[int] = field(default_factory=list)
    spent: list[int] = field(default_factory=list)
    by_votes: bool = False
    sampled: int = 0
    num_nodes: int = 0
    depth: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, output: Output, value: float, *, begun: int, spent: int) -> None:
        """Enter a complete output."""
        self.outputs.append(output)
        self.values.append(value)
        self.begun.append(begun)
        self.spent.append(spent)

    def within(self, budget: int) -> int:
        """How many of the outputs began before the budget was spent; `begun` never falls."""
        return sum(begun < budget for begun in self.begun)

    def cost(self, budget: int) -> int:
        """Tokens spent once those outputs were there."""
        return max(self.spent[: self.within(budget)], default=0)

    def worth(self, num: int | None = None) -> list[float]:
        """Values of the first `num` outputs; by votes the share of them that gave the same answer."""
        count = len(self.outputs) if num is None else num
        return vote_shares([o.answer for o in self.outputs[:count]]) if self.by_votes else self.values[:count]


def vote_shares(answers: Sequence[str | None]) -> list[float]:
    """The share of all that gave the same answer; 0 for no answer. Self-consistency, arXiv:2203.11171."""
    counts = Counter(a for a in answers if a is not None)
    return [0.0 if a is None else counts[a] / len(answers) for a in answers]
