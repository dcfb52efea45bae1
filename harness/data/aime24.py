"""AIME 2024, I and II: 30 problems, integer answers 0-999. For evaluation alone."""

from __future__ import annotations

from harness.data.sources import Source, columns
from harness.types import Problem

SOURCE = Source(
    name="aime24",
    file="aime24.jsonl",
    hub_id="Maxwell-Jia/AIME_2024",
    hub_split="train",
    row=columns(problem="Problem", answer="Answer", solution="Solution"),
    num_problems=30,
    answer_range=(0, 999),
)
SOURCES = {"test": SOURCE}


def load(split: str, *, seed: int = 0, bad_rows: list[str] | None = None) -> list[Problem]:
    """All of them as `test`; no other split."""
    return SOURCE.load(split, bad_rows) if split == "test" else []
