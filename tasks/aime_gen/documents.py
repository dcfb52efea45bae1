"""Documents of the generated sets. Plain lm-eval takes a preset of conf/data: --metadata '{"data": "X"}'."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from harness.config import DataConfig
from harness.documents import dataset, problems_to_evaluate

if TYPE_CHECKING:
    from datasets import Dataset

PRESETS = Path(__file__).resolve().parents[2] / "conf" / "data"


def generated(
    split: str,
    data: str | dict[str, Any] = "aime_gen_mini",
    max_train_problems: int | None = None,
    **_: Any,  # lm-eval adds the task's metadata and the model's arguments
) -> dict[str, Dataset]:
    """One split of a preset, or of a data config given in full.

    Raises ValueError for an unknown preset or an empty split.
    """
    if isinstance(data, str):
        path = PRESETS / f"{data}.yaml"
        if not path.is_file():
            known = ", ".join(sorted(p.stem for p in PRESETS.glob("*.yaml")))
            raise ValueError(f"data={data}: no such preset in conf/data; known: {known}")
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    config = DataConfig.model_validate(data)
    return dataset(
        problems_to_evaluate(config, split, max_train_problems), config.template, config.answer_rules
    )
