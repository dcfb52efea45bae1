"""Generated general tasks: copying, sorting, formatting, retrieval. Care, no reasoning; one right answer.

The counterpart of aime_gen for asking whether a gain needs reasoning data: same splits by the hash of a
canonical form (harness/data/splits.py), same balance over families x levels, answers in a box. An answer is a
text and compared as it stands (`Problem.exact`): capitals and order count, blanks after commas do not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from random import Random

from harness.data.families.instance import check_names
from harness.data.general_families import forms, lists, passages
from harness.data.general_families.family import Family
from harness.data.splits import CORPUS_BUCKETS, SEED_STRIDE, SPLIT_BUCKETS, balanced, bucket_of, stream
from harness.types import Problem

GENERATOR_VERSION = 2  # part of every data hash: raise it with any change to what is generated
DATASET = "general"
FAMILIES: dict[str, Family] = {f.name: f for module in (lists, forms, passages) for f in module.FAMILIES}
LEVELS = (1, 2, 3, 4, 5)
SPLITS = tuple(s for s in SPLIT_BUCKETS if s != "perturbed")
CARELESS_SHARE = 0.5  # of the mixed corpus's documents: as many as aime_gen has without right steps


@dataclass(frozen=True, slots=True)
class Instance:
    """One task in both styles with its answer."""

    family: str
    topic: str
    level: int
    text: str
    terse: str
    answer: str
    canonical: str


def candidate(family: str, level: int, seed: int, buckets: range) -> Instance | None:
    """The task of (family, level, seed), always the same; None where it lies in none of the buckets."""
    kind, rng = FAMILIES[family], stream(DATASET, "task", family, level, seed)
    said = kind.state(kind.draw(rng, level))
    if bucket_of(family, said.canonical) not in buckets:
        return None
    return Instance(family, kind.topic, level, said.text, said.terse, said.answer, said.canonical)


def load(
    split: str,
    *,
    num_problems: int,
    families: Sequence[str],
    levels: Sequence[int],
    style: str,
    seed: int,
) -> list[Problem]:
    """`num_problems` tasks of a split, balanced over families x levels; none for `perturbed`.

    Raises ValueError for an unknown split, family, level or style.
    """
    _check(families, levels, style)
    if split == "perturbed":
        return []
    check_names("split", [split], SPLITS)
    instances = balanced(
        candidate, split, num_problems, families, levels, seed, stream(DATASET, "order", split, seed)
    )
    return [
        Problem(
            id=f"{DATASET}/{split}/{index:06d}-{found.family}-L{found.level}",
            dataset=DATASET,
            split=split,
            text=found.text if style == "full" else found.terse,
            answer=found.answer,
            topic=found.topic,
            level=found.level,
            solution=rf"\boxed{{{found.answer}}}",
            exact=True,
        )
        for index, found in enumerate(instances)
    ]


def corpus(
    *,
    mix: str,
    num_documents: int,
    families: Sequence[str],
    levels: Sequence[int],
    style: str,
    seed: int,
) -> Iterator[tuple[str, str]]:
    """(text, boxed answer) pairs for pretraining from the corpus bucket.

    Of `mixed` a share of CARELESS_SHARE has one slip (see `careless`), so that there is care to be learned;
    every other mix is right.
    """
    _check(families, levels, style)
    rng = stream(DATASET, "corpus", mix, seed)
    cells = [(family, level) for family in families for level in levels]
    seeds = count(seed * SEED_STRIDE)
    for _ in range(num_documents):
        family, level = rng.choice(cells)
        found = next(task for i in seeds if (task := candidate(family, level, i, CORPUS_BUCKETS)))
        slips = mix == "mixed" and rng.random() < CARELESS_SHARE
        answer = careless(found.answer, rng) if slips else found.answer
        yield (found.text if style == "full" else found.terse), rf"\boxed{{{answer}}}"


def careless(answer: str, rng: Random) -> str:
    """The answer with one slip: a letter or digit left out, written twice, or swapped with the next."""
    places = [i for i, sign in enumerate(answer) if sign.isalnum()]
    while True:
        at = rng.choice(places)
        kind, one, after = rng.choice(("out", "twice", "swapped")), answer[at], answer[at + 1 :]
        if kind == "twice":
            return answer[:at] + 2 * one + after
        if kind == "out" and len(places) > 1:
            return answer[:at] + after
        if kind == "swapped" and after[:1].isalnum() and after[0] != one:
            return answer[:at] + after[0] + one + after[1:]


def _check(families: Sequence[str], levels: Sequence[int], style: str) -> None:
    check_names("families", families, FAMILIES)
    check_names("levels", levels, LEVELS)
    check_names("style", [style], ("full", "terse"))
