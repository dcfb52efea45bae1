"""Documents of the real benchmarks, from MATH_DATA_DIR or the hub.

The prompt asks for a boxed answer, or for code; --metadata '{"template": "question"}' takes another template.
'{"limit": 50}' draws 50 problems; lm-eval's own --limit takes the first 50.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.data.documents import dataset, drawn
from harness.data.load import PUBLISHED
from harness.grading.find.extraction import DEFAULT_RULES, PROGRAM
from harness.schema.prompts import TEMPLATES

if TYPE_CHECKING:
    from datasets import Dataset

PROGRAMS = {"humaneval": "continuation", "mbpp": "code"}  # judged by tests; the template of each


def benchmark(
    name: str, template: str | None = None, limit: int | None = None, **_: Any
) -> dict[str, Dataset]:
    """The problems of a benchmark, or `limit` of them drawn, under a prompt template (None: its own).

    lm-eval's metadata beside them is not used.

    Raises ValueError for an unknown template, a missing file under MATH_DATA_DIR, or a number of problems
    that is not the benchmark's.
    """
    own, rules = PROGRAMS.get(name, "boxed_answer"), PROGRAM if name in PROGRAMS else DEFAULT_RULES
    if (template := template or own) not in TEMPLATES:
        raise ValueError(f"template={template}: not one of {', '.join(sorted(TEMPLATES))}")
    return dataset(drawn(PUBLISHED[name].load("test"), limit), template, rules, symbolic=True)
