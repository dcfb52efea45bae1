"""All families by name, and one generated problem from (family, level, seed)."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random

from harness.data.families import (
    algebra,
    counting,
    divisibility,
    geometry,
    number_theory,
    probability,
    sequences,
)
from harness.data.families.family import Derivation, Family, Params
from harness.data.splits import NUM_BUCKETS, bucket_of

DATASET = "aime_gen"

FAMILIES: dict[str, Family] = {
    family.name: family
    for module in (number_theory, divisibility, algebra, counting, probability, geometry, sequences)
    for family in module.FAMILIES
}
LEVELS = (1, 2, 3, 4, 5)

_MAX_REDRAWS = 10_000  # draws of parameters before a family is said to be at fault


@dataclass(frozen=True, slots=True)
class Instance:
    """One generated problem, in both styles, with the steps that lead to its answer."""

    family: str
    topic: str
    level: int
    params: Params
    text: str
    terse: str
    answer: int
    steps: tuple[str, ...]
    canonical: str


def generate(family: str, level: int, seed: int) -> Instance:
    """The problem of (family, level, seed); the same three always give the same problem.

    Raises ValueError for an unknown family or level.
    """
    check_names("family", [family], FAMILIES)
    check_names("level", [level], LEVELS)
    instance = candidate(family, level, seed, range(NUM_BUCKETS))
    assert instance is not None
    return instance


def candidate(family: str, level: int, seed: int, buckets: range) -> Instance | None:
    """`generate`'s problem, or None, without solving it, when what is drawn lies in none of `buckets`."""
    kind, rng = FAMILIES[family], stream("problem", family, level, seed)
    for _ in range(_MAX_REDRAWS):
        params = kind.draw(rng, level)
        if params is None:
            continue
        said = kind.state(params)
        if len(buckets) < NUM_BUCKETS and bucket_of(family, said.canonical) not in buckets:
            return None
        work = Derivation()
        answer = kind.derive(params, work)
        if 0 <= answer <= 999:
            return Instance(
                family=family,
                topic=kind.topic,
                level=level,
                params=params,
                text=said.text,
                terse=said.terse,
                answer=answer,
                steps=tuple(work.steps),
                canonical=said.canonical,
            )
    raise AssertionError(f"family {family} gives no problem at level {level}")


def stream(*key: object) -> Random:
    """Random numbers named by their key; the same on every platform and in every process."""
    name = "|".join(map(str, (DATASET, *key)))
    return Random(int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "big"))


def check_names(field: str, given: Sequence[object], known: Iterable[object]) -> None:
    options = [str(name) for name in known]
    if isinstance(given, str) or not given or len(set(given)) < len(given):
        raise ValueError(
            f"{field}={given!r}: give a list of one or more different values from {', '.join(options)}"
        )
    for value in given:
        if str(value) not in options or isinstance(value, bool):
            near = difflib.get_close_matches(str(value), options, n=3)
            hint = f"did you mean {' or '.join(near)}" if near else f"use one of {', '.join(options)}"
            raise ValueError(f"{field}={value!r}: unknown; {hint}?")
