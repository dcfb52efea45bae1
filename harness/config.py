"""The schema of a run. Hydra composes it from conf/, this validates and freezes it; past here there is no
DictConfig and no second default. Imports no torch.

Fields without a default must stand in the YAML. A field with a default was added later, or is switched off by
it: at that default it stays outside `run_id`, so adding one never renames a finished run.
"""

from __future__ import annotations

import difflib
import tempfile
import warnings
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from harness.objective_config import ObjectiveConfig, doubts
from harness.records import BASES
from harness.section import Name, NonNegative, NonNegativeFloat, Positive, PositiveFloat, Section
from harness.slots import COMPARED, ProcessRewardModelConfig, RewardModelConfig

AnswerRule = Literal["boxed", "answer_is", "answer_colon", "a_colon", "hashes", "final_number"]


class ConfigError(ValueError):
    """What a user gave is wrong: one line with the field, the value and the remedy. Exit code 2."""


class ConfigWarning(UserWarning):
    """A setting that runs but cannot do what its name says."""


class DimsConfig(Section):
    """Shape of a from-scratch model, in the hub's terms; the vocabulary comes from the tokenizer."""

    architecture: Literal["llama", "qwen2", "qwen3"]
    hidden_size: Positive
    intermediate_size: Positive
    num_layers: Positive
    num_heads: Positive
    num_kv_heads: Positive
    head_dim: Positive
    max_position_embeddings: Positive
    rope_theta: PositiveFloat
    rms_norm_eps: PositiveFloat
    tie_word_embeddings: bool

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"num_kv_heads={self.num_kv_heads} does not divide num_heads={self.num_heads}; use a divisor"
            )
        return self


class PretrainConfig(Section):
    """How a base is made: `steps` of `batch_size` documents (fixed steps, never seconds)."""

    steps: Positive
    batch_size: Positive
    lr: PositiveFloat
    warmup_steps: NonNegative
    weight_decay: NonNegativeFloat
    max_grad_norm: PositiveFloat


class ModelConfig(Section):
    name: Name
    source: Literal["ladder"]
    dims: DimsConfig
    pretrain: PretrainConfig


class DataConfig(Section):
    """`dataset` is a module of harness/data. Generated problems use the fields below it; `jsonl` the path."""

    name: Name
    dataset: Literal["aime_gen", "jsonl"]
    template: Literal["question"]
    answer_rules: list[AnswerRule] = Field(min_length=1)
    answer_range: tuple[int, int] | None
    symbolic: bool = True
    families: list[str] = Field(default=[])
    heldout_families: list[str] = Field(default=[])
    levels: list[Annotated[int, Field(ge=1, le=5)]] = Field(default=[])
    style: Literal["full", "terse"] = "full"
    data_seed: int = 0
    num_train: NonNegative = 0
    num_validation: NonNegative = 0
    num_test: NonNegative = 0
    num_heldout: NonNegative = 0
    path: str | None = None

    @model_validator(mode="after")
    def _source(self) -> Self:
        if self.dataset == "jsonl" and self.path is None:
            raise ValueError("path=null with dataset=jsonl; give the file: data.path=/folder/problems.jsonl")
        if self.dataset == "aime_gen" and not (self.families and self.levels and self.num_train):
            raise ValueError(
                "families, levels and num_train are needed with dataset=aime_gen; see conf/data/"
            )
        return self


class RolloutConfig(Section):
    """How training completions are sampled: `prompts_per_step` × `group_size` each step."""

    engine: Literal["native"]
    prompts_per_step: Positive
    group_size: Positive
    max_new_tokens: Positive
    temperature: PositiveFloat
    top_p: Annotated[float, Field(gt=0, le=1)]
    top_k: NonNegative
    max_batch_size: Positive
    keep: NonNegative = 0


class TrainerConfig(Section):
    """AdamW. `microbatch_tokens` bounds the padded tokens of one forward; it does not change the gradient."""

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


class EvalConfig(Section):
    """What is measured on the base and on each checkpoint; it has a key of its own, outside `run_id`.

    `rerank` names the reward models of the base that choose the best of the k samples (harness/rerank.py);
    `outcome_model` and `process_model` say how these are trained.
    """

    splits: list[Literal["train", "perturbed", "validation", "test", "heldout"]]
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

    @model_validator(mode="after")
    def _reranks(self) -> Self:
        for kind in self.rerank:
            if getattr(self, f"{kind}_model") is None:
                raise ValueError(
                    f"rerank={kind} with {kind}_model=null; give its training as conf/eval/default.yaml does"
                )
        return self


class TrackingConfig(Section):
    """outputs/ always; W&B beside it."""

    mode: Literal["online", "offline", "disabled"]
    project: str
    entity: str | None = None


class RunConfig(Section):
    study: Name
    output_dir: str
    seed: NonNegative
    base_seed: NonNegative
    replicate: NonNegative
    corpus: Literal["mixed", "clean"]
    device: Literal["auto", "cpu", "cuda"]
    dtype: Literal["float32"]
    threads: Positive
    model: ModelConfig
    objective: ObjectiveConfig
    data: DataConfig
    rollout: RolloutConfig
    trainer: TrainerConfig
    eval: EvalConfig
    tracking: TrackingConfig

    @model_validator(mode="after")
    def _fields_fit(self) -> Self:
        rollout, objective = self.rollout, self.objective
        if self.study == BASES:
            raise ValueError(f"study={BASES} is where bases are kept; choose another name")
        if rollout.top_p != 1 or rollout.top_k != 0:
            raise ValueError(
                f"rollout.top_p={rollout.top_p:g}, rollout.top_k={rollout.top_k}: set top_p=1 and top_k=0; "
                "logprobs of a truncated distribution are not the policy's, so the gradient would be biased"
            )
        if rollout.group_size == 1 and objective.advantage.fn in COMPARED:
            raise ValueError(
                f"rollout.group_size=1 with objective.advantage.fn={objective.advantage.fn}: one sample "
                "has no group to compare with; use group_size >= 2 or advantage.fn=raw_reward"
            )
        if rollout.group_size == 1 and objective.selection.fn == "dynamic":
            raise ValueError(
                "rollout.group_size=1 with objective.selection.fn=dynamic: one sample never differs from "
                "itself, so nothing would be kept; use group_size >= 2 or selection.fn=all"
            )
        if (buffer := objective.reward.overlong_buffer or 0) > rollout.max_new_tokens:
            raise ValueError(
                f"objective.reward.overlong_buffer={buffer} exceeds rollout.max_new_tokens="
                f"{rollout.max_new_tokens}; lower it"
            )
        if objective.updates.minibatches > rollout.prompts_per_step:
            raise ValueError(
                f"objective.updates.minibatches={objective.updates.minibatches} exceeds "
                f"rollout.prompts_per_step={rollout.prompts_per_step}; a minibatch holds whole groups"
            )
        longest = self.model.dims.max_position_embeddings
        for name in ("rollout", "eval"):
            if (tokens := getattr(self, name).max_new_tokens) >= longest:
                raise ValueError(
                    f"{name}.max_new_tokens={tokens} leaves no room for a prompt in the model's {longest} "
                    "positions (model.dims.max_position_embeddings); lower it"
                )
        return self


def warnings_of(config: RunConfig) -> list[str]:
    """Settings that run but cannot do what their names say."""
    return doubts(config.objective)


def validate(data: dict[str, Any], *, where: str = "") -> RunConfig:
    """Check and freeze. Raises ConfigError with one line: field, value, remedy."""
    try:
        return RunConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError(where + "; ".join(_explain(e) for e in error.errors()[:3])) from None


def _explain(error: Any) -> str:
    path = ".".join(str(part) for part in error["loc"])
    value = error["input"]
    if error["type"] == "extra_forbidden":
        return f"{path}: no such setting{did_you_mean(str(error['loc'][-1]), _fields_at(error['loc'][:-1]))}"
    if error["type"] == "missing":
        return f"{path}: missing; give it as {path}=..."
    if error["type"] == "value_error":
        prefix = f"{path}." if path else ""
        return prefix + str(error["ctx"]["error"])
    message = error["msg"][0].lower() + error["msg"][1:]
    if error["type"] == "literal_error":
        allowed = [word.strip("'") for word in error["ctx"]["expected"].replace(" or ", ", ").split(", ")]
        return f"{path}={value}: not one of {', '.join(allowed)}{did_you_mean(str(value), allowed)}"
    return f"{path}={value}: {message}"


def _fields_at(location: tuple[Any, ...]) -> list[str]:
    kind: Any = RunConfig
    for part in location:
        field = getattr(kind, "model_fields", {}).get(part)
        annotation = getattr(field, "annotation", None)
        kinds = [annotation, *getattr(annotation, "__args__", ())]
        kind = next((k for k in kinds if isinstance(k, type) and issubclass(k, Section)), None)
    return list(getattr(kind, "model_fields", {}))


def did_you_mean(word: str, names: list[str]) -> str:
    """The nearest names, as the end of a message; the whole short list when none is near."""
    near = difflib.get_close_matches(word, names, n=3, cutoff=0.5)
    if near:
        return f"; did you mean {' or '.join(near)}?"
    return f"; known: {', '.join(sorted(names))}" if 0 < len(names) <= 20 else ""


def check_folder(path: Path) -> None:
    """Raises ConfigError when a run cannot write there."""
    existing = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not existing.is_dir():
        raise ConfigError(f"output_dir={path}: {existing} is a file; name a folder")
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise ConfigError(
            f"output_dir={path}: {existing} is not writable ({error.strerror}); "
            "choose another: output_dir=/a/folder"
        ) from None


def warn(config: RunConfig) -> None:
    for text in warnings_of(config):
        warnings.warn(text, ConfigWarning, stacklevel=2)
