"""MATH-500, the 500 test problems of MATH that PRM800K held out (arXiv:2305.20050). For evaluation alone."""

from __future__ import annotations

from harness.data.sources import Source, columns
from harness.types import Problem

SOURCE = Source(
    name="math500",
    file="math500.jsonl",
    hub_id="HuggingFaceH4/MATH-500",
    hub_split="test",
    row=columns(problem="problem", answer="answer", subject="subject", level="level", solution="solution"),
    num_problems=500,
)
SOURCES = {"test": SOURCE}


def load(split: str, *, seed: int = 0, bad_rows: list[str] | None = None) -> list[Problem]:
    """All of them as `test`; no other split."""
    return SOURCE.load(split, bad_rows) if split == "test" else []
