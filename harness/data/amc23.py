"""AMC 12 of 2023, A and B: 40 problems rewritten for numeric answers. For evaluation alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.data.sources import Source, whole_number
from harness.types import Problem


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


def load(split: str, *, seed: int = 0, bad_rows: list[str] | None = None) -> list[Problem]:
    """All of them as `test`; no other split."""
    return SOURCE.load(split, bad_rows) if split == "test" else []
