"""Against verl 0.9.1 itself, on the CPU: the settings, prompts and reward that a run hands to it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from harness.training.optim import lr_at
from harness.training.verl.compile import environment, verl_config
from harness.training.verl.prompts import TEMPLATE
from harness.training.verl.slots import CONFIG, NAME
from tests.conformance.verl_steps import REASON, places
from tests.unit.harness.tiny import untrained_base

pytest.importorskip("verl", reason=REASON)


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("objective=dr_grpo", "objective.updates.minibatches=2"),
        ("objective.kl.placement=reward", "+trainer.verl.ray=auto", "+trainer.verl.nodes=2"),
        ("trainer.schedule=cosine", "trainer.warmup_steps=2", "+trainer.verl.offload=true"),
        ("+trainer.verl.attention=varlen",),
        ("+objective.tis={cap: 2, level: token}", "+trainer.verl.sequence_parallel=2"),
    ],
)
def test_verl_takes_the_config(on_verl: Any, tmp_path: Path, overrides: tuple[str, ...]) -> None:
    """Composed by Hydra over verl's defaults, checked by verl, and each value where the trainer reads it."""
    from hydra import compose, initialize_config_dir
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import omega_conf_to_dataclass, validate_config

    config = on_verl("objective=grpo", *overrides)
    made = yaml.safe_dump(verl_config(config, places(tmp_path), longest_prompt=9), sort_keys=False)
    (tmp_path / "verl.yaml").write_text("# @package _global_\n" + made)
    with initialize_config_dir(str(tmp_path), version_base=None):
        composed = compose("verl")
    uses_reference = need_reference_policy(composed)
    assert uses_reference == config.objective.kl.uses_reference
    assert not need_critic(composed)
    validate_config(config=composed, use_reference_policy=uses_reference, use_critic=False)
    actor: Any = omega_conf_to_dataclass(composed.actor_rollout_ref.actor)
    assert actor.optim.betas == [config.trainer.beta1, config.trainer.beta2]
    assert actor.optim.override_optimizer_config["eps"] == config.trainer.adam_eps
    assert actor.engine.strategy == "fsdp2"
    assert actor.ppo_mini_batch_size * config.objective.updates.minibatches == config.rollout.prompts_per_step
    assert composed.trainer.total_training_steps == config.trainer.steps
    assert composed.data.train_batch_size == config.rollout.prompts_per_step
    rollout = composed.actor_rollout_ref.rollout
    assert (rollout.n, rollout.response_length) == (config.rollout.group_size, config.rollout.max_new_tokens)
    assert rollout.engine_kwargs.vllm.generation_config == str(tmp_path)
    ray = composed.ray_kwargs.ray_init
    assert ray.runtime_env.env_vars[CONFIG] == str(tmp_path / "config.json")
    # Three cores a GPU, two processes that keep samples, their controller, one to begin with: 2 GPUs, 10.
    assert ray.num_cpus == (None if config.trainer.verl.ray else max(10, os.cpu_count() or 1))
    assert (
        composed.actor_rollout_ref.model.override_config.attn_implementation == config.trainer.verl.attention
    )


def test_verl_finds_the_functions_by_itself(tmp_path: Path) -> None:
    """A fresh interpreter that imports verl alone, as a worker does, has them in its registries."""
    names = environment(places(tmp_path)) | {"PYTHONPATH": os.pathsep.join(sys.path)}
    ask = (
        "import verl; from verl.trainer.ppo.core_algos import get_adv_estimator_fn, get_policy_loss_fn; "
        "from transformers import AttentionInterface; assert 'varlen' in AttentionInterface().valid_keys(); "
        f"print(get_adv_estimator_fn('{NAME}').__module__, get_policy_loss_fn('{NAME}').__module__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", ask], env={**os.environ, **names}, capture_output=True, text=True
    )
    assert done.stdout.split()[-2:] == ["harness.training.verl.slots"] * 2, done.stderr[-500:]


def test_verl_finds_the_reward_manager(on_verl: Any, tmp_path: Path) -> None:
    from omegaconf import OmegaConf
    from verl.trainer.ppo.reward import resolve_reward_manager_cls

    made = verl_config(on_verl("objective=grpo"), places(tmp_path), longest_prompt=9)
    found = resolve_reward_manager_cls(OmegaConf.create({"reward": made["reward"]}))
    assert found.__module__ == "harness.training.verl.reward"


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_learning_rates_differ_as_the_record_says(schedule: str) -> None:
    """Constant without warm-up is ours; verl's warm-up begins at 0, its cosine ends a step later."""
    from verl.utils.torch_functional import (
        get_constant_schedule_with_warmup,
        get_cosine_schedule_with_warmup,
    )

    def rates(warmup: int) -> list[float]:
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        if schedule == "constant":
            scheduler = get_constant_schedule_with_warmup(optimizer, num_warmup_steps=warmup)
        else:
            scheduler = get_cosine_schedule_with_warmup(
                optimizer, num_warmup_steps=warmup, num_training_steps=8, min_lr_ratio=0.1
            )
        found = []
        for _ in range(8):
            found.append(scheduler.get_last_lr()[0])
            optimizer.step()
            scheduler.step()
        return found

    ours = [lr_at(i, peak=1.0, total=8, warmup=0, schedule=schedule) for i in range(8)]
    assert (rates(0) == ours) == (schedule == "constant")
    assert rates(2)[:3] == [0.0, 0.5, 1.0]
    assert lr_at(0, peak=1.0, total=8, warmup=2, schedule="constant") == 0.5


def test_prompts_are_the_same_tokens(tmp_path: Path) -> None:
    """verl renders a message by a chat template, then tokenizes; ours passes the text as it stands."""
    from transformers import AutoTokenizer
    from verl.utils.tokenizer.continuous_token import ContinuousTokenBuilder

    from harness.model.files.codec import Codec
    from harness.schema.prompts import make_prompt
    from harness.training.verl.prompts import prompt_text
    from harness.types import Problem

    start = untrained_base(tmp_path / "base") / "model"
    tokenizer, codec = AutoTokenizer.from_pretrained(start), Codec.from_folder(start)
    tokenizer.chat_template = TEMPLATE
    builder = ContinuousTokenBuilder(tokenizer)
    problem = Problem("p", "d", "train", "What is 17 * 23 mod 7?", "6")
    for template in ("question", "question_answer"):
        prompt = make_prompt(problem, template, codec.prompt_ids)
        message = [{"role": "user", "content": prompt_text(prompt, template, codec)}]
        assert tuple(builder.build_initial_tokens(message)) == prompt.token_ids
