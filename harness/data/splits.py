"""How generated problems are shared out: a hash of what a problem is decides its bucket, and so its split."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import count
from random import Random
from typing import Protocol, TypeVar

NUM_BUCKETS = 100
CORPUS_BUCKETS = range(0, 60)
SPLIT_BUCKETS = {
    "train": range(60, 70),
    "perturbed": range(70, 80),
    "validation": range(80, 90),
    "test": range(90, 100),
    "heldout": range(90, 100),  # the test bucket of families that the caller kept out of training
}
SEED_STRIDE = 10**9  # keeps the problems of two data seeds apart
_DRY_DRAWS = 2_000  # problems in a row without a new one before a cell is said to be exhausted


class Generated(Protocol):
    """What a generator makes: its canonical form is equal for problems that are the same."""

    @property
    def canonical(self) -> str: ...


T_co = TypeVar("T_co", bound=Generated, covariant=True)
T = TypeVar("T", bound=Generated)


class Candidate(Protocol[T_co]):
    """The problem of (family, level, seed), or None where it lies in none of the buckets."""

    def __call__(self, family: str, level: int, seed: int, buckets: range) -> T_co | None: ...


def stream(*key: object) -> Random:
    """Random numbers named by their key; the same on every platform and in every process."""
    name = "|".join(map(str, key))
    return Random(int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "big"))


def bucket_of(family: str, canonical: str) -> int:
    """0 to NUM_BUCKETS - 1, from the canonical form alone."""
    digest = hashlib.sha256(f"{family}|{canonical}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % NUM_BUCKETS


def balanced(
    candidate: Candidate[T],
    split: str,
    num_problems: int,
    families: Sequence[str],
    levels: Sequence[int],
    seed: int,
    order: Random,
) -> list[T]:
    """Rounds of one problem a family x level, shuffled; where the cells do not divide num_problems the first
    have more. Raises ValueError where a cell has too few problems in the split."""
    cells = [(family, level) for family in families for level in levels]
    found: list[list[T]] = []
    seen: set[tuple[str, str]] = set()
    for index, (family, level) in enumerate(cells):
        wanted = num_problems // len(cells) + (index < num_problems % len(cells))
        cell = list(unique(candidate, split, family, level, seed, seen, wanted))
        if len(cell) < wanted:
            raise ValueError(
                f"num_problems={num_problems}: needs {wanted} problems of {family} at level {level} in split "
                f"{split}, which has about {len(cell)}; lower num_problems or name more families or levels"
            )
        found.append(cell)
    ordered: list[T] = []
    for i in range(len(found[0])):
        row = [cell[i] for cell in found if i < len(cell)]
        order.shuffle(row)
        ordered += row
    return ordered


def unique(
    candidate: Candidate[T],
    split: str,
    family: str,
    level: int,
    seed: int,
    seen: set[tuple[str, str]],
    wanted: int,
) -> Iterator[T]:
    """Up to `wanted` problems of one cell that are not in `seen`, fewer where the draws run dry."""
    dry = 0
    for i in count(seed * SEED_STRIDE):
        if wanted == 0 or dry == _DRY_DRAWS:
            return
        instance = candidate(family, level, i, SPLIT_BUCKETS[split])
        dry += 1
        if instance is None or (family, instance.canonical) in seen:
            continue
        seen.add((family, instance.canonical))
        wanted, dry = wanted - 1, 0
        yield instance
