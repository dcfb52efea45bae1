"""MATH (arXiv:2103.03874): 7,500 training and 5,000 test problems in seven subjects and five levels.

The folder has 7,498 training problems; on the hub two have an empty box for an answer and are bad rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.data.sources import Source, last_box, train_or_validation
from harness.types import Problem

SUBJECTS = (
    "Algebra",
    "Counting & Probability",
    "Geometry",
    "Intermediate Algebra",
    "Number Theory",
    "Prealgebra",
    "Precalculus",
)


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    """The hub has no answers: they are what the solutions box last."""
    solution = row["solution"]
    return {
        "problem": row["problem"],
        "answer": last_box(solution),
        "subject": row["type"],
        "level": row["level"],
        "solution": solution,
    }


_CONFIGS = tuple(subject.lower().replace(" & ", "_and_").replace(" ", "_") for subject in SUBJECTS)
TRAIN = Source(
    name="math",
    file="math_train.jsonl",
    hub_id="EleutherAI/hendrycks_math",
    hub_split="train",
    hub_configs=_CONFIGS,
    row=_row,
)
TEST = Source(
    name="math",
    file="math_test.jsonl",
    hub_id="EleutherAI/hendrycks_math",
    hub_split="test",
    hub_configs=_CONFIGS,
    row=_row,
    num_problems=5000,
)
SOURCES = {"train": TRAIN, "validation": TRAIN, "test": TEST}


def load(split: str, *, seed: int = 0, bad_rows: list[str] | None = None) -> list[Problem]:
    """`test` is the official one; a tenth of the training file (a hash with the seed) is `validation`."""
    if split == "test":
        return TEST.load(split, bad_rows)
    if split in SOURCES:
        return train_or_validation(TRAIN.load(split, bad_rows), split, seed)
    return []
