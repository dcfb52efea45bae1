"""The schema of how a run samples, trains and evaluates. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, model_validator

from harness.schema.presets import preset
from harness.schema.prompts import TemplateName
from harness.schema.section import Name, NonNegative, NonNegativeFloat, Positive, PositiveFloat, Section
from harness.schema.slots import ProcessRewardModelConfig, RewardModelConfig


class VllmConfig(Section):
    """Options of `engine: vllm`; `VllmEngine` says what each does. `memory` is of the GPU's."""

    memory: Annotated[float, Field(gt=0, lt=1)] = 0.3
    enforce_eager: bool | None = None
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    max_model_len: Positive | None = None


class RolloutConfig(Section):
    """How training completions are sampled: `prompts_per_step` × `group_size` each step.

    `max_sampler_kl` is the `sampler_trainer_kl` above which a run stops, in nats a token (None: 1e-5 where
    the engine computes in float32, else 0.01). With `release` the engine gives memory back while gradients
    are computed: the native one its cache, vLLM on a GPU its weights too.
    """

    engine: Literal["native", "vllm"]
    prompts_per_step: Positive
    group_size: Positive
    max_new_tokens: Positive
    temperature: PositiveFloat
    top_p: Annotated[float, Field(gt=0, le=1)]
    top_k: NonNegative
    max_batch_size: Positive
    keep: NonNegative = 0
    vllm: VllmConfig = VllmConfig()
    max_sampler_kl: PositiveFloat | None = None
    release: bool = False

    @model_validator(mode="after")
    def _options_are_of_the_engine(self) -> Self:
        if self.engine != "vllm" and self.vllm != VllmConfig():
            raise ValueError(f"vllm.* is set with engine={self.engine}; set engine=vllm, or leave vllm out")
        return self


LoraTarget = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class LoraConfig(Section):
    """Low-rank adapters (arXiv:2106.09685) of `rank`, scaled by `alpha` / `rank`, on every module of a name
    in `targets`. No dropout: what is sampled and what is trained must be one policy."""

    rank: Positive
    alpha: Positive
    targets: list[LoraTarget] = Field(default=list(get_args(LoraTarget)), min_length=1)


class TrainerConfig(Section):
    """AdamW. `microbatch_tokens` bounds the tokens of one forward, padding included where attention is padded
    (everywhere but on a GPU in half precision); it does not change the gradient.

    With `on_oom: halve_microbatch` a step that runs out of memory starts again with half of it, and later
    steps keep that. `gradient_checkpointing` keeps each layer's input alone and computes the layer again in
    the backward pass. `lora` null trains every weight.
    """

    steps: Positive
    lr: PositiveFloat
    schedule: Literal["constant", "linear", "cosine"]
    warmup_steps: NonNegative
    beta1: Annotated[float, Field(ge=0, lt=1)]
    beta2: Annotated[float, Field(ge=0, lt=1)]
    adam_eps: PositiveFloat
    weight_decay: NonNegativeFloat
    max_grad_norm: PositiveFloat
    microbatch_tokens: Positive
    checkpoint_every: Positive
    on_oom: Literal["raise", "halve_microbatch"] = "raise"
    optimizer: Literal["adamw", "adamw_8bit"] = "adamw"
    gradient_checkpointing: bool = False
    lora: LoraConfig | None = None


Split = Literal["train", "perturbed", "validation", "test", "heldout"]
MANY_SAMPLES, FEW_SAMPLES = 64, 4  # of a set of 30 or 40 problems, of a large one
SMALL_SETS = ("aime24", "aime25", "amc23")


class BenchmarkConfig(Section):
    """Problems to measure on beside the training data's own splits; a string alone is its `task`.

    `task` is a preset of conf/data, `limit` takes its first so many problems. The protocol is DeepSeek-R1's
    (arXiv:2501.12948 section 3) unless said otherwise. `template` null: the one that the run trains with.
    `name` is what records and tables call it; `path` is the file of task=jsonl.
    """

    task: Name
    name: Name
    split: Split = "test"
    limit: Positive | None = None
    k: Positive
    temperature: PositiveFloat = 0.6
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    max_new_tokens: Positive = 32768
    greedy: bool = True
    template: TemplateName | None = None
    path: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, value: Any) -> Any:
        """A bare name, the default of `name`, and k by the size of the set."""
        if not isinstance(value, str | dict):
            return value
        given = {"task": value} if isinstance(value, str) else dict(value)
        if (task := given.get("task")) is not None:
            given.setdefault("name", task)
            given.setdefault("k", MANY_SAMPLES if task in SMALL_SETS else FEW_SAMPLES)
        return given

    @model_validator(mode="after")
    def _known(self) -> Self:
        """An unknown name is said before its other settings are looked at."""
        if self.path is None:
            preset(self.task, field="task")
        return self


class EvalConfig(Section):
    """What is measured on the base and on each checkpoint; it has a key of its own, outside `run_id`.

    `splits` of the training data, and `benchmarks`, each with a key and a record of its own. `rerank` names
    the reward models of the base that choose the best of the k samples (harness/reward_models/rerank.py);
    `outcome_model` and `process_model` say how these are trained. The base is also measured on all of it
    under each of `base_templates`: what a template alone gives is no gain of training.
    """

    splits: list[Split]
    k: Positive
    temperature: PositiveFloat
    top_p: Annotated[float, Field(gt=0, le=1)]
    max_new_tokens: Positive
    greedy: bool
    max_train_problems: Positive | None = None
    at_steps: list[NonNegative] = Field(default=[])
    rerank: list[Literal["outcome", "process"]] = Field(default=[])
    outcome_model: RewardModelConfig | None = None
    process_model: ProcessRewardModelConfig | None = None
    benchmarks: list[BenchmarkConfig] = Field(default=[])
    base_templates: list[TemplateName] = Field(default=[])

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [b.name for b in self.benchmarks]
        if twice := sorted({name for name in names if names.count(name) > 1 or name in get_args(Split)}):
            raise ValueError(
                f"benchmarks: the name {twice[0]} is taken; give this one another, e.g. "
                f"{{task: {twice[0]}, name: {twice[0]}_2}}"
            )
        return self

    @model_validator(mode="after")
    def _reranks(self) -> Self:
        for kind in self.rerank:
            if getattr(self, f"{kind}_model") is None:
                raise ValueError(
                    f"rerank={kind} with {kind}_model=null; give its training as conf/eval/default.yaml does"
                )
        return self
