"""The names of all settings as dotted paths, and the nearest to a name that is none. Imports no torch."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from harness.schema.data_config import DataConfig
from harness.schema.explain import did_you_mean
from harness.schema.presets import CONF
from harness.schema.run_config import RunConfig
from harness.schema.section import Section, sections_in

COMPONENT = "data.components."  # the names below it are the user's
STAGE_SETTING = "pipeline."  # and below it a stage's, then a setting: pipeline.rl.trainer.lr
PARAMS = ".params."  # and so are those of an own function's parameters


def is_setting(key: str) -> bool:
    """Whether a dotted path is a field of the schema, one of a mixture's component, or one of a stage's."""
    if key.startswith(STAGE_SETTING):
        _, _, rest = key.removeprefix(STAGE_SETTING).partition(".")
        return not rest.startswith(STAGE_SETTING) and is_setting(rest)
    if key.startswith(COMPONENT):
        _, _, rest = key.removeprefix(COMPONENT).partition(".")
        return rest in ("", "preset") or rest.partition(PARAMS)[0] in paths(DataConfig)
    return key in paths(RunConfig) or (
        PARAMS in key and key.partition(PARAMS)[0] + ".params" in paths(RunConfig)
    )


@lru_cache
def paths(kind: type[Section], prefix: str = "") -> tuple[str, ...]:
    """Every dotted path of a part of the schema; a section's own kind, or a composed one, is not followed."""
    found: list[str] = []
    for name, field in kind.model_fields.items():
        found.append(prefix + name)
        for inner in () if name in kind.composed else sections_in(field.annotation):
            if inner is not kind:
                found += paths(inner, f"{prefix}{name}.")
    return tuple(found)


_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)
_HUB_LINE = re.compile(r"^hub_id: ([^\s?]+)", re.MULTILINE)

# What other programs (TRL, verl, OpenRLHF) call our settings.
SYNONYMS = {
    "learning_rate": "trainer.lr",
    "lr": "trainer.lr",
    "beta": "objective.kl.coef",
    "kl_coef": "objective.kl.coef",
    "init_kl_coef": "objective.kl.coef",
    "epsilon": "objective.loss.clip_low",
    "epsilon_high": "objective.loss.clip_high",
    "clip_ratio": "objective.loss.clip_low",
    "cliprange": "objective.loss.clip_low",
    "clip_ratio_low": "objective.loss.clip_low",
    "clip_ratio_high": "objective.loss.clip_high",
    "clip_ratio_c": "objective.loss.dual_clip",
    "kl_loss_coef": "objective.kl.coef",
    "kl_loss_type": "objective.kl.estimator",
    "adv_estimator": "objective.advantage.fn",
    "loss_agg_mode": "objective.reduce",
    "importance_sampling_level": "objective.ratio",
    "mask_truncated_completions": "objective.truncated",
    "reward_funcs": "objective.reward.custom",
    "reward_weights": "objective.reward",
    "delta": "objective.loss.dual_clip",
    "num_generations": "rollout.group_size",
    "rollout_n": "rollout.group_size",
    "n": "rollout.group_size",
    "use_vllm": "rollout.engine",
    "gpu_memory_utilization": "rollout.vllm.memory",
    "vllm_gpu_memory_utilization": "rollout.vllm.memory",
    "n_samples_per_prompt": "rollout.group_size",
    "max_completion_length": "rollout.max_new_tokens",
    "max_response_length": "rollout.max_new_tokens",
    "max_new_tokens": "rollout.max_new_tokens",
    "max_tokens": "rollout.max_new_tokens",
    "max_steps": "trainer.steps",
    "num_steps": "trainer.steps",
    "total_training_steps": "trainer.steps",
    "total_epochs": "trainer.steps",
    "ppo_mini_batch_size": "objective.updates.minibatches",
    "ppo_max_token_len_per_gpu": "trainer.microbatch_tokens",
    "ppo_micro_batch_size_per_gpu": "trainer.microbatch_tokens",
    "save_freq": "trainer.checkpoint_every",
    "test_freq": "eval.at_steps",
    "eval_steps": "eval.at_steps",
    "total_steps": "trainer.steps",
    "num_iterations": "objective.updates.epochs",
    "ppo_epochs": "objective.updates.epochs",
    "num_train_epochs": "trainer.steps",
    "batch_size": "rollout.prompts_per_step",
    "train_batch_size": "rollout.prompts_per_step",
    "per_device_train_batch_size": "trainer.microbatch_tokens",
    "gradient_accumulation_steps": "trainer.microbatch_tokens",
    "lr_scheduler_type": "trainer.schedule",
    "warmup_ratio": "trainer.warmup_steps",
    "max_norm": "trainer.max_grad_norm",
    "grad_clip": "trainer.max_grad_norm",
    "adam_beta1": "trainer.beta1",
    "adam_beta2": "trainer.beta2",
    "adam_epsilon": "trainer.adam_eps",
    "lora_r": "trainer.lora.rank",
    "lora_rank": "trainer.lora.rank",
    "lora_alpha": "trainer.lora.alpha",
    "temperature": "rollout.temperature",
    "model_name_or_path": "model.path",
    "model_name": "model.hub_id",
    "dataset_name": "data.path",
    "loss_type": "objective.loss.fn",
    "scale_rewards": "objective.advantage.std",
    "bf16": "dtype",
    "report_to": "tracking.mode",
    "wandb_project": "tracking.project",
    "run_name": "study",
    "experiment_name": "study",
    "project_name": "tracking.project",
    "logger": "tracking.mode",
    "train_files": "data.path",
    "save_steps": "trainer.checkpoint_every",
}


def as_meant(overrides: Sequence[str], options: Callable[[str], Sequence[str]]) -> list[str]:
    """Overrides in which a model or a data set given by its place is the option that reads it.

    `options` lists a group's options. A model also gets its place's name, unless it is given one.
    """
    named = any(line.startswith("model.name=") for line in overrides)
    found: list[str] = []
    for line in overrides:
        group, _, option = line.partition("=")
        read = group in ("model", "data") and option not in options(group)
        lines = _by_place(group, option) if read else []
        own = [f"model.name={name}"] if lines and group == "model" and (name := _name_of(option)) else []
        found += [*lines, *([] if named or len(lines) == 1 else own)] or [line]
    return found


def _by_place(group: str, option: str) -> list[str]:
    """The overrides for a folder, a file or `owner/name`; none for anything else."""
    if any(sign in option for sign in ",[{(:"):
        return []
    there = "/" in option and Path(option).expanduser().exists()
    if group == "data" and option.endswith((".jsonl", ".json")):
        return ["data=jsonl", f"data.path={_quoted(option)}"]
    if group == "model" and option.endswith(".gguf"):
        return ["model=gguf", f"model.path={_quoted(option)}"]
    if there or (option.startswith((".", "~", "/")) and "/" in option):
        key = "path" if group == "model" else "hub_id"
        return [f"{group}={'folder' if group == 'model' else 'hub'}", f"{group}.{key}={_quoted(option)}"]
    if not _HUB_ID.fullmatch(option):
        return []
    if group == "model" and (preset := _presets_of_the_hub().get(option)):
        return [f"model={preset}"]
    return [f"{group}=hub", f"{group}.hub_id={option}"]


def _quoted(value: str) -> str:
    """A value as Hydra's grammar takes it: in quotes where it has signs of that grammar's."""
    return value if re.fullmatch(r"[\w./~-]+", value, re.ASCII) else "'" + value.replace("'", r"\'") + "'"


def _name_of(option: str) -> str:
    """What runs call a model at this place."""
    name = Path(option.rstrip("/")).name.removesuffix(".gguf")
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name).lstrip("_.-")


@lru_cache
def _presets_of_the_hub() -> dict[str, str]:
    """Name on the hub -> preset of conf/model."""
    found = {path.stem: _HUB_LINE.search(path.read_text("utf-8")) for path in (CONF / "model").glob("*.yaml")}
    return {match[1]: name for name, match in sorted(found.items()) if match}


def suggestion(group: str, option: str) -> str:
    """`; use ...` where a model or a data set is given by its place in the place of an option."""
    lines = _by_place(group, option) if group in ("model", "data") else []
    return f"; use {shlex.join(lines)}" if lines else ""


def nearest(key: str, groups: Sequence[str]) -> str:
    """`; did you mean ...?`, by the whole path or by its last word; "" where nothing is near."""
    if (ours := SYNONYMS.get(key.rsplit(".", 1)[-1])) is not None:
        return f"; it is {ours} here"
    if key.startswith(COMPONENT) and (part := key.removeprefix(COMPONENT).partition("."))[2]:
        return did_you_mean(key, [f"{COMPONENT}{part[0]}.{path}" for path in paths(DataConfig)])
    known = list(dict.fromkeys([*groups, *paths(RunConfig)]))
    tails = {path.rsplit(".", 1)[-1]: path for path in known}
    hint = did_you_mean(key, known)
    if "did you mean" not in hint and (close := did_you_mean(key.rsplit(".", 1)[-1], list(tails))):
        names = [tails[word] for word in tails if f" {word}" in close.replace("?", " ")]
        hint = f"; did you mean {' or '.join(names)}?" if names and "did you mean" in close else ""
    return hint
