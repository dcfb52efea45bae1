"""Against verl 0.9.1 itself, on the CPU: every slot that trainer.engine=verl claims.

Advantages go through the trainer's own `compute_advantage`, losses through its workers' own `ppo_loss` in four
microbatches with nested tensors, configs through its own Hydra and `validate_config`. No training step of verl
is run here: that needs a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from harness.objectives.kl import token_rewards
from harness.objectives.losses import truncated_importance_weight
from harness.objectives.policy_loss import KLPenalty, SamplerCorrection, policy_loss
from harness.objectives.reduce import denominator, reduce
from harness.schema.run_config import RunConfig
from harness.training.advantages import with_advantages
from harness.training.optim import lr_at
from harness.types import Batch
from tests.unit.harness.tiny import configure

verl = pytest.importorskip("verl", reason="no verl here: pip install 'r1-ablations[verl]'")

from tensordict import TensorDict
from verl.protocol import DataProto
from verl.trainer.ppo import core_algos
from verl.trainer.ppo.ray_trainer import apply_kl_penalty, compute_advantage
from verl.utils import tensordict_utils as tu
from verl.workers.utils.losses import ppo_loss

from harness.training.verl.compile import Places, environment, verl_config
from harness.training.verl.prompts import TEMPLATE
from harness.training.verl.slots import CONFIG, NAME, REDUCERS

ON_VERL = (
    "trainer.engine=verl",
    "dtype=bfloat16",
    "device=cuda",
    "trainer.verl.gpus=2",
    "objective.updates.minibatches=1",
    "rollout.step_metrics=false",
)
GROUPS, SIZE, LONGEST = 5, 4, 7
ROWS = GROUPS * SIZE


@pytest.fixture
def on_verl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Set up a run of these overrides as each process of verl finds it."""
    import harness.training.verl.register  # noqa: F401

    def made(*overrides: str) -> RunConfig:
        config = configure(*ON_VERL, *overrides)
        path = tmp_path / f"config-{len(list(tmp_path.iterdir()))}.json"
        path.write_text(config.model_dump_json())
        monkeypatch.setenv(CONFIG, str(path))
        return config

    yield made


class Step:
    """A ragged rollout batch: equal and unequal rewards, rows of the groups in a random order."""

    def __init__(self, seed: int) -> None:
        g = torch.Generator().manual_seed(seed)
        rewards = torch.randint(0, 2, (GROUPS, SIZE), generator=g) * 1.2
        rewards[0], rewards[1] = 1.2, 0.0  # groups of equal rewards
        order = torch.randperm(ROWS, generator=g)
        self.rewards = rewards.flatten()[order]  # [B]
        self.group_ids = torch.arange(GROUPS).repeat_interleave(SIZE)[order]  # [B]
        self.lengths = torch.randint(1, LONGEST + 1, (ROWS,), generator=g)
        self.lengths[0] = LONGEST
        self.mask = torch.arange(LONGEST) < self.lengths[:, None]  # [B, T]

        def inside(x: Tensor) -> Tensor:
            return torch.where(self.mask, x, 0.0)

        draw = [torch.randn(ROWS, LONGEST, generator=g) for _ in range(5)]
        self.logprobs = inside(draw[0] - 3)
        self.old = inside(self.logprobs + 0.4 * draw[1])
        self.ref = inside(self.logprobs + 0.4 * draw[2])
        self.sampler = inside(self.old + 0.4 * draw[3])
        self.entropy = inside(draw[4].abs())
        self.advantages = inside(torch.randn(ROWS, 1, generator=g).expand(ROWS, LONGEST))
        self.advantages[3] = 0.0

    @property
    def uids(self) -> np.ndarray:
        names = [f"{(7 * i) % 5}-group-{i}" for i in range(GROUPS)]  # not in the order of their numbers
        return np.array([names[i] for i in self.group_ids.tolist()], dtype=object)

    def at_last_token(self) -> Tensor:
        zeros = torch.zeros(ROWS, LONGEST)
        return token_rewards(rewards=self.rewards, kl=zeros, completion_mask=self.mask, coef=0.0)

    def data(self) -> DataProto:
        found = DataProto.from_single_dict(
            {"token_level_scores": self.at_last_token(), "response_mask": self.mask.long()}
        )
        found.batch["old_log_probs"], found.batch["ref_log_prob"] = self.old, self.ref
        found.batch["token_level_rewards"] = found.batch["token_level_scores"]
        found.non_tensor_batch["uid"] = self.uids
        return found

    def batch(self) -> Batch:
        zeros = torch.zeros(ROWS, LONGEST)
        return Batch(
            input_ids=zeros.long(),
            completion_mask=self.mask.long(),
            sampler_logprobs=self.sampler,
            old_logprobs=self.old,
            advantages=zeros,
            group_ids=self.group_ids,
            lengths=self.lengths,
            prompt_ids=self.group_ids,
            prompt_lengths=torch.zeros(ROWS, dtype=torch.long),
            rewards=self.rewards,
            ref_logprobs=self.ref,
        )


ADVANTAGES = {
    "raw_reward": (),
    "accepted_only": ("objective.advantage.threshold=0.5",),
    "signed": ("objective.advantage.threshold=0.5", "objective.advantage.positive_weight=0.1"),
    "group_centered": (),
    "group_normalized": ("objective.advantage.std=sample", "objective.advantage.eps=1e-6"),
    "rloo": (),
    "max_rl": (),
    "pass_at_k": ("objective.advantage.k=2", "objective.advantage.std=population"),
    "reinforce_pp": ("objective.advantage.eps=1e-8",),
}


def advantage_overrides(fn: str) -> list[str]:
    plain = ["objective=grpo", "objective.advantage.std=none", "objective.advantage.eps=0"]
    return [*plain, f"objective.advantage.fn={fn}", "rollout.group_size=4", *ADVANTAGES[fn]]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("fn", ADVANTAGES)
def test_advantages_are_ours_to_the_bit(on_verl: Any, fn: str, seed: int) -> None:
    config, step = on_verl(*advantage_overrides(fn)), Step(seed)
    theirs = compute_advantage(step.data(), adv_estimator=NAME, config=SimpleNamespace()).batch["advantages"]
    ours = with_advantages(step.batch(), config.objective).advantages
    assert ours.abs().max() > 0
    assert torch.equal(theirs, ours)


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
@pytest.mark.parametrize("fn", ["group_normalized", "rloo", "reinforce_pp"])
def test_a_kl_in_the_reward_is_ours_but_for_the_order_of_sums(on_verl: Any, fn: str, estimator: str) -> None:
    kl = ["objective.kl.placement=reward", "objective.kl.coef=0.1", f"objective.kl.estimator={estimator}"]
    config, step = on_verl(*advantage_overrides(fn), *kl), Step(0)
    data, _ = apply_kl_penalty(step.data(), kl_ctrl=core_algos.FixedKLController(0.1), kl_penalty=estimator)
    theirs = compute_advantage(data, adv_estimator=NAME, config=SimpleNamespace()).batch["advantages"]
    ours = with_advantages(step.batch(), config.objective, kl_coef=0.1).advantages
    torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=2e-6)


def test_verls_own_grpo_makes_a_signal_of_equal_rewards_and_ours_does_not(on_verl: Any) -> None:
    on_verl(*advantage_overrides("group_normalized"))
    data, step = DataProto.from_single_dict({}), Step(0)
    data = step.data()
    rewards = torch.full((ROWS,), 1.2)
    data.batch["token_level_rewards"] = token_rewards(
        rewards=rewards, kl=torch.zeros(ROWS, LONGEST), completion_mask=step.mask, coef=0.0
    )
    data.non_tensor_batch["uid"] = np.array([str(i // 7) for i in range(ROWS)], dtype=object)
    grpo = compute_advantage(data, adv_estimator="grpo", config=SimpleNamespace()).batch["advantages"]
    assert float(grpo.abs().max()) > 0.01
    ours = compute_advantage(data, adv_estimator=NAME, config=SimpleNamespace()).batch["advantages"]
    assert float(ours.abs().max()) == 0.0


LOSSES = {
    "nll": ("objective.loss.fn=nll", "objective.advantage.fn=accepted_only"),
    "policy_gradient": ("objective.loss.fn=policy_gradient",),
    "surrogate": ("objective.loss.fn=surrogate",),
    "surrogate, sequence": ("objective.loss.fn=surrogate", "objective.ratio=sequence"),
    "ppo_clip": ("objective=grpo",),
    "ppo_clip, dual": ("objective=grpo", "objective.loss.dual_clip=3"),
    "ppo_clip, sequence": ("objective=rloo",),
    "ppo_clip, sequence_mean": ("objective=gspo",),
    "cispo": ("objective=cispo",),
    "sapo": ("objective=sapo",),
    "gmpo": ("objective=gmpo",),
    "topr": ("objective=topr",),
}


def loss_overrides(name: str, reducer: str) -> list[str]:
    own = LOSSES[name]
    plain = ["objective=pg", "objective.advantage.std=none", "objective.advantage.eps=0"]
    start = [] if own[0].startswith("objective=") else plain
    extra = ["objective.selection.fn=all"] if name == "nll" else []
    return [*start, *own, "objective.kl.coef=0", f"objective.reduce={reducer}", *extra]


def ragged(x: Tensor, lengths: Tensor) -> Tensor:
    rows = [row[:n] for row, n in zip(x, lengths.tolist(), strict=True)]
    return torch.nested.as_nested_tensor(rows, layout=torch.jagged)


def verl_step(
    step: Step, config: RunConfig, logprobs: Tensor, *, kl: bool = False, tis: bool = False
) -> Tensor:
    """The loss of a whole optimiser step as verl's workers take it, in four microbatches."""
    objective = config.objective
    made = verl_config(config, places(Path("/nowhere")), longest_prompt=1)
    actor = made["actor_rollout_ref"]["actor"]
    settings = SimpleNamespace(
        global_batch_info={},
        loss_agg_mode=actor["loss_agg_mode"],
        loss_scale_factor=actor["loss_scale_factor"],
        policy_loss={"loss_mode": actor["policy_loss"]["loss_mode"]},
        entropy_coeff=actor["entropy_coeff"],
        use_kl_loss=actor["use_kl_loss"],
        kl_loss_type=actor["kl_loss_type"],
        kl_loss_coef=actor["kl_loss_coef"],
    )
    assert settings.use_kl_loss == kl
    total = torch.zeros(())
    for rows in torch.arange(ROWS).split(ROWS // 4):
        lengths = step.lengths[rows]
        fields = {
            "prompts": ragged(torch.ones(len(rows), 1), torch.ones_like(lengths)),
            "responses": ragged(step.mask[rows].float(), lengths),
            "response_mask": ragged(step.mask[rows].long(), lengths),
            "old_log_probs": ragged(step.old[rows], lengths),
            "advantages": ragged(step.advantages[rows], lengths),
        }
        if kl:
            fields["ref_log_prob"] = ragged(step.ref[rows], lengths)
        if tis:
            fields["rollout_is_weights"] = ragged(verl_weights(step, config)[rows], lengths)
        data = TensorDict(fields, batch_size=len(rows))
        tu.assign_non_tensor(
            data,
            dp_size=1,
            batch_num_tokens=int(step.mask.sum()),
            global_batch_size=ROWS,
            max_response_len=int(lengths.max()),
        )
        # A model's output has a place for each token of prompt and completion; one predicts the next.
        flat = [torch.cat([logprobs[r, : step.lengths[r]], torch.zeros(1)]) for r in rows.tolist()]
        entropy = [torch.cat([step.entropy[r, : step.lengths[r]], torch.zeros(1)]) for r in rows.tolist()]
        output = {"log_probs": torch.cat(flat), "entropy": torch.cat(entropy)}
        if not objective.entropy_coef:
            del output["entropy"]
        total = total + ppo_loss(settings, output, data)[0]
    return total


def verl_weights(step: Step, config: RunConfig) -> Tensor:
    from verl.trainer.ppo.rollout_corr_helper import compute_rollout_correction_weights

    made = verl_config(config, places(Path("/nowhere")), longest_prompt=1)["algorithm"]["rollout_correction"]
    weights, _ = compute_rollout_correction_weights(
        step.old - step.sampler, step.mask.float(), **{k: v for k, v in made.items()}
    )
    return weights


def our_step(step: Step, config: RunConfig, logprobs: Tensor) -> Tensor:
    """The same in the same microbatches: a vectorised function rounds by a tensor's shape."""
    objective, longest = config.objective, config.rollout.max_new_tokens
    kl, tis = objective.kl, objective.tis
    divisor = denominator(kind=objective.reduce, completion_mask=step.mask, constant=longest)
    total = torch.zeros(())
    for rows in torch.arange(ROWS).split(ROWS // 4):
        width = int(step.lengths[rows].max())

        def part(x: Tensor, rows: Tensor = rows, width: int = width) -> Tensor:
            return x[rows, :width]

        output = policy_loss(
            loss=objective.loss.fn,
            loss_params=objective.loss.params,
            ratio=objective.ratio,
            logprobs=part(logprobs),
            old_logprobs=part(step.old),
            advantages=part(step.advantages),
            completion_mask=part(step.mask),
            sampler_logprobs=part(step.sampler),
            ref_logprobs=part(step.ref),
            kl=KLPenalty(kl.estimator, kl.coef, kl.against) if kl.in_loss else None,
            tis=None if tis is None else SamplerCorrection(tis.cap, tis.level),
        )
        loss = output.loss - objective.entropy_coef * part(step.entropy)
        total = total + reduce(
            loss=loss, completion_mask=part(step.mask), kind=objective.reduce, denominator=divisor
        )
    return total


def differences(step: Step, config: RunConfig, **given: bool) -> tuple[float, float, float]:
    """(loss, gradient, largest gradient): by how much verl's differ from ours."""
    mine, theirs = (step.logprobs.clone().requires_grad_() for _ in range(2))
    ours, other = our_step(step, config, mine), verl_step(step, config, theirs, **given)
    ours.backward()
    other.backward()
    assert mine.grad is not None and theirs.grad is not None
    off = float((mine.grad - theirs.grad).abs().max())
    return abs(float(ours.detach() - other.detach())), off, float(mine.grad.abs().max())


@pytest.mark.parametrize("reducer", REDUCERS)
@pytest.mark.parametrize("name", LOSSES)
def test_gradients_of_losses_are_ours_to_the_bit(on_verl: Any, name: str, reducer: str) -> None:
    """The loss itself is a sum in another order, so it may differ in its last bits."""
    config = on_verl(*loss_overrides(name, reducer))
    for seed in range(3):
        loss, gradient, largest = differences(Step(seed), config)
        assert largest > 1e-3
        assert gradient == 0.0
        assert loss < 1e-6


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_a_kl_to_the_old_policy_is_ours_to_the_bit(on_verl: Any, estimator: str) -> None:
    kl = [f"objective.kl.estimator={estimator}", "objective.kl.against=old", "objective.kl.coef=0.3"]
    loss, gradient, largest = differences(Step(0), on_verl("objective=grpo", *kl))
    assert (gradient, loss < 1e-6, largest > 1e-3) == (0.0, True, True)


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
@pytest.mark.parametrize("reducer", REDUCERS)
def test_a_kl_to_the_reference_is_ours_within_the_clamp(on_verl: Any, estimator: str, reducer: str) -> None:
    kl = [f"objective.kl.estimator={estimator}", "objective.kl.coef=0.3", f"objective.reduce={reducer}"]
    config = on_verl("objective=grpo", *kl)
    loss, gradient, largest = differences(Step(0), config, kl=True)
    assert loss < 1e-6 and gradient <= 1e-6 * largest


def test_beyond_the_clamp_k3_is_what_the_record_says(on_verl: Any) -> None:
    config, step = on_verl("objective=grpo", "objective.kl.coef=1"), Step(0)
    for off, equal in ((2.55, True), (2.7, False), (-10.9, True), (-11.1, False)):
        step.ref = torch.where(step.mask, step.logprobs + off, 0.0)
        _, gradient, largest = differences(step, config, kl=True)
        assert (gradient <= 1e-5 * largest) == equal, off


def test_an_entropy_bonus_is_ours(on_verl: Any) -> None:
    config = on_verl("objective=grpo", "objective.kl.coef=0", "objective.entropy_coef=0.01")
    loss, gradient, _ = differences(Step(0), config)
    assert loss < 1e-6 and gradient == 0.0


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_the_samplers_correction_is_ours(on_verl: Any, level: str) -> None:
    config = on_verl("objective=grpo", "objective.kl.coef=0", f"+objective.tis={{cap: 2, level: {level}}}")
    step = Step(0)
    mine = truncated_importance_weight(
        old_logprobs=step.old, sampler_logprobs=step.sampler, completion_mask=step.mask, cap=2.0, level=level
    )
    theirs = verl_weights(step, config)
    assert torch.where(step.mask, mine, 0.0).max() == 2.0
    torch.testing.assert_close(torch.where(step.mask, theirs, 0.0), torch.where(step.mask, mine, 0.0))
    loss, gradient, largest = differences(step, config, tis=True)
    assert loss < 1e-6 and gradient <= 1e-6 * largest


def places(work: Path) -> Places:
    return Places(work=work, start=work / "start", metrics=work / "metrics-000.jsonl", root=Path.cwd())


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("objective=dr_grpo", "objective.updates.minibatches=2"),
        ("objective.kl.placement=reward", "+trainer.verl.ray=auto", "+trainer.verl.nodes=2"),
        ("trainer.schedule=cosine", "trainer.warmup_steps=2", "+trainer.verl.offload=true"),
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
    assert composed.ray_kwargs.ray_init.runtime_env.env_vars[CONFIG] == str(tmp_path / "config.json")


def test_verl_finds_the_functions_by_itself(tmp_path: Path) -> None:
    """A fresh interpreter that imports verl alone, as a worker does, has them in its registries."""
    import os
    import subprocess
    import sys

    names = environment(places(tmp_path)) | {"PYTHONPATH": os.pathsep.join(sys.path)}
    ask = (
        "import verl; from verl.trainer.ppo.core_algos import get_adv_estimator_fn, get_policy_loss_fn; "
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

    ours = [lr_at(i, peak=1.0, total=8, warmup=0, schedule=schedule) for i in range(8)]  # type: ignore[arg-type]
    assert (rates(0) == ours) == (schedule == "constant")
    assert rates(2)[:3] == [0.0, 0.5, 1.0]
    assert lr_at(0, peak=1.0, total=8, warmup=2, schedule="constant") == 0.5


def test_prompts_are_the_same_tokens(tmp_path: Path) -> None:
    """verl renders and tokenizes a message by its chat template; ours passes the text through as it stands."""
    from transformers import AutoTokenizer
    from verl.utils.tokenizer.continuous_token import ContinuousTokenBuilder

    from harness.model.files.codec import Codec
    from harness.schema.prompts import make_prompt
    from harness.training.verl.prompts import prompt_text
    from harness.types import Problem
    from tests.unit.harness.tiny import untrained_base

    start = untrained_base(tmp_path / "base") / "model"
    tokenizer, codec = AutoTokenizer.from_pretrained(start), Codec.from_folder(start)
    tokenizer.chat_template = TEMPLATE
    builder = ContinuousTokenBuilder(tokenizer)
    problem = Problem("p", "d", "train", "What is 17 * 23 mod 7?", "6")
    for template in ("question", "question_answer"):
        prompt = make_prompt(problem, template, codec.prompt_ids)
        message = [{"role": "user", "content": prompt_text(prompt, template, codec)}]
        assert tuple(builder.build_initial_tokens(message)) == prompt.token_ids
