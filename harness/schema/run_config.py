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
from typing import Any, Literal, Self

from pydantic import ValidationError, model_validator

from harness.records.records import BASES
from harness.schema.data_config import DataConfig
from harness.schema.model_config import ModelConfig
from harness.schema.objective_config import ObjectiveConfig, doubts
from harness.schema.prompts import CHAT
from harness.schema.section import Name, NonNegative, Positive, Section
from harness.schema.slots import COMPARED
from harness.schema.trainer_config import EvalConfig, RolloutConfig, TrainerConfig


class ConfigError(ValueError):
    """What a user gave is wrong: one line with the field, the value and the remedy. Exit code 2."""


class ConfigWarning(UserWarning):
    """A setting that runs but cannot do what its name says."""


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
    dtype: Literal["float32", "bfloat16"]
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
        teacher = objective.teacher
        if teacher is not None and teacher.pretrain_steps is not None and not self.model.is_ladder:
            raise ValueError(
                f"objective.teacher.pretrain_steps={teacher.pretrain_steps} with model.source="
                f"{self.model.source}: a model that is not made here; set it null and give teacher.path"
            )
        own = {f"{self.data.dataset}_{split}" for split in self.eval.splits}
        if taken := sorted(own & {b.name for b in self.eval.benchmarks}):
            raise ValueError(f"eval.benchmarks: {taken[0]} is one of the data's own splits; change the name")
        if self.trainer.lora is not None and objective.kl.refresh_every is not None:
            raise ValueError(
                f"objective.kl.refresh_every={objective.kl.refresh_every} with trainer.lora: the reference "
                "is the base without adapters and cannot move; set refresh_every=null"
            )
        self._model_fits()
        return self

    def _model_fits(self) -> None:
        dims = self.model.dims
        longest = None if dims is None else dims.max_position_embeddings
        limits = {"rollout": self.rollout.max_new_tokens, "eval": self.eval.max_new_tokens}
        limits |= {f"eval.benchmarks.{b.name}": b.max_new_tokens for b in self.eval.benchmarks}
        for name, tokens in limits.items():
            if longest is not None and tokens >= longest:
                raise ValueError(
                    f"{name}.max_new_tokens={tokens} leaves no room for a prompt in the model's {longest} "
                    "positions (model.dims.max_position_embeddings); lower it"
                )
        if self.model.is_ladder and (chat := sorted(self.templates & CHAT)):
            raise ValueError(f"template {chat[0]} with model.source=ladder: no chat template; use question")

    @property
    def templates(self) -> set[str]:
        """Every template that training or evaluation uses."""
        others = {b.template for b in self.eval.benchmarks if b.template is not None}
        return {self.data.template, *self.eval.base_templates, *others}


def warnings_of(config: RunConfig) -> list[str]:
    """Settings that run but cannot do what their names say."""
    return doubts(config.objective)


def validate(data: dict[str, Any], *, where: str = "") -> RunConfig:
    """Check and freeze. Raises ConfigError with one line: field, value, remedy."""
    try:
        return RunConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError(where + explain(error)) from None


def explain(error: ValidationError, *, at: tuple[str, ...] = ()) -> str:
    """One line for the first three errors: field, value, remedy. `at`: where a RunConfig has such data."""
    # A misspelt field makes others missing: it comes first.
    found = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    return "; ".join(_explain(e, at) for e in found[:3])


def _explain(error: Any, at: tuple[str, ...]) -> str:
    path = ".".join(str(part) for part in error["loc"])
    value = "null" if error["input"] is None else error["input"]
    if error["type"] == "extra_forbidden":
        known = _fields_at((*at, *error["loc"][:-1]))
        return f"{path}: no such setting{did_you_mean(str(error['loc'][-1]), known)}"
    if error["type"] == "missing":
        return f"{path}: missing; give it as {path}=..."
    if error["type"] == "value_error":
        prefix = f"{path}." if path else ""
        return prefix + str(error["ctx"]["error"])
    message = error["msg"][0].lower() + error["msg"][1:]
    if error["type"] == "literal_error":
        allowed = [word.strip("'") for word in error["ctx"]["expected"].replace(" or ", ", ").split(", ")]
        near = did_you_mean(str(value), allowed)
        return f"{path}={value}: not one of {', '.join(allowed)}{near if 'did you mean' in near else ''}"
    if error["type"] == "model_type":
        fields = [f"{path}.{name}" for name in _fields_at((*at, *error["loc"]))]
        return f"{path}={value}: it holds settings of its own; set {' or '.join(fields[:2])}"
    if error["type"] == "greater_than":
        return f"{path}={value}: give a number greater than {error['ctx']['gt']:g}"
    return f"{path}={value}: {message}"


def _fields_at(location: tuple[Any, ...]) -> list[str]:
    kind: Any = RunConfig
    for part in location:
        if isinstance(part, int):
            continue  # of a list
        field = getattr(kind, "model_fields", {}).get(part)
        annotation = getattr(field, "annotation", None)
        kinds = [annotation, *getattr(annotation, "__args__", ())]
        kind = next((k for k in kinds if isinstance(k, type) and issubclass(k, Section)), None)
    return list(getattr(kind, "model_fields", {}))


def did_you_mean(word: str, names: list[str]) -> str:
    """The nearest names, as the end of a message; when none is near, the whole list, if it is short."""
    near = difflib.get_close_matches(word, names, n=3, cutoff=0.5)
    if near:
        return f"; did you mean {' or '.join(near)}?"
    if len(names) > 20:
        return "; --help lists what there is"
    return f"; known: {', '.join(sorted(names))}" if names else ""


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
