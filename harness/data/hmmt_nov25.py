"""HMMT of November 2025: the 30 final-answer problems, as MathArena has them. For evaluation alone.

MathArena is arXiv:2505.23281.
"""

from __future__ import annotations

from functools import partial

from harness.data.sources import Source, columns, evaluation_only

SOURCE = Source(
    name="hmmt_nov25",
    file="hmmt_nov25.jsonl",
    hub_id="MathArena/hmmt_nov_2025",
    hub_split="train",  # its only one
    row=columns(problem="problem", answer="answer"),
    num_problems=30,
)
SOURCES = {"test": SOURCE}
load = partial(evaluation_only, SOURCE)
