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

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from harness.records import BASES

Positive = Annotated[int, Field(gt=0)]
NonNegative = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


AnswerRule = Literal["boxed", "answer_is", "answer_colon", "a_colon", "hashes", "final_number"]


class ConfigError(ValueError):
    """What a user gave is wrong: one line with the field, the value and the remedy. Exit code 2."""


class ConfigWarning(UserWarning):
    """A setting that runs but cannot do what its name says."""


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


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


class RewardConfig(Section):
    """Weights of the rule-based rewards; they are summed. Controls: `random`, `inverted`."""

    accuracy: float
    format_r1: float = 0.0
    length_penalty: float = 0.0
    soft_overlong: float = 0.0
    random: float = 0.0
    inverted: float = 0.0


class SelectionConfig(Section):
    """Which samples train: all, or the accepted ones, at most `cap_per_problem` of each and none twice."""

    fn: Literal["all", "accepted"]
    cap_per_problem: Positive | None = None
    dedupe: bool = False


class AdvantageConfig(Section):
    """`threshold` is what a reward must exceed to be accepted; `eps` is added to a std."""

    fn: Literal[
        "accepted_only", "raw_reward", "group_centered", "group_normalized", "rloo", "reinforce_pp", "max_rl"
    ]
    std: Literal["none", "sample", "population"] = "none"
    eps: NonNegativeFloat = 0.0
    threshold: float = 0.0

    @property
    def params(self) -> dict[str, Any]:
        """The keywords that `fn` takes beside rewards and group_ids."""
        takes = {"accepted_only": ["threshold"], "group_normalized": ["std", "eps"], "reinforce_pp": ["eps"]}
        return {name: getattr(self, name) for name in takes.get(self.fn, [])}


class LossConfig(Section):
    fn: Literal["nll", "policy_gradient", "surrogate", "ppo_clip", "cispo"]
    clip_low: PositiveFloat | None = None
    clip_high: PositiveFloat | None = None
    dual_clip: Annotated[float, Field(gt=1)] | None = None

    @property
    def params(self) -> dict[str, float | None]:
        """The keywords that `fn` takes beside its tensors."""
        takes = {"ppo_clip": ["clip_low", "clip_high", "dual_clip"], "cispo": ["clip_low", "clip_high"]}
        return {name: getattr(self, name) for name in takes.get(self.fn, [])}


class KLConfig(Section):
    """Penalty towards the base. `coef` 0 means none; KL to the base is measured in every arm all the same."""

    estimator: Literal["k1", "k2", "k3"] = "k3"
    placement: Literal["loss"] = "loss"
    coef: NonNegativeFloat = 0.0


class UpdatesConfig(Section):
    """Optimiser steps per rollout batch = `epochs` × `minibatches`; old_logprobs stay fixed."""

    epochs: Positive
    minibatches: Positive


class OfflineConfig(Section):
    """Sample everything from the base once, then train: passes over the accepted set, rows a batch."""

    epochs: Positive
    batch_size: Positive


CLIPPED = ("ppo_clip", "cispo")
COMPARED = ("group_normalized", "group_centered", "rloo", "max_rl")


class ObjectiveConfig(Section):
    name: Name
    reward: RewardConfig
    selection: SelectionConfig
    advantage: AdvantageConfig
    ratio: Literal["token", "sequence", "sequence_mean"]
    loss: LossConfig
    kl: KLConfig
    reduce: Literal["sequence_mean", "token_mean", "sequence_sum", "constant"]
    reduce_over: Literal["all", "accepted", "nonzero"] = "all"
    updates: UpdatesConfig
    offline: OfflineConfig | None = None

    @model_validator(mode="after")
    def _slots_fit(self) -> Self:
        fn, clips = self.loss.fn, (self.loss.clip_low, self.loss.clip_high)
        if fn in CLIPPED and None in clips:
            raise ValueError(f"loss.fn={fn} needs loss.clip_low and loss.clip_high; 0.2 is PPO's for both")
        if fn not in CLIPPED and clips != (None, None):
            raise ValueError(f"loss.clip_low, clip_high mean nothing to loss.fn={fn}; set null")
        if fn != "ppo_clip" and self.loss.dual_clip is not None:
            raise ValueError(
                f"loss.dual_clip={self.loss.dual_clip:g} means nothing to loss.fn={fn}; set null"
            )
        if self.advantage.fn == "max_rl" and (
            self.reward.length_penalty > 0 or self.reward.soft_overlong > 0
        ):
            raise ValueError(
                "advantage.fn=max_rl needs rewards >= 0; set length_penalty and soft_overlong to 0"
            )
        if self.advantage.fn == "group_normalized" and self.advantage.std == "none":
            raise ValueError("advantage.std=none with fn=group_normalized; choose sample or population")
        if self.advantage.fn != "group_normalized" and self.advantage.std != "none":
            raise ValueError(
                f"advantage.std={self.advantage.std} means nothing to fn={self.advantage.fn}; set none"
            )
        return self


class DataConfig(Section):
    """`dataset` is a module of harness/data. Generated problems use the fields below it; `jsonl` the path."""

    name: Name
    dataset: Literal["aime_gen", "jsonl"]
    template: Literal["question"]
    answer_rules: list[AnswerRule] = Field(min_length=1)
    answer_range: tuple[int, int] | None
    symbolic: bool = True
    families: list[str] = []
    heldout_families: list[str] = []
    levels: list[Annotated[int, Field(ge=1, le=5)]] = []
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
    """What is measured on the base and on each checkpoint; it has a key of its own, outside `run_id`."""

    splits: list[Literal["train", "perturbed", "validation", "test", "heldout"]]
    k: Positive
    temperature: PositiveFloat
    top_p: Annotated[float, Field(gt=0, le=1)]
    max_new_tokens: Positive
    greedy: bool
    max_train_problems: Positive | None = None
    at_steps: list[NonNegative] = []


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
    found = []
    objective = config.objective
    updates = objective.updates.epochs * objective.updates.minibatches
    if objective.loss.fn in CLIPPED and updates == 1:
        found.append(
            "objective.loss: with one update per rollout batch the ratio is 1 and the clip can never bind; "
            "set objective.updates.epochs or minibatches above 1 to study clipping"
        )
    if objective.kl.coef and objective.kl.estimator == "k1" and objective.kl.placement == "loss":
        found.append(
            "objective.kl: k1 as a loss has an expected gradient of zero; use k2 or k3, or placement=reward"
        )
    if objective.ratio == "sequence" and objective.reduce != "sequence_mean":
        found.append(
            f"objective.ratio=sequence with reduce={objective.reduce}: each token carries its whole output's "
            "term, which weights it by length; use reduce=sequence_mean"
        )
    return found


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
