"""Minerva's 272 undergraduate problems of MIT OpenCourseWare (arXiv:2206.14858). For evaluation alone.

lm-eval's tasks `minerva_math` are another set: MATH under Minerva's prompt. Numbers are compared exactly,
where some harnesses allow for rounding.
"""

from __future__ import annotations

from functools import partial

from harness.data.sources import Source, columns, evaluation_only

SOURCE = Source(
    name="minerva",
    file="minerva.jsonl",
    hub_id="math-ai/minervamath",
    hub_split="test",
    row=columns(problem="question", answer="answer"),
    num_problems=272,
)
SOURCES = {"test": SOURCE}
load = partial(evaluation_only, SOURCE)
