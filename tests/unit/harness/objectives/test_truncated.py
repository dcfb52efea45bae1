"""Every objective × what outputs that were cut get × rewards: from scored groups to a gradient.

A combination is refused before anything is loaded, or it trains whatever is sampled: nothing in a batch can
stop a run halfway.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from harness.objectives.selection import accepted
from harness.objectives.selection import truncated as by_rule
from harness.schema.run_config import ConfigError, RunConfig
from harness.training.experience import select
from harness.types import ScoredGroup
from tests.unit.harness.objectives import scenario as scenarios
from tests.unit.harness.objectives.scenario import Step, config_of, groups_of
from tests.unit.harness.objectives.test_objectives import NAMES

tables = scenarios.tables  # the fixture that stands in for the models

REWARDS: dict[str, tuple[str, ...]] = {
    "its own": (),
    "without accuracy": ("objective.reward.accuracy=0",),
    "length": ("objective.reward.accuracy=0", "objective.reward.length_penalty=1"),
    "random": ("objective.reward.accuracy=0", "objective.reward.random=1"),
    "KL": (
        *("objective.kl.placement=reward", "objective.kl.estimator=k1", "objective.kl.coef=0.1"),
        *("objective.kl.against=ref", "objective.kl.target=null"),
    ),
    "half accuracy, format": ("objective.reward.accuracy=0.5", "objective.reward.format_r1=0.5"),
}
# Two groups of three outputs of 1, 3 and 1 tokens, so that one output of each has a statement.
SAMPLED = [[1.0, 0.0, 0.0, 1.0, 1.0, 0.0], [1.0] * 6, [0.0] * 6]
STEPS = ("grpo_process", "grpo_prm")
COMPARED_BY_OUTPUT = (
    *("cispo", "dapo", "dr_grpo", "gmpo", "grpo", "grpo_format_only", "gspo", "pass_k", "pg", "rloo", "sapo"),
)
ACCEPTING = ("cold_start", "distill", "sft_rejection", "sft_rejection_offline")
TEACH_WITHOUT_IT = (
    "dapo",
    "distill_on_policy",
    "grpo",
    "grpo_format_only",
    "rlhf_ppo",
)  # another reward, a teacher, a KL to the base
CUT: list[set[int]] = [set(), {1}, {1, 4}, {0, 1, 3, 5}, {0, 2, 3, 5}, set(range(6))]


def scored(config: RunConfig, rewards: Sequence[float], cut: set[int]) -> list[ScoredGroup]:
    """What `score` and `trainable` make of the samples."""
    lengths, objective = [1, 3, 1, 1, 3, 1], config.objective
    groups = []
    for start, made in zip((0, 3), groups_of(list(rewards), lengths, 3), strict=True):
        rollouts = tuple(
            replace(r, finish_reason="length" if start + i in cut else "stop")
            for i, r in enumerate(made.rollouts)
        )
        groups.append(replace(made, rollouts=rollouts))
    if objective.truncated == "fail":
        groups = by_rule(groups, rule="fail", fail_reward=objective.fail_reward, min_group_size=1)
    groups = select(groups, objective)
    if objective.offline is None:
        return groups
    kept = accepted(groups, threshold=objective.advantage.threshold, cap_per_problem=None, dedupe=False)
    return [
        replace(g, rollouts=(r,), grades=(x,), rewards=(y,), step_rewards=None)
        for g in kept
        for r, x, y in zip(g.rollouts, g.grades, g.rewards, strict=True)
    ]


def trained(config: RunConfig, groups: list[ScoredGroup]) -> bool:
    """Whether the gradient is finite; where no group is left, `learn` makes no update."""
    if not groups:
        return True
    shape = (
        sum(len(g.rollouts) for g in groups),
        1 + max(len(r.completion_ids) for g in groups for r in g.rollouts),
    )
    generator = torch.Generator().manual_seed(0)
    tensors = [-torch.rand(shape, generator=generator, dtype=torch.float64) - 0.1 for _ in range(5)]
    metrics, gradient = Step(config, groups, tensors).run()
    return bool(gradient.isfinite().all()) and all(x == x for x in metrics.values())


@pytest.mark.parametrize("rule", ["keep", "fail", "mask", "drop"])
@pytest.mark.parametrize("name", NAMES)
def test_it_is_refused_beforehand_or_trains_whatever_is_sampled(name: str, rule: str) -> None:
    refused, ran = set(), set()
    for setting, lines in REWARDS.items():
        try:
            config = config_of(name, f"objective.truncated={rule}", *lines)
        except ConfigError as error:
            assert "\n" not in str(error)
            refused.add(setting)
            continue
        ran.add(setting)
        for rewards in SAMPLED:
            for cut in CUT:
                assert trained(config, scored(config, rewards, cut)), (setting, rewards, cut)
    teaches = name in TEACH_WITHOUT_IT or (name in STEPS and rule != "fail")  # `fail` is about whole outputs
    expected = set() if teaches else {"without accuracy"}
    masked = rule == "mask" and name in COMPARED_BY_OUTPUT  # a masked output has no KL for the baseline
    if masked or name in (*STEPS, *ACCEPTING, "max_rl"):
        expected |= {"KL"}
    if name == "max_rl":
        expected |= {"length"}
    assert refused == expected and refused | ran == set(REWARDS)
