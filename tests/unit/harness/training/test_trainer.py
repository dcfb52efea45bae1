"""The steps of the loop: sampling and refill, updates that are skipped, the reference that is refreshed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.utils import parameters_to_vector

from harness.seeds import derive
from harness.training import trainer
from harness.training.advantages import build_batch
from harness.training.experience import problems_at, refill, select
from harness.training.run_state import Run
from harness.training.trainer import TrainingError, refresh_reference, sample_and_grade, update_policy
from harness.types import Batch, Grade, Problem, Rollout, ScoredGroup
from tests.unit.harness.tiny import configure, run_on_untrained_base
from tests.unit.harness.training.one_step import EQUAL, MIXED, NO_KL, WRONG

DYNAMIC = ("objective.selection.fn=dynamic", "objective.selection.max_sampled=3", NO_KL)


def dynamic_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *lines: str, mixed_every: int
) -> tuple[Run, list[str]]:
    """A run of 4 problems a step in which every so many-th problem that is sampled gets mixed rewards."""
    run, seen = run_on_untrained_base(folder, *DYNAMIC, *lines), list[str]()

    def scored(of: Run, problems: Sequence[Problem], rollouts: Sequence[Rollout]) -> list[ScoredGroup]:
        groups = []
        for place, problem in enumerate(problems):
            seen.append(problem.id)
            rewards = (1.0, 0.0, 0.0, 0.0) if len(seen) % mixed_every == 0 else (1.0,) * 4
            group = tuple(rollouts[place * 4 : place * 4 + 4])
            grades = tuple(Grade(r > 0, "1", "") for r in rewards)
            groups.append(ScoredGroup(problem, of.prompts[problem.id], group, grades, rewards))
        return groups

    monkeypatch.setattr(trainer, "score", scored)
    return run, seen


def test_groups_without_a_difference_are_sampled_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Every second of the first 4 differs: 2 kept, 2 missing at a share of 1/2, so 4 more, of which 2 differ.
    run, seen = dynamic_run(tmp_path, monkeypatch, mixed_every=2)
    groups, metrics = sample_and_grade(run)
    assert len(seen) == len(set(seen)) == 8
    assert [g.problem.id for g in groups] == seen[1::2]
    assert metrics["sampled_groups"] == 8.0 and metrics["kept_groups"] == 4.0
    assert metrics["zero_variance_groups"] == 0.5
    assert run.counters.tokens["sampled"] == metrics["sampled_tokens"] > 0  # what was sampled in vain counts
    assert [p.id for p in trainer.problems_at(run, 0)] == seen[:4]


def test_refilled_problems_have_places_and_an_order_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 4 problems, then 4 more in one step: places 0 to 3, then 4 to 7, so that no two share random numbers.
    run, seen = dynamic_run(tmp_path, monkeypatch, mixed_every=2)
    asked, original = list[int](), run.engine.generate

    def spy(*args: Any, seeds: Sequence[int], **keywords: Any) -> list[Rollout]:
        asked.extend(seeds)
        return original(*args, seeds=seeds, **keywords)

    monkeypatch.setattr(run.engine, "generate", spy)
    sample_and_grade(run)
    assert asked == [
        derive(run.seeds["rollout"], 0, place, index) for place in range(8) for index in range(4)
    ]
    # The stream "refill" orders all problems; those of the step's first 4 are left out.
    generator = torch.Generator().manual_seed(derive(run.seeds["data_order"], "refill", 0))
    order = [run.problems[i].id for i in torch.randperm(len(run.problems), generator=generator)]
    assert seen[4:] == [problem for problem in order if problem not in seen[:4]][:4]
    assert seen[4:] != [p.id for p in problems_at(run, 1)]


def test_refill_stops_at_its_limit_and_the_step_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, seen = dynamic_run(tmp_path, monkeypatch, mixed_every=12)  # one of the 3 × 4 that may be sampled
    groups, _ = sample_and_grade(run)
    assert len(seen) == 12 and [g.problem.id for g in groups] == [seen[11]]


def test_a_step_trains_on_no_more_groups_than_it_wants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One of the first 4 differs: 3 are missing at a share of 1/4, so 12 more, of which the 6th, 9th, 12th and
    # 15th differ. Of the 5 the first 4 are kept.
    limit = "objective.selection.max_sampled=6"
    run, seen = dynamic_run(tmp_path, monkeypatch, limit, mixed_every=3)
    groups, metrics = sample_and_grade(run)
    assert len(seen) == 16 and [g.problem.id for g in groups] == seen[2:12:3]
    assert metrics["kept_groups"] == 4.0


def test_the_schedule_spans_the_updates_of_the_whole_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 2 minibatches a batch: 5 batches have 10 updates.
    run = run_on_untrained_base(tmp_path, NO_KL, "objective.updates.minibatches=2")
    calls, original = list[tuple[int, int]](), trainer.update

    def spy(*args: Any, **keywords: Any) -> Any:
        calls.append((keywords["num_updates_done"], keywords["num_updates_total"]))
        return original(*args, **keywords)

    monkeypatch.setattr(trainer, "update", spy)
    groups, _ = sample_and_grade(run)
    for _ in range(2):
        update_policy(run, groups, total=5)
    assert calls == [(0, 10), (2, 10)]


def test_a_step_without_a_difference_makes_no_update(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = dynamic_run(tmp_path, monkeypatch, mixed_every=100)
    groups, _ = sample_and_grade(run)
    before = parameters_to_vector(run.models.policy.parameters()).clone()
    metrics = update_policy(run, groups, total=4)
    assert groups == [] and metrics["updates"] == 0.0 and run.counters.num_updates == 2
    assert torch.equal(parameters_to_vector(run.models.policy.parameters()), before)


def test_refill_asks_for_nothing_elsewhere(tmp_path: Path) -> None:
    assert refill(run_on_untrained_base(tmp_path), [], 0) == []


def test_dynamic_by_accuracy_looks_at_answers() -> None:
    long_and_short = replace(EQUAL, rewards=(1.0, 0.4, 0.7))  # all right, punished for their length
    groups = [MIXED, long_and_short, WRONG]
    by_reward = configure(*DYNAMIC).objective
    by_accuracy = configure(*DYNAMIC, "objective.selection.by=accuracy").objective
    assert select(groups, by_reward) == [MIXED, long_and_short]
    assert select(groups, by_accuracy) == [MIXED]


def test_the_reference_is_refreshed_and_the_base_is_not(tmp_path: Path) -> None:
    run = run_on_untrained_base(tmp_path, "objective.kl.refresh_every=2")
    assert run.models.reference is not None
    base = parameters_to_vector(run.retention.base.parameters()).clone()
    with torch.no_grad():
        run.models.policy.model.norm.weight.add_(1.0)
    for step, same in ((1, False), (2, True)):
        run.counters.step = step
        refresh_reference(run)
        assert (
            torch.equal(run.models.reference.model.norm.weight, run.models.policy.model.norm.weight) == same
        )
    assert torch.equal(parameters_to_vector(run.retention.base.parameters()), base)


def test_a_run_stops_after_five_batches_in_a_row_whose_gradient_is_not_finite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_on_untrained_base(tmp_path, NO_KL, "objective.reward.accuracy=0", "objective.reward.random=1")
    groups, _ = sample_and_grade(run)
    groups = [replace(g, rewards=(1.0, *g.rewards[1:-1], 0.0)) for g in groups]  # each has a gradient
    start = parameters_to_vector(run.models.policy.parameters()).clone()

    def poisoned(*args: Any) -> Batch:
        batch = build_batch(*args)
        return replace(batch, advantages=torch.where(batch.completion_mask, math.inf, 0.0))

    def updates(count: int, *, finite: bool) -> list[int]:
        monkeypatch.setattr(trainer, "build_batch", build_batch if finite else poisoned)
        counts = []
        for _ in range(count):
            update_policy(run, groups, total=100)
            counts.append(run.counters.skipped_in_a_row)
        return counts

    assert updates(4, finite=False) == [1, 2, 3, 4]
    assert torch.equal(parameters_to_vector(run.models.policy.parameters()), start)
    assert updates(1, finite=True) == [0]  # one good batch begins the count anew
    assert updates(4, finite=False) == [1, 2, 3, 4]
    with pytest.raises(TrainingError, match=r"5 steps in a row had a gradient that is not finite; lower"):
        updates(1, finite=False)
