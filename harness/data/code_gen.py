"""Generated programming tasks: a small function to write, judged by tests that run (harness/grading/code).

The counterpart of aime_gen for code: the same splits by the hash of a canonical form
(harness/data/splits.py), the same balance over families x levels. A solution is one expression that goes on
from `f=lambda x:`, short enough for a model whose vocabulary has single characters; a whole function in a
block of code counts as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from harness.data.code_families import arithmetic, sequences
from harness.data.code_families.family import Family, Stated
from harness.data.families.instance import check_names
from harness.data.splits import CORPUS_BUCKETS, SEED_STRIDE, SPLIT_BUCKETS, balanced, bucket_of, stream
from harness.grading.code.program import reference_text
from harness.types import Problem

GENERATOR_VERSION = 1  # part of every data hash: raise it with any change to what is generated
DATASET = "code_gen"
FAMILIES: dict[str, Family] = {f.name: f for module in (arithmetic, sequences) for f in module.FAMILIES}
LEVELS = (1, 2, 3, 4, 5)
SPLITS = tuple(s for s in SPLIT_BUCKETS if s != "perturbed")
WRONG_SHARE = 0.3  # of the mixed corpus's documents: a usual mistake in place of the solution


@dataclass(frozen=True, slots=True)
class Instance:
    """One task of a family at a level."""

    family: str
    topic: str
    level: int
    said: Stated

    @property
    def canonical(self) -> str:
        return self.said.terse

    @property
    def prefix(self) -> str:
        """What a completion goes on from."""
        return f"f=lambda {self.said.arguments}:"

    def text(self, style: str) -> str:
        """The task, ending in what a completion goes on from."""
        if style == "terse":
            return f"{self.said.terse} {self.prefix}"
        return f"{self.said.text} Go on from here, or write it whole:\n{self.prefix}"

    @property
    def tests(self) -> list[str]:
        """What the function must give for some inputs, then what must hold of it."""
        said = self.said
        given = [f"assert f({', '.join(map(repr, args))}) == {said.value(*args)!r}" for args in said.inputs]
        return [*given, *said.properties]


def candidate(family: str, level: int, seed: int, buckets: range) -> Instance | None:
    """The task of (family, level, seed), always the same; None where it lies in none of the buckets."""
    kind, rng = FAMILIES[family], stream(DATASET, "task", family, level, seed)
    found = Instance(family, kind.topic, level, kind.state(kind.draw(rng, level)))
    return found if bucket_of(family, found.canonical) in buckets else None


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
    order = stream(DATASET, "order", split, seed)
    instances = balanced(candidate, split, num_problems, families, levels, seed, order)
    return [
        Problem(
            id=f"{DATASET}/{split}/{index:06d}-{found.family}-L{found.level}",
            dataset=DATASET,
            split=split,
            text=found.text(style),
            answer=reference_text({"tests": found.tests, "entry_point": "f", "prefix": found.prefix}),
            topic=found.topic,
            level=found.level,
            solution=found.said.solution,
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
    """(text, completion) pairs for pretraining from the corpus bucket.

    Of `mixed` a share of WRONG_SHARE has a usual mistake (brackets forgotten, branches swapped), so that
    there is something to be learned from tests; every other mix is right.
    """
    _check(families, levels, style)
    rng = stream(DATASET, "corpus", mix, seed)
    cells = [(family, level) for family in families for level in levels]
    seeds = count(seed * SEED_STRIDE)
    for _ in range(num_documents):
        family, level = rng.choice(cells)
        found = next(task for i in seeds if (task := candidate(family, level, i, CORPUS_BUCKETS)))
        is_wrong = rng.random() < WRONG_SHARE and mix == "mixed"
        yield found.text(style), found.said.wrong if is_wrong else found.said.solution


def _check(families: Sequence[str], levels: Sequence[int], style: str) -> None:
    check_names("families", families, FAMILIES)
    check_names("levels", levels, LEVELS)
    check_names("style", [style], ("full", "terse"))
