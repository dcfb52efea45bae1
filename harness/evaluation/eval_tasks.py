"""Tasks of an evaluation: every split and benchmark of `eval`, with its protocol and its key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.data.documents import benchmark_data, problems_to_evaluate
from harness.grading.find.extraction import Rule
from harness.identity import benchmark_key, digest, eval_key, sampling_keys, search_key
from harness.records.search import search_path
from harness.schema.data_config import DataConfig
from harness.schema.eval_config import BenchmarkConfig
from harness.schema.run_config import RunConfig
from harness.schema.search_config import EvalSearchConfig
from harness.types import Problem

TASKS = Path(__file__).resolve().parents[2] / "tasks"


@dataclass(frozen=True, kw_only=True)
class EvalTask:
    """One set of problems under one protocol; each checkpoint has an EvalRecord of it.

    `name` is the lm-eval task's without `_k` or `_greedy`. `label` is what tables call it: the split of the
    training data, or the benchmark's name. `key` names the protocol. `base_only` marks a control that is
    measured on the base alone, `further` a sampling besides the main protocol (`eval.temperatures`): its
    record has the main one's name, in a folder of its own key. `limit` measures on a sample of so many
    problems.
    """

    name: str
    label: str
    key: str
    data: DataConfig
    split: str
    max_train_problems: int | None
    k: int
    temperature: float
    top_p: float
    max_new_tokens: int
    greedy: bool
    rerank: bool
    base_only: bool = False
    further: bool = False
    limit: int | None = None

    @property
    def variants(self) -> tuple[str, ...]:
        return ("k", "greedy") if self.greedy else ("k",)

    @property
    def rules(self) -> tuple[Rule, ...]:
        return tuple(self.data.answer_rules)

    def problems(self) -> list[Problem]:
        return problems_to_evaluate(self.data, self.split, self.max_train_problems, self.limit)

    def sampled_from(self) -> int | None:
        """How many problems `limit` has drawn from; None where it has left none out."""
        if self.limit is None:
            return None
        num = len(problems_to_evaluate(self.data, self.split, self.max_train_problems))
        return num if num > self.limit else None

    def task_name(self, variant: str = "k") -> str:
        return f"{self.name}_{variant}"

    def lm_eval_name(self, variant: str = "k") -> str:
        """Name of the task in lm-eval's call, where a further sampling stands beside the main one."""
        at = f"_t{self.temperature:g}_p{self.top_p:g}" if self.further else ""
        return f"{self.name}{at}_{variant}"

    def record_path(self, folder: Path, checkpoint: str) -> Path:
        """Path of a checkpoint's EvalRecord, of the run or base in `folder`."""
        return folder / "eval" / f"{checkpoint}-{self.key}" / f"{self.task_name()}.json"

    def task_config(self, variant: str) -> dict[str, Any]:
        """lm-eval's task: the YAML of tasks/aime_gen with this task's problems, k and sampling."""
        from lm_eval.tasks._yaml_loader import load_yaml

        task = load_yaml(TASKS / "aime_gen" / f"_{variant}.yaml")
        options = {**task["generation_kwargs"], "max_gen_toks": self.max_new_tokens}
        task |= {
            "task": self.lm_eval_name(variant),
            "generation_kwargs": options,
            "dataset_kwargs": {
                "split": self.split,
                "data": self.data.model_dump(mode="json"),
                "max_train_problems": self.max_train_problems,
                "limit": self.limit,
            },
        }
        if variant == "k":
            options |= {"temperature": self.temperature, "top_p": self.top_p}
            task["repeats"] = self.k
            task["filter_list"] = [{"name": "all", "filter": [{"function": "take_first_k", "k": self.k}]}]
        task.pop("tag", None)
        return task


def eval_tasks(config: RunConfig) -> Iterator[EvalTask]:
    """The data's splits, the benchmarks, both under `eval.base_templates`, and the splits at
    `eval.temperatures`."""
    tasks = list(_own_tasks(config))
    yield from tasks
    for task in tasks:
        for template in config.eval.base_templates:
            if template != task.data.template:
                yield replace(
                    task,
                    name=f"{task.name}_{template}",
                    key=digest({"as": task.key, "template": template}),
                    data=task.data.model_copy(update={"template": template}),
                    rerank=False,
                    base_only=True,
                )

    for (temperature, top_p), key in sampling_keys(config).items():
        for task in tasks[: len(config.eval.splits)]:
            also = replace(task, key=key, temperature=temperature, top_p=top_p, further=True)
            yield replace(also, greedy=False, rerank=False)


def _own_tasks(config: RunConfig) -> Iterator[EvalTask]:
    settings = config.eval
    for split in settings.splits:
        yield EvalTask(
            name=f"{config.measured_data.dataset}_{split}",
            label=split,
            key=eval_key(config),
            data=config.measured_data,
            split=split,
            max_train_problems=settings.max_train_problems,
            rerank=bool(settings.rerank),
            **settings.model_dump(include={"k", "temperature", "top_p", "max_new_tokens", "greedy"}),
        )
    for benchmark in settings.benchmarks:
        yield benchmark_task(
            benchmark, template=config.measured_data.template, key=benchmark_key(config, benchmark)
        )


def benchmark_task(benchmark: BenchmarkConfig, *, template: str, key: str) -> EvalTask:
    """The task of a benchmark, of a run or of score_lm.py."""
    return EvalTask(
        name=benchmark.name,
        label=benchmark.name,
        key=key,
        data=benchmark_data(benchmark, template),
        split=benchmark.split,
        max_train_problems=None,
        rerank=False,
        limit=benchmark.limit,
        **benchmark.model_dump(include={"k", "temperature", "top_p", "max_new_tokens", "greedy"}),
    )


def search_files(
    config: RunConfig, folder: Path, checkpoint: str
) -> list[tuple[EvalSearchConfig, str, Path]]:
    """(search, split, path of its record) of each that a checkpoint is asked for."""
    name = config.measured_data.dataset
    return [
        (asked, split, search_path(folder, checkpoint, search_key(config, asked), f"{name}_{split}"))
        for asked in config.eval.search
        for split in asked.splits
    ]
