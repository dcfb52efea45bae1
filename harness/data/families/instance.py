"""All families by name, and one generated problem from (family, level, seed)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.data.families import (
    algebra,
    atoms,
    chains,
    composites,
    counting,
    divisibility,
    geometry,
    number_theory,
    probability,
    sequences,
)
from harness.data.families.family import Derivation, Family, Params
from harness.data.splits import CORPUS_BUCKETS, NUM_BUCKETS, bucket_of, stream

DATASET = "aime_gen"

_WORDED = (number_theory, divisibility, algebra, counting, probability, geometry, sequences)
# The families whose statements the ladder's tokenizer is made of; the others are written with its pieces.
TOKENIZED = tuple(family.name for module in _WORDED for family in module.FAMILIES)
FAMILIES: dict[str, Family] = {
    family.name: family for module in (*_WORDED, atoms, composites, chains) for family in module.FAMILIES
}
LEVELS = tuple(sorted({level for family in FAMILIES.values() for level in family.levels}))

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
    parts: tuple[int, ...] = ()


def generate(family: str, level: int, seed: int) -> Instance:
    """The problem of (family, level, seed); the same three always give the same problem.

    Raises ValueError for an unknown family, or a level that it does not have.
    """
    check_names("family", [family], FAMILIES)
    check_names("level", [level], FAMILIES[family].levels)
    instance = candidate(family, level, seed, range(NUM_BUCKETS))
    assert instance is not None
    return instance


def candidate(family: str, level: int, seed: int, buckets: range) -> Instance | None:
    """`generate`'s problem, or None, without solving it, when what is drawn lies in none of `buckets`."""
    kind, rng = FAMILIES[family], stream(DATASET, "problem", family, level, seed)
    for _ in range(_MAX_REDRAWS):
        params = kind.draw(rng, level)
        if params is None:
            continue
        said = kind.state(params)
        if len(buckets) < NUM_BUCKETS and not _lies_in(kind, said.canonical, buckets):
            return None
        if (instance := _solved(kind, level, params)) is not None:
            return instance
    raise AssertionError(f"family {family} gives no problem at level {level}")


def twin(original: Instance, seed: int, buckets: range) -> Instance | None:
    """Other numbers in the original's wording, by its family's `redraw`; None for an unfit draw."""
    kind = FAMILIES[original.family]
    assert kind.redraw is not None
    params = kind.redraw(stream(DATASET, "twin", kind.name, original.canonical, seed), original.params)
    if params is None or not _lies_in(kind, kind.state(params).canonical, buckets):
        return None
    return _solved(kind, original.level, params)


def bucket_name(family: str) -> str:
    """The name under which a family's problems are hashed."""
    return FAMILIES[family].hashed_as or family


def _lies_in(kind: Family, canonical: str, buckets: range) -> bool:
    """A fact may stand in any pretraining text, whatever its bucket."""
    if kind.is_fact and buckets == CORPUS_BUCKETS:
        return True
    return bucket_of(bucket_name(kind.name), canonical) in buckets


def _solved(kind: Family, level: int, params: Params) -> Instance | None:
    """The problem with its answer; None where that is no integer from 0 to 999."""
    said, work = kind.state(params), Derivation()
    answer = kind.derive(params, work)
    if not 0 <= answer <= 999:
        return None
    return Instance(
        family=kind.name,
        topic=kind.topic,
        level=level,
        params=params,
        text=said.text,
        terse=said.terse,
        answer=answer,
        steps=tuple(work.steps),
        canonical=said.canonical,
        parts=tuple(work.parts),
    )


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
