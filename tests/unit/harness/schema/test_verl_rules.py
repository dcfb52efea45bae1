"""What a run on verl may ask for: each refusal in one line with its remedy, each difference recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.identity import run_id
from harness.schema.run_config import ConfigError
from harness.schema.verl_rules import UNMATCHED, VERL_CHECKS, unmatched
from tests.unit.harness.tiny import configure

ON_VERL = (
    *("trainer.engine=verl", "dtype=bfloat16", "trainer.verl.gpus=2", "objective=grpo"),
    *("objective.updates.minibatches=1", "trainer.warmup_steps=0", "objective.kl.coef=0"),
)
OWN = Path(__file__)  # functions of a user's own are at its end
# What the line says -> overrides, one for each of VERL_CHECKS, in their order.
REFUSED: dict[str, tuple[str, ...]] = {
    "device=cpu": ("device=cpu",),
    "dtype=float32": ("dtype=float32",),
    "objective.value": ("objective=ppo", "objective.kl.coef=1"),
    "objective.reward_model": ("objective=rlhf_ppo", "objective.value=null", "objective.advantage.fn=rloo"),
    "objective.process_reward_model": ("objective=grpo_prm",),
    "objective.teacher": ("objective=distill_on_policy", "objective.kl.coef=1", "objective.teacher.path=/t"),
    "objective.offline": ("objective=sft_rejection_offline",),
    "objective.reward.custom": ("+objective.reward.custom={path: '{OWN}:reward', weight: 1}",),
    "objective.advantage.custom": (
        *("objective.advantage.fn=custom", "+objective.advantage.custom={path: '{OWN}:advantage'}"),
        *("objective.advantage.std=none", "objective.advantage.eps=0"),
    ),
    "objective.loss.custom": (
        *("objective.loss.fn=custom", "+objective.loss.custom={path: '{OWN}:loss'}"),
        *("objective.loss.clip_low=null", "objective.loss.clip_high=null"),
    ),
    "objective.advantage.fn=process": ("objective=grpo_process",),
    "objective.advantage.entropy_share": ("+objective.advantage.entropy_share=0.2",),
    "objective.reward.random": ("+objective.reward.random=1",),
    "objective.kl.estimator=exact": ("objective.kl.coef=0.1", "objective.kl.estimator=exact"),
    "objective.kl.ratio_weighted": ("objective.kl.coef=0.1", "+objective.kl.ratio_weighted=true"),
    "objective.kl.target=0.1": ("objective.kl.coef=0.1", "+objective.kl.target=0.1"),
    "objective.kl.refresh_every=10": ("objective.kl.coef=0.1", "+objective.kl.refresh_every=10"),
    "objective.kl.reference=untrained": (),  # needs a pipeline: below
    "objective.reduce_over=nonzero": ("objective.reduce_over=nonzero",),
    "objective.truncated=mask": ("+objective.truncated=mask",),
    "objective.selection.fn=accepted": ("objective.selection.fn=accepted",),
    "objective.selection.fn=dynamic": ("objective=dapo", "objective.updates.minibatches=1"),
    "objective.tis.level=sequence_mean": ("+objective.tis={cap: 2, level: sequence_mean}",),
    "objective.tis.outside=drop": ("+objective.tis={cap: 2, level: token, outside: drop}",),
    "objective.fp32_head": ("+objective.fp32_head=true",),
    "rollout.lag=1": ("+rollout.lag=1",),
    "rollout.search": ("+rollout.search={fn: best_of_n, value: oracle, budget: 640, take: last}",),
    "rollout.step_metrics": ("+rollout.step_metrics=true",),
    "trainer.lora": ("+trainer.lora={rank: 4, alpha: 8}",),
    "trainer.optimizer=adamw_8bit": ("+trainer.optimizer=adamw_8bit",),
    "trainer.schedule=linear": ("trainer.schedule=linear",),
    "objective.updates.minibatches=3": ("objective.updates.minibatches=3",),
    "trainer.verl.nodes=1, gpus=3": ("trainer.verl.gpus=3",),
}


def test_each_refusal_has_its_case() -> None:
    assert len(REFUSED) == len(VERL_CHECKS)


@pytest.mark.parametrize("said", [name for name, overrides in REFUSED.items() if overrides])
def test_what_verl_cannot_express_is_refused_in_one_line(said: str) -> None:
    with pytest.raises(ConfigError) as error:
        configure(*ON_VERL, *(line.replace("{OWN}", str(OWN)) for line in REFUSED[said]))
    line = str(error.value)
    assert f"trainer.engine=verl with {said}" in line
    assert line.endswith("or trainer.engine=native") and "\n" not in line


def test_the_same_settings_run_on_the_native_engine() -> None:
    """But for those of verl's machines: no rule refuses a run that it is not about."""
    for overrides in REFUSED.values():
        if not any("verl" in line or "custom" in line for line in overrides):
            configure("objective=grpo", "objective.kl.coef=0", "dtype=bfloat16", *overrides)


def test_a_reference_that_is_not_the_start_is_refused() -> None:
    check = next(c for c in VERL_CHECKS if "objective.kl.reference" in c.message)
    run = configure(*ON_VERL, "objective.kl.coef=0.1")
    kl = run.objective.kl.model_copy(update={"reference": "untrained"})
    objective = run.objective.model_copy(update={"kl": kl})
    assert not check.when(run) and check.when(run.model_copy(update={"objective": objective}))


def test_rejection_sampling_over_all_samples_is_an_advantage_and_runs() -> None:
    configure(
        *ON_VERL, "objective=sft_rejection", "objective.reduce_over=all", "objective.updates.minibatches=1"
    )


@pytest.mark.parametrize(
    "names, overrides",
    [
        (["seeds", "not measured"], ()),
        (["seeds", "not measured", "objective.kl"], ("objective.kl.coef=0.1",)),
        (["seeds", "not measured"], ("objective.kl.coef=0.1", "objective.kl.estimator=k2")),
        (["seeds", "not measured", "objective.updates.minibatches"], ("objective.updates.minibatches=2",)),
        (["seeds", "not measured", "trainer.warmup_steps, schedule"], ("trainer.warmup_steps=1",)),
        (["seeds", "not measured", "trainer.warmup_steps, schedule"], ("trainer.schedule=cosine",)),
        (["seeds", "not measured", "trainer.weight_decay"], ("trainer.weight_decay=0.1",)),
    ],
)
def test_what_verl_does_otherwise_is_recorded(names: list[str], overrides: tuple[str, ...]) -> None:
    assert [line.partition(":")[0] for line in unmatched(configure(*ON_VERL, *overrides))] == names


def test_each_difference_is_met_by_a_case_and_none_by_a_native_run() -> None:
    assert len(UNMATCHED) == 6
    assert unmatched(configure("objective=grpo")) == []
    assert "paired intervals are wider" in unmatched(configure(*ON_VERL))[0]


def test_the_engine_is_in_a_runs_name_and_its_machines_are_not() -> None:
    native = run_id(configure("dtype=bfloat16", *ON_VERL[3:]))
    names = {
        run_id(configure(*ON_VERL, *more))
        for more in ((), ("+trainer.verl.offload=true",), ("trainer.verl.nodes=2", "trainer.verl.ray=auto"))
    }
    assert len(names) == 1 and native not in names


@pytest.mark.parametrize(
    "said, overrides",
    [
        (
            "tensor_parallel=3 does not divide gpus=4",
            ("trainer.verl.gpus=4", "trainer.verl.tensor_parallel=3"),
        ),
        ("sequence_parallel=4 does not divide the 2 GPUs", ("trainer.verl.sequence_parallel=4",)),
        ("nodes=2 with ray=null", ("trainer.verl.nodes=2",)),
        (
            "attention=varlen with sequence_parallel=2",
            ("+trainer.verl.attention=varlen", "trainer.verl.sequence_parallel=2"),
        ),
    ],
)
def test_machines_that_do_not_go_together(said: str, overrides: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=said):
        configure(*ON_VERL, *overrides)


def test_verls_settings_without_verl() -> None:
    with pytest.raises(ConfigError, match=r"verl\.\* is set with engine=native"):
        configure("trainer.verl.gpus=2")


def reward(rollout: Any, grade: Any, problem: Any) -> float:
    return 0.0


def advantage(rewards: Any, group_ids: Any) -> Any:
    return rewards


def loss(logprobs: Any, ratio: Any, advantages: Any, completion_mask: Any) -> Any:
    return logprobs
