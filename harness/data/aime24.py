"""AIME 2024, I and II: 30 problems, integer answers 0-999. For evaluation alone."""

from __future__ import annotations

from functools import partial

from harness.data.sources import Source, columns, evaluation_only

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
load = partial(evaluation_only, SOURCE)
