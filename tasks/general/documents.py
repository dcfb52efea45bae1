"""Documents of the general tasks. Plain lm-eval takes a preset of conf/data: --metadata '{"data": "X"}'."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.data.documents import data_config, dataset, problems_to_evaluate

if TYPE_CHECKING:
    from datasets import Dataset


def generated(
    split: str,
    data: str | dict[str, Any] = "general",
    template: str = "boxed_answer",
    limit: int | None = None,
    **_: Any,
) -> dict[str, Dataset]:
    """One split of a preset, or of a data config given in full, under a prompt template.

    Raises ValueError for an unknown preset or an empty split.
    """
    config = data_config(data)
    problems = problems_to_evaluate(config, split, limit=limit)
    return dataset(problems, template, config.answer_rules, symbolic=config.symbolic)
