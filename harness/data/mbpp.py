"""MBPP's 500 test problems (arXiv:2108.07732): a sentence and three assertions. For evaluation, hub only.

The prompt is the paper's, assertions included, without its few-shot examples. The function asked for is the
one of the reference solution that the first assertion calls.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from harness.data.sources import Source, evaluation_only

_DEFINED = re.compile(r"^(?:def|class) +(\w+)", re.MULTILINE)
_CALLED = re.compile(r"\b(\w+)\s*\(")


def entry_point(code: str, test: str) -> str:
    """The function that a test calls first among those that the reference solution defines; "" for none."""
    defined = set(_DEFINED.findall(code))
    return next((name for name in _CALLED.findall(test) if name in defined), "")


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    tests = "\n".join(row["test_list"])
    return {
        "id": f"MBPP/{row['task_id']}",
        "prompt": f"You are an expert Python programmer, and here is your task: {row['text']} "
        f"Your code should pass these tests:\n\n{tests}",
        "tests": list(row["test_list"]),
        "entry_point": entry_point(row["code"], row["test_list"][0]),
        "setup": row["test_setup_code"],
        "solution": row["code"],
    }


SOURCE = Source(
    name="mbpp",
    file=None,
    hub_id="google-research-datasets/mbpp",
    hub_split="test",
    hub_configs=("full",),
    row=_row,
    num_problems=500,
)
SOURCES = {"test": SOURCE}
load = partial(evaluation_only, SOURCE)
