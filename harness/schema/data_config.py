"""The schema of a run's problems. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from harness.grading.find.extraction import Rule
from harness.records.records import GENERATED
from harness.schema.prompts import TemplateName
from harness.schema.section import Name, NonNegative, NonNegativeFloat, Positive, Section

Published = Literal[
    "gsm8k",
    "gsm8k_perturbed",
    "math",
    "aime_1983_2023",
    "amc23",
    "aime24",
    "aime25",
    "math500",
    "deepscaler",
    "dapo_17k",
]
Dataset = Literal["aime_gen", "general", "mixture", "jsonl", Published]
SPLITS = ("train", "perturbed", "validation", "test", "heldout")


class DoseConfig(Section):
    """A control arm: `percent` of an evaluation set takes the place of as many training problems.

    `dataset: own_test` is the test split of the training data itself.
    """

    dataset: Literal[Published, "own_test"]
    percent: Annotated[float, Field(gt=0, le=100)]


class DataConfig(Section):
    """`dataset` is a module of harness/data, `jsonl` the file at `path`, `mixture` the sum of its components.

    `num_*` null: all there are of a published set or a file, none of a generated one. Of a mixture `weight`
    shares out `num_train`; every other split is the components' own, in turn, whatever the weights.
    `families` name generated problems, `subjects` the topics of others; `levels` are for both, and an empty
    list filters nothing. (With `families`, a set that is not generated has a from-scratch base pretrained on
    these, of those `levels` and in that `style`, and is not filtered by them.) `order: seeded` shuffles by
    `data_seed` before `num_train` cuts. `num_distinct` and `num_families` hold the number of training
    problems fixed and make them of fewer different ones. `drop_contaminated` leaves out what holds at least
    `drop_share` of the 13-grams of a problem of these evaluation sets (harness/data/contamination.py).
    """

    name: Name
    dataset: Dataset
    template: TemplateName
    answer_rules: list[Rule] = Field(min_length=1)
    answer_range: tuple[int, int] | None
    symbolic: bool = True
    families: list[str] = Field(default=[])
    heldout_families: list[str] = Field(default=[])
    levels: list[Annotated[int, Field(ge=1, le=5)]] = Field(default=[])
    style: Literal["full", "terse"] = "full"
    data_seed: int = 0
    num_train: NonNegative | None = None
    num_validation: NonNegative | None = None
    num_test: NonNegative | None = None
    num_heldout: NonNegative | None = None
    path: str | None = None
    subjects: list[str] = Field(default=[])
    bad_rows: Literal["stop", "leave_out"] = "stop"
    order: Literal["source", "seeded"] = "source"
    deduplicate: bool = False
    num_distinct: Positive | None = None
    num_families: Positive | None = None
    drop_contaminated: list[Published] = Field(default=[])
    drop_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    dose: DoseConfig | None = None
    components: dict[Name, DataConfig] = Field(default={})
    weight: NonNegativeFloat | None = None

    def size(self, split: str) -> int | None:
        """The number of problems asked of a split; `perturbed` has one for each training problem."""
        return {
            "train": self.num_train,
            "perturbed": self.num_train,
            "validation": self.num_validation,
            "test": self.num_test,
            "heldout": self.num_heldout,
        }[split]

    @model_validator(mode="after")
    def _source(self) -> Self:
        if self.dataset == "jsonl" and self.path is None:
            raise ValueError("path=null with dataset=jsonl; give the file: data.path=/folder/problems.jsonl")
        if self.dataset in GENERATED and not (self.families and self.levels and self.num_train):
            field = next(name for name in ("families", "levels", "num_train") if not getattr(self, name))
            given = "null" if getattr(self, field) is None else getattr(self, field)
            remedy = "make it at least 1" if field == "num_train" else "name some, as in conf/data/"
            raise ValueError(f"{field}={given} with dataset={self.dataset}, which needs it; {remedy}")
        if self.dataset in GENERATED and self.subjects:
            raise ValueError(f"subjects={self.subjects} with dataset={self.dataset}: name families instead")
        return self

    @model_validator(mode="after")
    def _diversity(self) -> Self:
        fewer = "num_distinct" if self.num_distinct else "num_families"
        if (self.num_distinct or self.num_families) and not self.num_train:
            raise ValueError(
                f"{fewer}={getattr(self, fewer)} with num_train={self.num_train}: it makes a fixed number of "
                "problems out of fewer; set num_train"
            )
        if self.num_distinct and self.num_train and self.num_distinct > self.num_train:
            raise ValueError(f"num_distinct={self.num_distinct} exceeds num_train={self.num_train}; lower it")
        return self

    @model_validator(mode="after")
    def _mixture(self) -> Self:
        if self.dataset != "mixture":
            if self.components:
                raise ValueError(f"components with dataset={self.dataset}: they make a mixture; data=mixture")
            return self
        if not self.components:
            raise ValueError("components={} with dataset=mixture; name some: {gsm8k: 0.5, math: 0.5}")
        weights = {name: part.weight for name, part in self.components.items()}
        shown = ", ".join(f"{name} {weight}" for name, weight in weights.items())
        if None in weights.values():
            raise ValueError(f"components: each needs a weight ({shown})")
        total = sum(w for w in weights.values() if w is not None)
        if abs(total - 1) > 1e-6:
            raise ValueError(
                f"components: the weights ({shown}) do not sum to 1 but to {total:g}; divide each by that"
            )
        if not self.num_train:
            raise ValueError(
                "num_train=null with dataset=mixture: say how many problems the weights share out"
            )
        if any(part.dataset == "mixture" for part in self.components.values()):
            raise ValueError("components: a mixture of mixtures; name their components in one")
        if self.levels or self.subjects or self.num_families:
            raise ValueError(
                "levels, subjects and num_families of a mixture belong to its components: "
                "data.components.<name>.levels"
            )
        return self
