"""AIME problems of 1983-2023, for training: 918 of 975 in the folder, 919 on the hub, answers 0-999."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from harness.data.sources import Source, training_only


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
load = partial(training_only, SOURCE)
