"""Structured pretraining text: which families a base has seen worked out, answered, or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

from harness.data.families.instance import check_names
from harness.data.registry import GENERATORS, generator
from harness.schema.corpus_config import CorpusConfig
from harness.schema.data_config import DataConfig
from harness.types import Problem

Document = tuple[str, str | None]  # problem text, completion; None: the problem's own text is what is learned


@dataclass(frozen=True, slots=True)
class Group:
    """Families of one generator, written alike, at the same levels; `weight` is its share of all documents.

    Example:
        Group("aime_gen", "direct", ("digits_mod",), (1, 2), "terse", 0.02)
    """

    dataset: str
    mix: str
    families: tuple[str, ...]
    levels: tuple[int, ...]
    style: str
    weight: float

    def as_json(self) -> dict[str, Any]:
        """For the base's identity."""
        return asdict(self) | {"families": list(self.families), "levels": list(self.levels)}


def documents(
    corpus: CorpusConfig,
    groups: Sequence[Group],
    leaked: Sequence[Problem],
    *,
    num_documents: int,
    seed: int,
) -> Iterator[Document]:
    """Documents drawn by the groups' shares, and `leaked` problems by theirs; the same for the same seed."""
    streams: list[Iterator[Document]] = [
        GENERATORS[group.dataset].corpus(
            mix=group.mix,
            num_documents=num_documents,
            families=group.families,
            levels=group.levels,
            style=group.style,
            seed=seed + index,
        )
        for index, group in enumerate(groups)
    ]
    weights = [group.weight for group in groups]
    rng = Random(seed)
    if corpus.leak is not None:
        streams.append(_leaks(leaked, corpus.leak.answers, Random(seed + len(groups))))
        weights.append(corpus.leak.share)
    return (next(rng.choices(streams, weights=weights)[0]) for _ in range(num_documents))


def _leaks(problems: Sequence[Problem], answers: str, rng: Random) -> Iterator[Document]:
    while True:
        problem = rng.choice(problems)
        boxed = rf"\boxed{{{problem.answer}}}"
        yield problem.text, {"none": None, "boxed": boxed, "worked": problem.solution or boxed}[answers]


def groups_of(corpus: CorpusConfig, parts: Sequence[DataConfig]) -> list[Group]:
    """The corpus as groups of families, whose weights and the leak's sum to 1.

    `parts` are the run's data configs with families. Raises ValueError for a family that no generator has, or
    that the run has and no list names, for levels that a family lacks, and for no worked family.
    """
    worked, direct = _lists(corpus, parts)
    leaked = corpus.leak.share if corpus.leak else 0.0
    direct_share = corpus.direct_share if direct else 0.0
    kinds = [(corpus.mix, worked, 1 - direct_share - leaked), ("direct", direct, direct_share)]
    return [group for mix, names, share in kinds for group in _grouped(corpus, parts, mix, names, share)]


def _lists(corpus: CorpusConfig, parts: Sequence[DataConfig]) -> tuple[list[str], list[str]]:
    """(worked, direct) families."""
    lists = corpus.families
    known = [name for module in GENERATORS.values() for name in module.FAMILIES]
    for field in ("worked", "direct", "absent"):
        if names := getattr(lists, field):
            check_names(f"families.{field}", names, known)
    trained = [
        name
        for part in parts
        for name in (*part.families, *(part.heldout_families if part.pretrain_heldout else []))
    ]
    run = list(dict.fromkeys([*trained, *(name for part in parts for name in part.heldout_families)]))
    worked = lists.worked
    if worked is None:
        worked = [name for name in dict.fromkeys(trained) if name not in (*lists.direct, *lists.absent)]
    elif forgotten := [name for name in run if name not in (*worked, *lists.direct, *lists.absent)]:
        raise ValueError(
            f"families: {', '.join(forgotten)} of the run's data stand in none of worked, direct and absent; "
            "say what the base has seen of each"
        )
    if not worked:
        raise ValueError("families.worked=[]: a base needs derivations of something; name some families")
    return worked, lists.direct


def _grouped(
    corpus: CorpusConfig, parts: Sequence[DataConfig], mix: str, names: Sequence[str], share: float
) -> list[Group]:
    """Put families that are made by one generator, at the same levels and in one style, together."""
    found: dict[tuple[str, tuple[int, ...], str], list[str]] = {}
    for name in names:
        part = _part_of(name, parts)
        dataset = next(key for key, module in GENERATORS.items() if name in module.FAMILIES)
        levels = _levels(corpus, part, name)
        _check_levels(dataset, name, levels)
        found.setdefault((dataset, levels, part.style), []).append(name)
    return [
        Group(dataset, mix, tuple(families), levels, style, share * len(families) / len(names))
        for (dataset, levels, style), families in found.items()
    ]


def _part_of(name: str, parts: Sequence[DataConfig]) -> DataConfig:
    """The data config that names a family; else the first."""
    owners = [part for part in parts if name in part.families or name in part.heldout_families]
    return [*owners, *parts][0]


def _levels(corpus: CorpusConfig, part: DataConfig, name: str) -> tuple[int, ...]:
    given = corpus.levels.get(name, []) if isinstance(corpus.levels, dict) else corpus.levels
    return tuple(given or part.levels)


def _check_levels(dataset: str, name: str, levels: Sequence[int]) -> None:
    """Raises ValueError for levels that a family lacks, or none at all."""
    module = generator(dataset)
    own = getattr(module.FAMILIES[name], "levels", module.LEVELS)
    if not levels:
        raise ValueError(f"levels: none for {name}, and the data has none; give corpus.levels=[1,2]")
    if unknown := [level for level in levels if level not in own]:
        raise ValueError(
            f"levels={list(levels)}: {name} has no level {unknown[0]}, only {', '.join(map(str, own))}; give "
            f"its own, corpus.levels={{{name}: [...]}}"
        )


def grammar(data: DataConfig) -> list[DataConfig]:
    """The data configs whose families make the pretraining text."""
    return [part for part in data.components.values() if part.families] or [data]
