"""Documents of the real benchmarks, from MATH_DATA_DIR or the hub.

The prompt asks for a boxed answer; --metadata '{"template": "question"}' takes another of harness.prompts.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.data import jsonl
from harness.data.documents import dataset
from harness.grading import DEFAULT_RULES
from harness.prompts import TEMPLATES
from harness.types import Problem

if TYPE_CHECKING:
    from datasets import Dataset


class Source(NamedTuple):
    """`file` under MATH_DATA_DIR, else `hub_id` with its config, split and column names.

    No dataclass: lm-eval runs this file before it is in sys.modules, where dataclasses look for it.
    """

    file: str
    hub_id: str
    config: str | None
    split: str
    problem: str
    answer: str
    num_problems: int
    answer_range: tuple[int, int] | None = None


SOURCES = {
    "aime24": Source(
        "aime24.jsonl", "Maxwell-Jia/AIME_2024", None, "train", "Problem", "Answer", 30, (0, 999)
    ),
    "aime25": Source("aime25.jsonl", "math-ai/aime25", None, "test", "problem", "answer", 30, (0, 999)),
    "amc23": Source("amc23.jsonl", "math-ai/amc23", None, "test", "question", "answer", 40),
    "math500": Source("math500.jsonl", "HuggingFaceH4/MATH-500", None, "test", "problem", "answer", 500),
    "gsm8k": Source("gsm8k_test.jsonl", "openai/gsm8k", "main", "test", "question", "answer", 1319),
}


def benchmark(name: str, template: str = "boxed_answer", **_: Any) -> dict[str, Dataset]:
    """All problems of a benchmark under a prompt template (lm-eval's metadata beside them is not used).

    Raises ValueError for an unknown template, a missing file under MATH_DATA_DIR, or a number of problems
    that is not the benchmark's.
    """
    if template not in TEMPLATES:
        raise ValueError(f"template={template}: not one of {', '.join(sorted(TEMPLATES))}")
    folder, source = os.environ.get("MATH_DATA_DIR"), SOURCES[name]
    problems = from_folder(Path(folder), source) if folder else from_hub(name, source)
    if len(problems) != source.num_problems:
        raise ValueError(f"{name}: {len(problems)} problems where {source.num_problems} are expected")
    return dataset(problems, template, DEFAULT_RULES, symbolic=True)


def from_folder(folder: Path, source: Source) -> list[Problem]:
    """Raises ValueError for a missing file or a bad row (file and line)."""
    path = folder / source.file
    if not path.is_file():
        raise ValueError(f"MATH_DATA_DIR={folder}: no {source.file} there; unset it to read from the hub")
    return jsonl.load(path, split="test", answer_range=source.answer_range)


def from_hub(name: str, source: Source) -> list[Problem]:
    """Needs a network or a filled cache. Ids are `<benchmark>-<row>`."""
    from datasets import load_dataset

    rows = load_dataset(source.hub_id, source.config, split=source.split)
    problems = []
    for i, row in enumerate(rows):
        answer = str(row[source.answer])
        if name == "gsm8k":  # a solution that ends in "#### 1,200"
            answer = answer.split("####")[-1].replace(",", "")
        answer = answer.strip()
        jsonl.check_answer(answer, source.answer_range, f"{source.hub_id}, row {i}")
        problems.append(Problem(f"{name}-{i}", name, "test", row[source.problem], answer))
    return problems
