"""What a family of general tasks is: something to do with a text that takes care and no reasoning.

`draw(rng, level)` gives the words and numbers, more of them at a higher level; `state(params)` words the task
and gives its one right answer, a text that is compared as it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

Params = tuple[str, ...]

_ONSETS = ("b", "d", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "z", "st", "br", "pl")
_VOWELS = ("a", "e", "i", "o", "u")
_CODAS = ("", "", "n", "r", "l", "s", "m")


@dataclass(frozen=True, slots=True)
class Stated:
    """A task in English and in short; `canonical` is equal for tasks that ask the same of the same."""

    canonical: str
    text: str
    terse: str
    answer: str


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of task at levels 1-5."""

    name: str
    topic: str
    draw: Callable[[Random, int], Params]
    state: Callable[[Params], Stated]


def word(rng: Random, syllables: int = 2) -> str:
    """A made-up word: no model has seen it, and no dictionary helps."""
    return "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) for _ in range(syllables)) + rng.choice(_CODAS)


def different(rng: Random, number: int, draw: Callable[[Random], str]) -> list[str]:
    """`number` different draws."""
    found: dict[str, None] = {}
    while len(found) < number:
        found[draw(rng)] = None
    return list(found)


def listed(values: Sequence[str]) -> str:
    """`a, b, c`."""
    return ", ".join(values)
