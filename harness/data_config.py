"""The schema of a run's problems. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from harness.prompts import TemplateName
from harness.section import Name, NonNegative, Section

AnswerRule = Literal["boxed", "answer_is", "answer_colon", "a_colon", "hashes", "final_number"]

Published = Literal[
    "gsm8k",
    "math",
    "aime_1983_2023",
    "amc23",
    "aime24",
    "aime25",
    "math500",
    "deepscaler",
    "dapo_17k",
]
Dataset = Literal["aime_gen", "jsonl", Published]


class DataConfig(Section):
    """`dataset` is a module of harness/data. Generated problems use the fields below it; `jsonl` the path.

    `num_*` null: all there are of a published set or a file, none of a generated one.
    """

    name: Name
    dataset: Dataset
    template: TemplateName
    answer_rules: list[AnswerRule] = Field(min_length=1)
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

    @model_validator(mode="after")
    def _source(self) -> Self:
        if self.dataset == "jsonl" and self.path is None:
            raise ValueError("path=null with dataset=jsonl; give the file: data.path=/folder/problems.jsonl")
        if self.dataset == "aime_gen" and not (self.families and self.levels and self.num_train):
            raise ValueError(
                "families, levels and num_train are needed with dataset=aime_gen; see conf/data/"
            )
        return self
