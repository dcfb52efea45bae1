"""Documents of the real benchmarks, from MATH_DATA_DIR or the hub.

The prompt asks for a boxed answer; --metadata '{"template": "question"}' takes another template.
'{"limit": 50}' draws 50 problems; lm-eval's own --limit takes the first 50.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.data.documents import dataset, drawn
from harness.data.load import PUBLISHED
from harness.grading.find.extraction import DEFAULT_RULES
from harness.schema.prompts import TEMPLATES

if TYPE_CHECKING:
    from datasets import Dataset


def benchmark(
    name: str, template: str = "boxed_answer", limit: int | None = None, **_: Any
) -> dict[str, Dataset]:
    """The problems of a benchmark, or `limit` of them drawn, under a prompt template.

    lm-eval's metadata beside them is not used.

    Raises ValueError for an unknown template, a missing file under MATH_DATA_DIR, or a number of problems
    that is not the benchmark's.
    """
    if template not in TEMPLATES:
        raise ValueError(f"template={template}: not one of {', '.join(sorted(TEMPLATES))}")
    return dataset(drawn(PUBLISHED[name].load("test"), limit), template, DEFAULT_RULES, symbolic=True)
