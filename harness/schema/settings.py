"""The names of all settings as dotted paths, and the nearest to a name that is none. Imports no torch."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from functools import lru_cache

from harness.schema.data_config import DataConfig
from harness.schema.run_config import RunConfig, did_you_mean
from harness.schema.section import Section

COMPONENT = "data.components."  # the names below it are the user's
STAGE_SETTING = "pipeline."  # and below it a stage's, then a setting: pipeline.rl.trainer.lr


def is_setting(key: str) -> bool:
    """Whether a dotted path is a field of the schema, one of a mixture's component, or one of a stage's."""
    if key.startswith(STAGE_SETTING):
        _, _, rest = key.removeprefix(STAGE_SETTING).partition(".")
        return not rest.startswith(STAGE_SETTING) and is_setting(rest)
    if key.startswith(COMPONENT):
        _, _, rest = key.removeprefix(COMPONENT).partition(".")
        return rest in ("", "preset") or rest in paths(DataConfig)
    return key in paths(RunConfig)


@lru_cache
def paths(kind: type[Section], prefix: str = "") -> tuple[str, ...]:
    """Every dotted path of a part of the schema; what is in a section's own kind is not followed."""
    found: list[str] = []
    for name, field in kind.model_fields.items():
        found.append(prefix + name)
        for inner in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(inner, type) and issubclass(inner, Section) and inner is not kind:
                found += paths(inner, f"{prefix}{name}.")
    return tuple(found)


# What other programs call our settings.
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
    "delta": "objective.loss.dual_clip",
    "num_generations": "rollout.group_size",
    "rollout_n": "rollout.group_size",
    "n_samples_per_prompt": "rollout.group_size",
    "max_completion_length": "rollout.max_new_tokens",
    "max_response_length": "rollout.max_new_tokens",
    "max_new_tokens": "rollout.max_new_tokens",
    "max_tokens": "rollout.max_new_tokens",
    "max_steps": "trainer.steps",
    "num_steps": "trainer.steps",
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
    "save_steps": "trainer.checkpoint_every",
}


def suggestion(group: str, option: str) -> str:
    """`; use ...` where a model or a data set is given by its place in the place of an option."""
    if group == "model" and (option.startswith((".", "~")) or option.count("/") != 1):
        if "/" in option:
            kind = "gguf" if option.endswith(".gguf") else "folder"
            return f"; use model={kind} {shlex.quote(f'model.path={option}')}"
    elif group == "model":
        return f"; use model=hub {shlex.quote(f'model.hub_id={option}')}, or model=folder model.path=..."
    if group == "data" and option.endswith((".jsonl", ".json")):
        return f"; use data=jsonl {shlex.quote(f'data.path={option}')}"
    return ""


def nearest(key: str, groups: Sequence[str]) -> str:
    """`; did you mean ...?`, by the whole path or by its last word; "" where nothing is near."""
    if (ours := SYNONYMS.get(key.rsplit(".", 1)[-1])) is not None:
        return f"; it is {ours} here"
    known = list(dict.fromkeys([*groups, *paths(RunConfig)]))
    tails = {path.rsplit(".", 1)[-1]: path for path in known}
    hint = did_you_mean(key, known)
    if "did you mean" not in hint and (close := did_you_mean(key.rsplit(".", 1)[-1], list(tails))):
        names = [tails[word] for word in tails if f" {word}" in close.replace("?", " ")]
        hint = f"; did you mean {' or '.join(names)}?" if names and "did you mean" in close else ""
    return hint
