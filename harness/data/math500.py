"""MATH-500, the 500 test problems of MATH that PRM800K held out (arXiv:2305.20050). For evaluation alone."""

from __future__ import annotations

from functools import partial

from harness.data.sources import Source, columns, evaluation_only

SOURCE = Source(
    name="math500",
    file="math500.jsonl",
    hub_id="HuggingFaceH4/MATH-500",
    hub_split="test",
    row=columns(problem="problem", answer="answer", subject="subject", level="level", solution="solution"),
    num_problems=500,
)
SOURCES = {"test": SOURCE}
load = partial(evaluation_only, SOURCE)
