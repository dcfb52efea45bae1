"""The studies of pipelines in conf/ablation: what their arms share and are given, and what the null is."""

from __future__ import annotations

import os
from functools import cache

import pytest

from harness import identity
from harness.identity import base_id, teacher_base
from harness.launch.arm_checks import differences
from harness.launch.compose import Composer
from harness.launch.costs import sampled_tokens
from harness.launch.expand import Sweep, expand
from harness.launch.jobs import Job
from harness.launch.match import check_match
from harness.launch.plan import by_arm
from harness.launch.plan_stages import stage_rows
from harness.model.files.source import planning

SEEDS = "seed=0,1"


@pytest.fixture(autouse=True)
def without_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "content", lambda model: {"model.safetensors": "ab" * 32})


@cache
def study(name: str) -> Sweep:
    if name.startswith("smollm2") and "MATH_DATA_DIR" not in os.environ:
        pytest.skip("GSM8K's files name its runs: set MATH_DATA_DIR")
    with planning():
        return expand([f"ablation={name}", SEEDS], multirun=True)


def arms(name: str, rate: float = 3e-4) -> dict[str, Job]:
    """The job of each arm at seed 0 and one rate."""
    jobs = [job for job in study(name).jobs if job.config.seed == 0 and job.config.trainer.lr == rate]
    return {job.levels["stage"]: job for job in jobs}


@pytest.mark.parametrize(
    ("name", "num_arms", "num_runs"),
    [
        # 6 arms x 3 rates x 2 seeds: each stage in common is the run of an arm at the default rate.
        ("r1_stages", 6, 36),
        # 8 x 3 x 2, and the two teachers of each seed.
        ("distillation", 8, 52),
        ("distillation_flops", 4, 24),
        # 5 x 3 x 2, and the cold start and the rejection SFT of each seed; r1 begins from an arm's run.
        ("smollm2_r1", 5, 34),
    ],
)
def test_arms_share_their_stages_and_the_plan_prices_each(name: str, num_arms: int, num_runs: int) -> None:
    sweep = study(name)
    assert len(by_arm(sweep.jobs)) == num_arms and len(sweep.runs) == num_runs
    _, *rows = stage_rows(by_arm(sweep.jobs), dict.fromkeys([j.run_id for j in sweep.runs], "run"), [])
    assert sum(int(row[2]) for row in rows) == num_runs  # every run stands in one row, and has a price
    assert len({row[0] for row in rows}) == len({j.config.stage.name for j in sweep.runs if j.config.stage})
    assert sweep.spec is not None and sweep.spec.lr_grid is not None and len(sweep.grid) == 3


def test_r1_and_r1_zero_sample_equally_much_from_one_base() -> None:
    found = arms("r1_stages")
    spent = {arm: sum(sampled_tokens(stage.config) for stage in job.stages) for arm, job in found.items()}
    assert spent["r1"] == spent["zero"] == 96 * 32 * 8 * 120 and spent["sft"] == spent["cold_start"] == 0
    assert [stage.config.stage and stage.config.stage.name for stage in found["r1"].stages] == [
        "cold_start",
        "rl",
        "rejection_sft",
        "r1",
    ]
    assert len({base_id(stage.config) for job in found.values() for stage in job.stages}) == 1
    other = Composer().config(["ablation=data_kind", "base_seed=0"])
    assert base_id(found["r1"].config) == base_id(other)  # whose ten bases serve this study too


def test_a_teacher_before_rl_is_the_base_of_the_one_after() -> None:
    found = arms("distillation", 1e-4)  # that of stages before others
    for before, after in (("large", "large_rl"), ("larger", "larger_rl")):
        made, (teacher, pupil) = teacher_base(found[before].config), found[after].stages
        assert made is not None and base_id(made) == base_id(teacher.config)
        assert pupil.config.taught_by == teacher.run_id and teacher.config.model == made.model
    # A pupil of the student's own size learns from the arm that it is compared with.
    (own, _) = found["own_rl"].stages
    assert own.run_id == found["grpo"].run_id
    taught = [stage.run_id for stage in found["large_rl"].stages]
    assert [stage.run_id for stage in found["then_rl"].stages[:2]] == taught
    last = {arm: sampled_tokens(job.config) for arm, job in found.items() if arm != "then_rl"}
    assert len(set(last.values())) == 1
    check_match(study("distillation_flops").spec, study("distillation_flops").jobs)


def test_the_null_of_grpo_differs_in_what_earns_the_reward_alone() -> None:
    found = arms("smollm2_r1", 3e-5)
    assert study("smollm2_r1").spec.nulls == ["format_only"]
    assert found["grpo"].config.start == found["format_only"].config.start is not None
    assert differences([found["grpo"].config, found["format_only"].config]).keys() == {
        "objective.reward.accuracy",
        "objective.reward.format_answer",
    }
    starts = {job.stages[0].run_id for job in found.values()}
    assert len(starts) == 1  # one cold start a seed
