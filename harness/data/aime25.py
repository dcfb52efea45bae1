"""AIME 2025, I and II: 30 problems, integer answers 0-999. For evaluation alone."""

from __future__ import annotations

from functools import partial

from harness.data.sources import Source, columns, evaluation_only

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
load = partial(evaluation_only, SOURCE)
