"""AIME 2025, I and II: 30 problems, integer answers 0-999. For evaluation alone."""

from __future__ import annotations

from harness.data.sources import Source, columns
from harness.types import Problem

SOURCE = Source(
    name="aime25",
    file="aime25.jsonl",
    hub_id="math-ai/aime25",
    hub_split="test",
    row=columns(problem="problem", answer="answer"),
    num_problems=30,
    answer_range=(0, 999),
)
SOURCES = {"test": SOURCE}


def load(split: str, *, seed: int = 0, bad_rows: list[str] | None = None) -> list[Problem]:
    """All of them as `test`; no other split."""
    return SOURCE.load(split, bad_rows) if split == "test" else []
