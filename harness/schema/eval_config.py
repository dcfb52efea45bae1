"""The schema of what is measured on a base and on each checkpoint. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import Field, model_validator

from harness.schema.presets import preset
from harness.schema.prompts import TemplateName
from harness.schema.reward_config import ProcessRewardModelConfig, RewardModelConfig
from harness.schema.search_config import EvalSearchConfig
from harness.schema.section import Check, Name, NonNegative, Positive, PositiveFloat, Section, Used

Split = Literal["train", "perturbed", "validation", "validation_perturbed", "test", "heldout"]
MANY_SAMPLES, FEW_SAMPLES = 64, 4  # k for sets of 30 or 40 problems, and for large ones
TopP = Annotated[float, Field(gt=0, le=1)]
SMALL_SETS = ("aime24", "aime25", "aime26", "amc23", "hmmt_feb25", "hmmt_nov25", "hmmt_feb26")


class BenchmarkConfig(Section):
    """Problems to measure on beside the training data's own splits; a string alone is its `task`.

    The defaults are DeepSeek-R1's protocol (arXiv:2501.12948 section 3).
    """

    task: Name
    """Preset of conf/data."""
    name: Name
    """What records and tables call it; by default its task."""
    split: Split = "test"
    """Split of that data."""
    limit: Positive | None = None
    """Measure on a sample of so many problems, the same in every arm (drawn with seed 0); null: on all."""
    k: Positive
    """Samples of each problem; by default 64 for the small sets (AIME, AMC, HMMT), else 4."""
    temperature: PositiveFloat = 0.6
    """Sampling temperature."""
    top_p: TopP = 0.95
    """Sample from the most likely tokens that together have this probability."""
    max_new_tokens: Positive = 32768
    """Longest completion in tokens."""
    greedy: bool = True
    """Decode each problem greedily as well."""
    template: TemplateName | None = None
    """Text around each problem; null: the one that the run trains with."""
    path: str | None = None
    """JSON Lines file of task=jsonl."""
    own: dict[str, Any] | None = None
    """Settings of a task of your own, from --config-dir; the launch fills them in."""

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, value: Any) -> Any:
        """Take a bare name as the task, and give `name` and `k` their defaults."""
        if not isinstance(value, str | dict):
            return value
        given = {"task": value} if isinstance(value, str) else dict(value)
        if (task := given.get("task")) is not None:
            given.setdefault("name", task)
            given.setdefault("k", MANY_SAMPLES if task in SMALL_SETS else FEW_SAMPLES)
        return given

    @model_validator(mode="after")
    def _known(self) -> Self:
        """Raise ValueError for a task that conf/data does not have."""
        if self.path is None and self.own is None:
            preset(self.task, field="task")
        return self


class LmEvalConfig(Section):
    """A task or group of lm-eval, with its own prompt and grader; a string alone is its `task`."""

    task: Name
    """Name in lm-eval (`lm-eval ls tasks`): ifeval, hellaswag, mmlu."""
    limit: Positive | None = None
    """Measure on the first so many documents of each task, as lm-eval's --limit does; null: on all."""
    num_fewshot: NonNegative | None = None
    """Solved examples before each document; null: as the task says."""
    batch_size: Positive = 8
    """Texts that the model reads at once."""
    include_path: str | None = None
    """Folder with YAMLs of tasks of your own."""

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, value: Any) -> Any:
        """Take a bare name as the task."""
        return {"task": value} if isinstance(value, str) else value


def _repeated(values: Sequence[float]) -> float | None:
    """The first value that stands twice."""
    return next((value for i, value in enumerate(values) if value in values[:i]), None)


def _trained(kind: str) -> Used[EvalConfig]:
    """The settings of a reward model, which are read where something asks for its values."""
    return Used(
        (f"{kind}_model",),
        lambda c, run: kind in c.reward_models,
        f"no such model is trained; add {kind} to eval.rerank, ask for a search with value={kind}, or "
        f"leave it out",
    )


class EvalConfig(Section):
    """The evaluation of the base and of each checkpoint; it has a key of its own, outside `run_id`."""

    splits: list[Split]
    """Splits of the training data to measure on. perturbed, validation_perturbed: the training or validation
    problems of GSM8K with other numbers."""
    k: Positive
    """Samples of each problem."""
    temperature: PositiveFloat
    """Sampling temperature."""
    top_p: TopP
    """Sample from the most likely tokens that together have this probability."""
    temperatures: list[PositiveFloat] = Field(default=[])
    """Temperatures at which every split is sampled besides `temperature`, with the same seeds: the report
    compares each arm and the base at their own best one, by validation. Empty: `temperature` alone."""
    top_ps: list[TopP] = Field(default=[])
    """Values of top_p to combine with each of `temperatures`. Empty: `top_p` alone."""
    max_new_tokens: Positive
    """Longest completion in tokens."""
    greedy: bool
    """Decode each problem greedily as well."""
    max_train_problems: Positive | None = None
    """Measure on the first so many training problems and their perturbed twins; null: on all."""
    at_steps: list[NonNegative] = Field(default=[])
    """Steps whose checkpoints are measured too, beside the base and the last."""
    rerank: list[Literal["outcome", "process"]] = Field(default=[])
    """Reward models of the base that choose the best of the k samples (harness/reward_models/rerank.py)."""
    outcome_model: RewardModelConfig | None = None
    """How the outcome model of `rerank` is trained."""
    process_model: ProcessRewardModelConfig | None = None
    """How the process model of `rerank` is trained."""
    benchmarks: list[BenchmarkConfig] = Field(default=[])
    """Other problems to measure on, each with a key and a record of its own."""
    lm_eval: list[LmEvalConfig] = Field(default=[])
    """Tasks of lm-eval on the base and each checkpoint: what training kept, and what it cost elsewhere."""
    base_templates: list[TemplateName] = Field(default=[])
    """Templates under which the base alone is measured too: what a template gives is no gain of training."""

    search: list[EvalSearchConfig] = Field(default=[])
    """Searches over derivation steps on the base and each checkpoint, `{fn: mcts, value: process, budget:
    [64, 256]}`, each with a key and records of its own (harness/rollout/search/)."""

    @property
    def reward_models(self) -> list[Literal["outcome", "process"]]:
        """The reward models of the base that choose samples, or give a search its values."""
        asked = {*self.rerank, *(search.value for search in self.search)}
        kinds: tuple[Literal["outcome", "process"], ...] = ("outcome", "process")
        return [kind for kind in kinds if kind in asked]

    @property
    def samplings(self) -> list[tuple[float, float]]:
        """(temperature, top_p) of each further sampling: the product of both lists less the main protocol."""
        if not self.temperatures and not self.top_ps:
            return []
        pairs = product(self.temperatures or [self.temperature], self.top_ps or [self.top_p])
        return [pair for pair in pairs if pair != (self.temperature, self.top_p)]

    @property
    def _grid(self) -> str:
        """`temperatures=[0.3,0.6]`: what asks for further samplings, as it is typed; empty without them."""
        lists = {"temperatures": self.temperatures, "top_ps": self.top_ps}
        return ", ".join(f"{k}=[{','.join(f'{v:g}' for v in found)}]" for k, found in lists.items() if found)

    @property
    def _taken_name(self) -> str | None:
        """The first name that two benchmarks, or a benchmark and a split, have in common."""
        names = [b.name for b in self.benchmarks]
        return min((n for n in names if names.count(n) > 1 or n in get_args(Split)), default=None)

    @property
    def _twice(self) -> str | None:
        """The first task of `lm_eval` that stands twice."""
        names = [asked.task for asked in self.lm_eval]
        return next((name for i, name in enumerate(names) if name in names[:i]), None)

    @property
    def _same_search(self) -> str | None:
        """The first search that stands twice."""
        return next((s.label for i, s in enumerate(self.search) if s in self.search[:i]), None)

    @property
    def _untrained(self) -> str | None:
        """The first reward model that is asked for, without settings for its training."""
        return next((kind for kind in self.reward_models if getattr(self, f"{kind}_model") is None), None)

    checks: ClassVar[tuple[Check[EvalConfig], ...]] = (
        Check(
            lambda c: c._taken_name,
            "benchmarks: the name {c._taken_name} is taken; give this one another, e.g. "
            "{{task: {c._taken_name}, name: {c._taken_name}_2}}",
        ),
        Check(
            lambda c: c._twice,
            "lm_eval: {c._twice} stands twice; give each task once",
        ),
        Check(
            lambda c: _repeated(c.temperatures) is not None or _repeated(c.top_ps) is not None,
            "{c._grid}: a value stands twice; give each once",
        ),
        Check(
            lambda c: c._grid and not c.samplings,
            "{c._grid}: names only what is sampled anyway (temperature={c.temperature:g}, "
            "top_p={c.top_p:g}); give other values, or leave it out",
        ),
        Check(
            lambda c: c._grid and "validation" not in c.splits,
            "{c._grid} without validation in splits: the best one is chosen on validation; add it to splits, "
            "or leave it out",
        ),
        Check(
            lambda c: c._same_search,
            "search: {c._same_search} stands twice with the same settings; give each once",
        ),
        Check(
            lambda c: c._untrained,
            "{c._untrained} values (rerank, search) with {c._untrained}_model=null; give its training as "
            "conf/eval/default.yaml does",
        ),
    )

    used: ClassVar[tuple[Used[EvalConfig], ...]] = tuple(map(_trained, ("outcome", "process")))
