"""AIME problems of 1983-2023, for training: 918 of 975 in the folder, 919 on the hub, answers 0-999."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.data.sources import Source, train_or_validation
from harness.types import Problem


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": f"aime-{row['ID']}", "problem": row["Question"], "answer": row["Answer"]}


SOURCE = Source(
    name="aime_1983_2023",
    file="aime_1983_2023.jsonl",
    hub_id="di-zhang-fdu/AIME_1983_2024",
    hub_split="train",
    row=_row,
    keep=lambda row: int(row["Year"]) <= 2023,  # the hub's set runs into 2024
    answer_range=(0, 999),
)
SOURCES = {"train": SOURCE, "validation": SOURCE}


def load(split: str, *, seed: int = 0, bad_rows: list[str] | None = None) -> list[Problem]:
    """`train`, and a tenth of the problems as `validation` (a hash with the seed); no other split."""
    return train_or_validation(SOURCE.load(split, bad_rows), split, seed) if split in SOURCES else []
