"""OlympiadBench's open-ended English mathematics problems without pictures. For evaluation alone.

arXiv:2402.14008. Answers are compared exactly, also the one that the set takes within 0.1 (4.2 %).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from harness.data.sources import Source, evaluation_only


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A context stands before its question; several values are one answer, with commas between."""
    text = "\n".join(part for part in (row.get("context"), row["question"]) if part)
    answer = ", ".join(str(part) for part in row["final_answer"])
    return {"id": row["id"], "problem": text, "answer": answer, "subject": row.get("subfield")}


SOURCE = Source(
    name="olympiadbench",
    file="olympiadbench.jsonl",
    hub_id="Hothan/OlympiadBench",
    hub_split="train",  # its only one
    hub_configs=("OE_TO_maths_en_COMP",),
    row=_row,
)
SOURCES = {"test": SOURCE}
load = partial(evaluation_only, SOURCE)
