"""What lm-eval sees of a problem: a document with its prompt rendered, and the dataset that holds them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from harness.data.load import load_split
from harness.data.programs import check_programs
from harness.data.stages import seeded, without_copies
from harness.schema.data_config import DataConfig
from harness.schema.eval_config import BenchmarkConfig
from harness.schema.presets import preset, with_components
from harness.schema.prompts import CHAT, render
from harness.schema.run_config import ConfigError
from harness.types import Problem

if TYPE_CHECKING:
    from datasets import Dataset


SAMPLE_SEED = 0  # of the draw that a benchmark's `limit` makes, in every arm and by every backend


def data_config(data: str | dict[str, Any]) -> DataConfig:
    """A preset of conf/data by name, or a config given in full. Raises ValueError for an unknown preset."""
    whole = preset(data) if isinstance(data, str) else data
    parts = (whole.get("components") or {}).values()
    is_full = all(isinstance(part, dict) and "dataset" in part for part in parts)  # as a config is dumped
    return DataConfig.model_validate(whole if is_full else with_components(whole))


def benchmark_data(benchmark: BenchmarkConfig, template: str) -> DataConfig:
    """The preset that a benchmark names, with its file and its template (else `template`).

    Raises ValueError for an unknown preset or template.
    """
    if benchmark.own is not None:
        whole = DataConfig.model_validate(benchmark.own)
    else:
        whole = data_config(benchmark.task) if benchmark.path is None else _file_preset(benchmark)
    return DataConfig.model_validate(
        {**whole.model_dump(), "template": benchmark.template or _default_template(whole, template)}
    )


def _default_template(data: DataConfig, template: str) -> str:
    """`template`, but for programs: their own, or that of a model made for chat."""
    if data.answer_rules != ["program"]:
        return template
    return "chat_code" if template in CHAT else data.template


def _file_preset(benchmark: BenchmarkConfig) -> DataConfig:
    return DataConfig.model_validate({**preset("jsonl"), "path": benchmark.path, "answer_range": None})


def check_benchmark(benchmark: BenchmarkConfig, template: str) -> None:
    """Raises ConfigError for a benchmark that cannot be loaded or holds no problems."""
    where = f"eval.benchmarks.{benchmark.name}"
    try:
        data = benchmark_data(benchmark, template)
        problems = load_split(data, benchmark.split)
        check_programs(data, problems)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"{where}.{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None
    if not problems:
        raise ConfigError(
            f"{where}.split={benchmark.split}: {benchmark.task} has no such problems; try split=test"
        )


def problems_to_evaluate(
    data: DataConfig, split: str, max_train_problems: int | None = None, limit: int | None = None
) -> list[Problem]:
    """The problems of a split, in order, each once. `max_train_problems` keeps the first so many training
    problems and the perturbations of just these; `limit` draws so many of what is there."""
    return drawn(_whole_split(data, split, max_train_problems), limit)


def drawn(problems: list[Problem], limit: int | None) -> list[Problem]:
    """`limit` problems (None: all) in the order given, drawn by SAMPLE_SEED and their ids.

    A smaller draw is part of a larger one.
    """
    if limit is None or limit >= len(problems):
        return problems
    chosen = {p.id for p in seeded(problems, SAMPLE_SEED)[:limit]}
    return [p for p in problems if p.id in chosen]


def _whole_split(data: DataConfig, split: str, max_train_problems: int | None) -> list[Problem]:
    if split == "train":  # its twins are measured as `perturbed`, by one that is not trained on
        data = data.model_copy(update={"perturb_draws": 0})
    problems = without_copies(load_split(data, split))
    if max_train_problems is None or split not in ("train", "perturbed"):
        return problems
    if split == "perturbed" and any(p.pair_id for p in problems):
        kept = {p.id for p in without_copies(load_split(data, "train"))[:max_train_problems]}
        return [p for p in problems if p.pair_id in kept]
    return problems[:max_train_problems]


def document(problem: Problem, template: str, rules: Sequence[str], symbolic: bool) -> dict[str, Any]:
    """`prompt` goes to the model; `problem`, `answer`, `rules`, `symbolic` and `exact` to the grader."""
    return {
        "id": problem.id,
        "problem": problem.text,
        "prompt": render(problem.text, template),
        "template": template,
        "answer": problem.answer,
        "rules": list(rules),
        "symbolic": symbolic,
        "exact": problem.exact,
    }


def dataset(
    problems: Sequence[Problem], template: str, rules: Sequence[str], *, symbolic: bool
) -> dict[str, Dataset]:
    """For lm-eval's `custom_dataset`: one split, named test. Raises ValueError for no problems."""
    from datasets import Dataset

    if not problems:
        raise ValueError("the task's split holds no problems; set its size in the data preset, e.g. num_test")
    return {"test": Dataset.from_list([document(p, template, rules, symbolic) for p in problems])}
