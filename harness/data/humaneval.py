"""HumanEval's 164 functions to complete (arXiv:2107.03374), judged by their tests. For evaluation, hub only.

A completion goes on from the prompt, or is a whole program. Helpers of the prompt that tests call are the
prompt's own, in the tests' own process, whatever a program defines under their names.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from harness.data.sources import Source, evaluation_only


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": row["task_id"],
        "prompt": row["prompt"],
        "tests": [f"{row['test']}\ncheck({row['entry_point']})"],
        "entry_point": row["entry_point"],
        "setup": row["prompt"],
        "prefix": row["prompt"],
        "solution": row["canonical_solution"],
    }


SOURCE = Source(
    name="humaneval",
    file=None,
    hub_id="openai/openai_humaneval",
    hub_split="test",
    row=_row,
    num_problems=164,
)
SOURCES = {"test": SOURCE}
load = partial(evaluation_only, SOURCE)
