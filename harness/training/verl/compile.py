"""A run's config as verl's own: a YAML that Hydra lays over `verl.trainer.config.ppo_trainer` (verl 0.9.1).

    python -m verl.trainer.main_ppo --config-path RUN/verl --config-name verl

Every value of the run that verl reads is here; what it cannot express was refused by schema/verl_rules.py.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.identity import run_id, streams_of
from harness.schema.run_config import RunConfig
from harness.training.verl.prompts import TEMPLATE
from harness.training.verl.slots import CONFIG, NAME, REDUCERS

VERSION = "0.9.1"
REGISTER = "harness.training.verl.register"
STORAGE = 2  # processes a node that keep the samples between sampling and training, as verl recommends
_KL = {"k1": "k1", "k2": "k2", "k3": "k3"}


@dataclass(frozen=True)
class Places:
    """Folders and files of one attempt at a run."""

    work: Path
    """RUN/verl, which all nodes see."""
    start: Path
    """Model folder that training begins from."""
    metrics: Path
    """JSON lines that this attempt's metrics go to."""
    root: Path
    """Folder that holds the package harness, for verl's processes to import."""


def verl_config(config: RunConfig, places: Places, *, longest_prompt: int) -> dict[str, Any]:
    """The YAML's content, nested. `longest_prompt` in tokens."""
    machines = config.trainer.verl
    return {
        "hydra": {
            "searchpath": ["pkg://verl.trainer.config"],
            "run": {"dir": str(places.work / "hydra")},
            "output_subdir": None,
        },
        "defaults": ["ppo_trainer", "_self_"],
        "data": _data(config, places, longest_prompt),
        "actor_rollout_ref": {
            "model": {
                "path": str(places.start),
                "custom_chat_template": TEMPLATE,
                "override_config": {"attn_implementation": config.trainer.verl.attention},
                "enable_gradient_checkpointing": config.trainer.gradient_checkpointing,
                "use_remove_padding": True,
            },
            "actor": _actor(config, longest_prompt),
            "ref": {
                "fsdp_config": {"param_offload": machines.offload},
                "ulysses_sequence_parallel_size": machines.sequence_parallel,
            },
            "rollout": _rollout(config, places, longest_prompt),
        },
        "transfer_queue": {
            "backend": {"SimpleStorage": {"num_data_storage_units": STORAGE * machines.nodes}}
        },
        "critic": {"enable": False},
        "algorithm": _algorithm(config),
        "reward": {
            "reward_manager": {
                "source": "importlib",
                "name": "RewardManager",
                "module": {"path": "pkg://harness.training.verl.reward"},
            },
        },
        "trainer": _trainer(config, places),
        "ray_kwargs": {"ray_init": _ray(config, places)},
    }


def _data(config: RunConfig, places: Places, longest_prompt: int) -> dict[str, Any]:
    prompts = str(places.work / "train.parquet")
    return {
        "train_files": prompts,
        "val_files": prompts,  # verl builds a loader of them, and no validation reads it
        "val_max_samples": 1,
        "train_batch_size": config.rollout.prompts_per_step,
        "max_prompt_length": longest_prompt,
        "max_response_length": config.rollout.max_new_tokens,
        "shuffle": False,  # rows are in the run's own order
        "filter_overlong_prompts": False,
        "truncation": "error",
        "dataloader_num_workers": 1,
    }


def _actor(config: RunConfig, longest_prompt: int) -> dict[str, Any]:
    objective, trainer, machines = config.objective, config.trainer, config.trainer.verl
    longest = longest_prompt + config.rollout.max_new_tokens
    kl_in_loss = objective.kl.in_loss and objective.kl.against == "ref"
    return {
        "strategy": "fsdp2",
        "fsdp_config": {
            "strategy": "fsdp2",
            "param_offload": machines.offload,
            "optimizer_offload": machines.offload,
            "ulysses_sequence_parallel_size": machines.sequence_parallel,
            "seed": _seed(config, "init"),
        },
        "ulysses_sequence_parallel_size": machines.sequence_parallel,
        "ppo_mini_batch_size": config.rollout.prompts_per_step // objective.updates.minibatches,
        "ppo_epochs": objective.updates.epochs,
        "use_dynamic_bsz": True,
        "ppo_max_token_len_per_gpu": max(
            trainer.microbatch_tokens, -(-longest // machines.sequence_parallel)
        ),
        "shuffle": False,
        "data_loader_seed": _seed(config, "data_order"),
        "policy_loss": {"loss_mode": NAME},
        "loss_agg_mode": REDUCERS[objective.reduce],
        "loss_scale_factor": config.rollout.max_new_tokens if objective.reduce == "constant" else None,
        "entropy_coeff": objective.entropy_coef,
        "use_kl_loss": kl_in_loss,
        "kl_loss_coef": objective.kl.coef,
        "kl_loss_type": _KL.get(objective.kl.estimator, "k3"),
        "grad_clip": trainer.max_grad_norm,
        "optim": {
            "lr": trainer.lr,
            "betas": [trainer.beta1, trainer.beta2],
            "weight_decay": trainer.weight_decay,
            "clip_grad": trainer.max_grad_norm,
            "lr_scheduler_type": trainer.schedule,
            "lr_warmup_steps": warmup_batches(config),
            "min_lr_ratio": 0.1,
            "override_optimizer_config": {"eps": trainer.adam_eps},
        },
        "checkpoint": {"save_contents": ["model", "optimizer", "extra", "hf_model"]},
    }


def warmup_batches(config: RunConfig) -> int:
    """Rollout batches of the warm-up, which the config counts in optimiser steps; -1, verl's none, for 0."""
    updates = config.objective.updates
    return -(-config.trainer.warmup_steps // (updates.epochs * updates.minibatches)) or -1


def _rollout(config: RunConfig, places: Places, longest_prompt: int) -> dict[str, Any]:
    rollout, machines = config.rollout, config.trainer.verl
    return {
        "name": "vllm",
        "n": rollout.group_size,
        "temperature": rollout.temperature,
        "top_p": 1.0,
        "top_k": -1,
        "seed": _seed(config, "rollout"),
        "tensor_model_parallel_size": machines.tensor_parallel,
        "gpu_memory_utilization": machines.memory,
        "max_num_seqs": rollout.max_batch_size,
        "max_model_len": longest_prompt + rollout.max_new_tokens,
        "calculate_log_probs": True,
        "engine_kwargs": {"vllm": {"generation_config": str(places.work)}},  # which tokens end an output
    }


def _algorithm(config: RunConfig) -> dict[str, Any]:
    objective = config.objective
    tis = objective.tis
    return {
        "adv_estimator": NAME,
        "use_kl_in_reward": objective.kl.in_reward,
        "kl_penalty": _KL.get(objective.kl.estimator, "k3"),
        "kl_ctrl": {"type": "fixed", "kl_coef": objective.kl.coef},
        "rollout_correction": {
            "rollout_is": None if tis is None else tis.level,
            "rollout_is_threshold": 2.0 if tis is None else tis.cap,
        },
    }


def _trainer(config: RunConfig, places: Places) -> dict[str, Any]:
    machines, minibatches = config.trainer.verl, config.objective.updates.minibatches
    return {
        "project_name": config.study,
        "experiment_name": run_id(config),
        "logger": ["console", "file"],
        "nnodes": machines.nodes,
        "n_gpus_per_node": machines.gpus,
        "total_epochs": 1,  # train.parquet holds every step
        "total_training_steps": config.trainer.steps,
        "balance_batch": minibatches == 1,  # it moves rows from one minibatch to another
        "save_freq": save_every(config),
        "default_local_dir": str(places.work / "checkpoints"),
        "max_actor_ckpt_to_keep": 2,  # those to evaluate are exported as they appear
        "resume_mode": "auto",
        "val_before_train": False,
        "test_freq": -1,
    }


def save_every(config: RunConfig) -> int:
    """Steps between two of verl's checkpoints, so that each step to evaluate is among them."""
    wanted = [step for step in config.eval.at_steps if step < config.trainer.steps]
    return math.gcd(config.trainer.checkpoint_every, *wanted)


def _ray(config: RunConfig, places: Places) -> dict[str, Any]:
    """What verl starts Ray with (told that it has the cores) or joins a cluster with (which has its own)."""
    machines = config.trainer.verl
    found: dict[str, Any] = {"runtime_env": {"env_vars": environment(places)}}
    if machines.ray is not None:
        return {"address": machines.ray, **found}
    return {"num_cpus": max(os.cpu_count() or 1, cores(machines.gpus)), **found}


def cores(num_gpus: int) -> int:
    """Cores that Ray must have on a node for verl's actors to begin: three a GPU, one for each process that
    keeps samples and their controller, and one that is free while an actor begins. With fewer it waits
    for ever.
    """
    return 3 * num_gpus + STORAGE + 2


def environment(places: Places) -> dict[str, str]:
    """Environment variables of verl's processes, on every node."""
    path = os.pathsep.join(filter(None, [str(places.root), os.environ.get("PYTHONPATH", "")]))
    return {
        "PYTHONPATH": path,
        "VERL_USE_EXTERNAL_MODULES": REGISTER,
        "VERL_FILE_LOGGER_PATH": str(places.metrics),
        CONFIG: str(places.work / "config.json"),
    }


def _seed(config: RunConfig, stream: str) -> int:
    """The seed of a stream as verl can take it: it adds a rank's number and hands it on as 32 bits."""
    return streams_of(config)[stream] % 2**31
