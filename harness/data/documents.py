"""What lm-eval sees of a problem: a document with its prompt rendered, and the dataset that holds them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from harness.data.load import load_split
from harness.data_config import DataConfig
from harness.prompts import render
from harness.types import Problem

if TYPE_CHECKING:
    from datasets import Dataset


PRESETS = Path(__file__).resolve().parents[2] / "conf" / "data"


def data_config(data: str | dict[str, Any]) -> DataConfig:
    """A preset of conf/data by name, or a config given in full. Raises ValueError for an unknown preset."""
    if isinstance(data, str):
        path = PRESETS / f"{data}.yaml"
        if not path.is_file():
            known = ", ".join(sorted(p.stem for p in PRESETS.glob("*.yaml")))
            raise ValueError(f"data={data}: no such preset in conf/data; known: {known}")
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    return DataConfig.model_validate(data)


def problems_to_evaluate(
    data: DataConfig, split: str, max_train_problems: int | None = None
) -> list[Problem]:
    """The problems of a split, in order. `max_train_problems` keeps the first so many training problems and
    the perturbations of just these."""
    problems = load_split(data, split)
    if max_train_problems is None or split not in ("train", "perturbed"):
        return problems
    if split == "perturbed" and any(p.pair_id for p in problems):
        kept = {p.id for p in load_split(data, "train")[:max_train_problems]}
        return [p for p in problems if p.pair_id in kept]
    return problems[:max_train_problems]


def document(problem: Problem, template: str, rules: Sequence[str], symbolic: bool) -> dict[str, Any]:
    """`prompt` goes to the model; `answer`, `rules` and `symbolic` to the grader."""
    return {
        "id": problem.id,
        "prompt": render(problem.text, template),
        "answer": problem.answer,
        "rules": list(rules),
        "symbolic": symbolic,
    }


def dataset(
    problems: Sequence[Problem], template: str, rules: Sequence[str], *, symbolic: bool
) -> dict[str, Dataset]:
    """For lm-eval's `custom_dataset`: one split, named test. Raises ValueError for no problems."""
    from datasets import Dataset

    if not problems:
        raise ValueError("the task's split holds no problems; set its size in the data preset, e.g. num_test")
    return {"test": Dataset.from_list([document(p, template, rules, symbolic) for p in problems])}
