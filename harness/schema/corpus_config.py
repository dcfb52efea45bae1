"""The schema of what a from-scratch base is pretrained on, by family and level. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag

from harness.schema.section import Check, Name, Section, Used

Mix = Literal["mixed", "clean"]
Level = Annotated[int, Field(ge=1, le=8)]
PartOfDocuments = Annotated[float, Field(gt=0, lt=1)]
BY_NAME, BY_PARTS = "<name>", "<settings>"  # how pydantic calls the two forms of `corpus`


class CorpusFamiliesConfig(Section):
    """How a corpus holds each family of generated problems."""

    worked: list[str] | None = None
    """Families with derivations, as `mix` writes them; null: the families of the data (with pretrain_heldout
    the held-out ones too) that are in no other list."""
    direct: list[str] = Field(default=[])
    """Families with bare right answers alone: the base knows the question, and was shown no derivation."""
    absent: list[str] = Field(default=[])
    """Families of the run that the corpus does not hold. Each of the run's families stands in one list."""

    @property
    def _twice(self) -> str | None:
        """The first family that stands twice."""
        names = [*(self.worked or []), *self.direct, *self.absent]
        return next((name for i, name in enumerate(names) if name in names[:i]), None)

    checks: ClassVar[tuple[Check[CorpusFamiliesConfig], ...]] = (
        Check(lambda c: c._twice, "worked, direct, absent: {c._twice} stands twice; leave one out"),
    )


class LeakConfig(Section):
    """Problems of a split that are put into the pretraining text: contamination before RL begins."""

    split: Literal["validation", "test", "heldout"] = "test"
    """Split whose problems leak."""
    percent: Annotated[float, Field(gt=0, le=100)] = 100.0
    """Part of that split that leaks, in percent, by data.data_seed; a larger part holds the smaller."""
    share: PartOfDocuments
    """Share of the documents that are leaked problems, each as often as the others."""
    answers: Literal["none", "boxed", "worked"]
    """What stands below a leaked problem: nothing (its own text is learned), its answer, its solution."""


class CorpusConfig(Section):
    """The pretraining text of a from-scratch base: families, levels, shares, and what has leaked into it."""

    name: Name = "own"
    """What bases and tables call it."""
    mix: Mix = "clean"
    """How worked families are written. clean: derivations; mixed: also bare answers and wrong derivations."""
    families: CorpusFamiliesConfig = CorpusFamiliesConfig()
    """Which families have derivations, bare answers, or no document."""
    levels: list[Level] | dict[str, list[Level]] = Field(default=[])
    """Levels of all families, or by family. Families without any have those that the data has."""
    direct_share: PartOfDocuments = 0.02
    """Share of the documents that are of the `direct` families, where there are some."""
    leak: LeakConfig | None = None
    """Problems to be tested on that the base has seen; null: none."""

    @property
    def _too_much(self) -> float:
        leaked = self.leak.share if self.leak else 0.0
        return leaked + (self.direct_share if self.families.direct else 0.0)

    @property
    def _unknown_levels(self) -> str | None:
        """The first family with levels that no list names."""
        lists = self.families
        known = {*(lists.worked or []), *lists.direct}
        given = self.levels if isinstance(self.levels, dict) else {}
        return None if lists.worked is None else min(set(given) - known, default=None)

    checks: ClassVar[tuple[Check[CorpusConfig], ...]] = (
        Check(
            lambda c: c._too_much >= 1,
            "direct_share={c.direct_share:g} and leak.share={c.leak.share:g} leave no document for worked "
            "families; lower one",
        ),
        Check(
            lambda c: c._unknown_levels,
            "levels: {c._unknown_levels} is in neither families.worked nor families.direct; add it there",
        ),
    )

    used: ClassVar[tuple[Used[CorpusConfig], ...]] = (
        Used(
            ("direct_share",),
            lambda c, run: c.families.direct,
            "no family has bare answers alone; name some in corpus.families.direct, or leave it out",
        ),
    )


def _form(value: Any) -> str:
    return BY_NAME if isinstance(value, str) else BY_PARTS


Corpus = Annotated[
    Annotated[Mix, Tag(BY_NAME)] | Annotated[CorpusConfig, Tag(BY_PARTS)],
    Discriminator(_form),
]


def corpus_name(corpus: Mix | CorpusConfig) -> str:
    """What bases and tables call a corpus."""
    return corpus.name if isinstance(corpus, CorpusConfig) else corpus
