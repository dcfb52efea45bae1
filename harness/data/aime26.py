"""AIME 2026, I and II: 30 problems, integer answers 0-999. For evaluation alone."""

from __future__ import annotations

from functools import partial

from harness.data.sources import Source, columns, evaluation_only

SOURCE = Source(
    name="aime26",
    file="aime26.jsonl",
    hub_id="MathArena/aime_2026",
    hub_split="train",  # its only one
    row=columns(problem="problem", answer="answer"),
    num_problems=30,
    answer_range=(0, 999),
)
SOURCES = {"test": SOURCE}
load = partial(evaluation_only, SOURCE)
