"""Documents of the generated sets. Plain lm-eval takes a preset of conf/data: --metadata '{"data": "X"}'.

`{"limit": n}` draws n problems; lm-eval's own --limit takes the first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.data.documents import data_config, dataset, problems_to_evaluate

if TYPE_CHECKING:
    from datasets import Dataset


def generated(
    split: str,
    data: str | dict[str, Any] = "aime_gen_mini",
    max_train_problems: int | None = None,
    limit: int | None = None,
    **_: Any,  # lm-eval adds the task's metadata and the model's arguments
) -> dict[str, Dataset]:
    """One split of a preset, or of a data config given in full.

    Raises ValueError for an unknown preset or an empty split.
    """
    config = data_config(data)
    problems = problems_to_evaluate(config, split, max_train_problems, limit)
    return dataset(problems, config.template, config.answer_rules, symbolic=config.symbolic)
