"""AMC 12 of 2023, A and B: 40 problems rewritten for numeric answers. For evaluation alone."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from harness.data.sources import Source, evaluation_only, whole_number


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    """The hub has answers as floats."""
    return {"problem": row["question"], "answer": whole_number(row["answer"])}


SOURCE = Source(
    name="amc23",
    file="amc23.jsonl",
    hub_id="math-ai/amc23",
    hub_split="test",
    row=_row,
    num_problems=40,
)
SOURCES = {"test": SOURCE}
load = partial(evaluation_only, SOURCE)
