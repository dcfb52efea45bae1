"""Set a run up: load its base, its data, its models, and its saved state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch

from harness.data.load import data_fingerprint, load_split
from harness.identity import digest, streams_of, teacher_folder
from harness.model.files.codec import Codec
from harness.model.files.folder import folder_dims
from harness.model.lora import WithoutAdapters
from harness.model.needs import Placement
from harness.model.policy import Policy
from harness.rollout.engines import adapted_engine, engine_key, load_policy, warm_engine
from harness.rollout.process_cache import cached, drop
from harness.schema.prompts import make_prompt
from harness.schema.run_config import ConfigError, RunConfig
from harness.seeds import derive
from harness.training.counters import Counters
from harness.training.critic import ValueModel, init_value
from harness.training.distributed import check_supported, world_size
from harness.training.models import Models
from harness.training.optim import adamw
from harness.training.parallel import (
    check_placement,
    hub_weights,
    load_sharded,
    placement_of,
    shard,
)
from harness.training.retention import Retention
from harness.training.run_state import Run
from harness.training.saving import restore
from harness.training.shared_engine import SharedEngine
from harness.types import Problem, Prompt, RolloutEngine


def setup(config: RunConfig, *, base: Path, folder: Path, device: str, start: Path | None = None) -> Run:
    """Load what the run begins from and, if it was interrupted, its saved state.

    `start` is the folder of a stage's first weights, by default the base's.
    """
    check_supported(config, world_size())
    seeds, start = streams_of(config), base / "model" if start is None else start
    placement = placement_of(config, folder_dims(start), device)
    check_placement(config, placement)
    sampler, original, engine, codec = _start_models(
        config, start, device, seed=derive(seeds["init"], "lora")
    )
    policy = load_sharded(start, getattr(torch, config.dtype), device) if placement.sharded else sampler
    policy.recompute_layers = config.trainer.gradient_checkpointing
    frozen = _frozen(config, base, start, original, codec, device, placement)
    for model in (policy, sampler, frozen.reference):
        if model is not None:
            model.fp32_head, model.exact = config.objective.fp32_head, config.rollout.exact
    problems = load_split(config.data, "train")
    if len(problems) < config.rollout.prompts_per_step and not config.objective.uses_references:
        raise ConfigError(
            f"rollout.prompts_per_step={config.rollout.prompts_per_step} exceeds the {len(problems)} "
            "training problems of data.num_train; lower it"
        )
    value = _value_model(config, start, policy, seed=derive(seeds["init"], "value"), device=device)
    run = Run(
        config=config,
        folder=folder,
        start=start,
        models=Models(policy, frozen.reference, value),
        sampler=sampler,
        optimizer=_optimizer(config, policy, value, placement),
        engine=engine if world_size() == 1 else SharedEngine(engine),
        codec=codec,
        problems=problems,
        prompts={},
        seeds=seeds,
        retention=frozen.retention,
        counters=Counters(config.objective.kl.coef, config.trainer.microbatch_tokens),
        placement=placement,
    )
    run.prompts = _prompts(config, problems, codec, start, device)
    restore(run)
    with run.timed("start"):
        run.engine.load_weights(hub_weights(policy))
    return run


@dataclass(frozen=True)
class _Frozen:
    """What no optimiser updates: the reference of KL terms, and what retention is measured by."""

    reference: Policy | None
    retention: Retention


def _frozen(
    config: RunConfig,
    base: Path,
    start: Path,
    original: Policy,
    codec: Codec,
    device: str,
    placement: Placement,
) -> _Frozen:
    """Load the frozen models, sharded where they do not fit whole; `original` are the first weights."""
    untrained = original if config.start is None else load_policy(config, base / "model", device)
    reference = _reference(config, start, original, untrained, device)
    retention = Retention(config, untrained, codec, base)
    if placement.frozen_sharded:
        drop("base")
        for model in {id(x): x for x in (original, untrained, reference) if x is not None}.values():
            shard(model.requires_grad_(False), getattr(torch, config.dtype), device)
    return _Frozen(reference, retention)


def _prompts(
    config: RunConfig, problems: Sequence[Problem], codec: Codec, start: Path, device: str
) -> dict[str, Prompt]:
    """Every training prompt by problem id; cached in the process for runs on the same problems and model."""
    template = config.data.template
    data = digest(data_fingerprint(config.data), length=64)
    found, _ = cached(
        "prompts",
        (data, template, *engine_key(config, start, device)),
        lambda: {p.id: make_prompt(p, template, codec.prompt_ids) for p in problems},
    )
    return found


def _start_models(
    config: RunConfig, start: Path, device: str, *, seed: int
) -> tuple[Policy, Policy, RolloutEngine, Codec]:
    """(sampler, first weights, engine, tokenizer); with LoRA the first are the policy without adapters."""
    if config.trainer.lora is not None:
        policy, engine, codec = adapted_engine(config, start, device, seed=seed)
        original = cast(Policy, WithoutAdapters(policy))
    else:
        made = (start / "config.json").stat().st_mtime_ns
        key = (str(start), made, config.dtype, device)
        original, _ = cached("base", key, lambda: load_policy(config, start, device))
        policy, engine, codec = warm_engine(config, start, device, original=original)
    return policy, original, engine, codec


def _reference(
    config: RunConfig, start: Path, original: Policy, untrained: Policy, device: str
) -> Policy | None:
    """The reference of KL terms, if there is one: a stage's first weights, its pipeline's base, a teacher."""
    kl = config.objective.kl
    if not kl.uses_reference:
        return None
    if kl.reference == "teacher":
        folder = teacher_folder(config)
        found = load_policy(config, folder, device)
        if found.dims.vocab_size != original.dims.vocab_size:
            raise ConfigError(
                f"objective.teacher.path={folder}: {found.dims.vocab_size} tokens where the student "
                f"has {original.dims.vocab_size}; use objective=distill"
            )
        return found
    if kl.reference == "untrained" and kl.refresh_every is None:
        return untrained
    # Retention is measured against the base, so a reference that changes is another copy.
    return original if kl.refresh_every is None else load_policy(config, start, device)


def _value_model(
    config: RunConfig, start: Path, policy: Policy, *, seed: int, device: str
) -> ValueModel | None:
    slot = config.objective.value
    if slot is None:
        return None
    trunk = None if slot.shared_trunk else load_policy(config, start, device)
    return init_value(policy.dims.hidden_size, trunk=trunk, seed=seed).to(device)


def _optimizer(
    config: RunConfig, policy: Policy, value: ValueModel | None, placement: Placement
) -> torch.optim.Optimizer:
    trainer, slot = config.trainer, config.objective.value
    return adamw(
        policy,
        lr=trainer.lr,
        betas=(trainer.beta1, trainer.beta2),
        eps=trainer.adam_eps,
        weight_decay=trainer.weight_decay,
        others=[] if value is None or slot is None else [(value, slot.lr_scale)],
        bits=8 if trainer.optimizer == "adamw_8bit" else 32,
        replicas=placement.processes > 1 and not placement.sharded,
    )
