"""GSM8K (arXiv:2110.14168): 7,473 training and 1,319 test problems with annotated solutions.

A problem's level is the number of calculations that its solution annotates (`<<48/2=24>>`), 5 and more as 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from harness.data.sources import Source, train_or_validation
from harness.types import Problem


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    """The hub has a solution that ends in "#### 1,200"."""
    final = str(row["answer"]).split("####")[-1].replace(",", "")
    return {"problem": row["question"], "answer": final, "subject": "grade school", "solution": row["answer"]}


TRAIN = Source(
    name="gsm8k",
    file="gsm8k_train.jsonl",
    hub_id="openai/gsm8k",
    hub_split="train",
    hub_configs=("main",),
    row=_row,
    num_problems=7473,
)
TEST = Source(
    name="gsm8k",
    file="gsm8k_test.jsonl",
    hub_id="openai/gsm8k",
    hub_split="test",
    hub_configs=("main",),
    row=_row,
    num_problems=1319,
)
SOURCES = {"train": TRAIN, "validation": TRAIN, "test": TEST}


def load(split: str, *, seed: int = 0, bad_rows: list[str] | None = None) -> list[Problem]:
    """`test` is the official one; a tenth of the training file (a hash with the seed) is `validation`."""
    if split == "test":
        return _with_levels(TEST.load(split, bad_rows))
    if split in SOURCES:
        return train_or_validation(_with_levels(TRAIN.load(split, bad_rows)), split, seed)
    return []


def _with_levels(problems: list[Problem]) -> list[Problem]:
    """Set each level to the number of annotations, 5 at most; None for a solution without any."""
    counts = [(problem.solution or "").count("<<") for problem in problems]
    return [replace(p, level=min(count, 5) or None) for p, count in zip(problems, counts, strict=True)]
