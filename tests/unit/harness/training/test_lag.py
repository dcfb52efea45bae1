"""Training on samples n steps old: who samples what when, the ratio, and going on after an interruption."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.records.lines import read_metrics
from harness.schema.run_config import ConfigError
from harness.training import trainer
from harness.training.advantages import build_batch
from harness.training.run_state import Run
from harness.training.saving import restore
from harness.training.waiting import Sampled, fill, restored, stored
from harness.types import Problem, ScoredGroup
from tests.unit.harness.tiny import configure, untrained_base
from tests.unit.harness.training.one_step import (
    MIXED,
    NO_KL,
    ONE_STEP,
    close,
    gradient,
    logprobs_of,
    policy,
    stepped,
)
from tests.unit.harness.training.test_saving import SMALL, Stopped, evidence, launch

LAG = ("objective=grpo", *SMALL, "trainer.steps=5", "rollout.lag=2", NO_KL)


@pytest.mark.parametrize(
    ("lag", "expected"),
    [
        (0, [0, 1, 2, 3, 4]),
        (1, [0, 0, 1, 2, 3]),
        (2, [0, 0, 0, 1, 2]),
        (4, [0, 0, 0, 0, 0]),
    ],
)
def test_the_batch_of_step_s_is_sampled_after_s_less_lag_steps(lag: int, expected: list[int]) -> None:
    waiting: list[Sampled] = []
    asked: list[int] = []
    found = []
    for step in range(5):

        def sample(ahead: int, now: int = step) -> Sampled:
            asked.append(ahead)
            return Sampled([], {"of": ahead}, at=now)

        fill(waiting, step=step, lag=lag, total=5, sample=sample)
        batch = waiting.pop(0)
        assert batch.metrics["of"] == step
        found.append(batch.at)
    assert found == expected and asked == list(range(5)) and waiting == []


def trained_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *lines: str
) -> tuple[Run, list[list[ScoredGroup]]]:
    """A run of five steps, and the groups that each step was trained on."""
    untrained_base(folder / "base")
    groups: list[list[ScoredGroup]] = []
    original = trainer.update_policy

    def spy(run: Run, batch: Sequence[ScoredGroup], *, total: int) -> dict[str, float]:
        groups.append(list(batch))
        return original(run, batch, total=total)

    monkeypatch.setattr(trainer, "update_policy", spy)
    return launch(configure(*LAG, *lines, f"output_dir={folder}"), folder), groups


def test_samples_come_from_older_weights_and_from_the_same_problems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        run, late = trained_on(tmp_path / "late", patch)
    with monkeypatch.context() as patch:
        _, prompt = trained_on(tmp_path / "prompt", patch, "rollout.lag=0")
    updates = run.config.objective.updates.minibatches
    for step, groups in enumerate(late):
        made = {r.policy_step for g in groups for r in g.rollouts}
        assert made == {max(0, step - 2) * updates}
    assert [[g.problem.id for g in x] for x in late] == [[g.problem.id for g in x] for x in prompt]
    assert late[0] == prompt[0]  # the base's samples, with the same random numbers
    assert [r.completion_ids for g in late[2] for r in g.rollouts] != [
        r.completion_ids for g in prompt[2] for r in g.rollouts
    ]
    rows = read_metrics(run.folder / "metrics.jsonl")
    assert [row["lag"] for row in rows] == [0, 1, 2, 2, 2]
    assert rows[0]["ratio"] == pytest.approx(1.0, abs=1e-3) and abs(rows[4]["ratio"] - 1) > 1e-6
    assert run.counters.tokens["sampled"] == sum(
        len(r.completion_ids) for x in late for g in x for r in g.rollouts
    )


def test_the_ratio_is_to_the_policy_that_sampled() -> None:
    """-min(r A, clip(r) A) with r = pi / pi_sampler, whatever the trainer's own logprobs are."""
    config = configure(NO_KL, *ONE_STEP, "trainer.steps=9", "rollout.lag=3")
    batch, model, loss = build_batch([MIXED], config.objective), policy(), torch.zeros(())
    gaps = ([0.5, -0.1], [0.1, -0.5, 0.15, 0.0], [-0.3, 0.1, 0.1])
    for row, (gap, advantage) in enumerate(zip(gaps, (2 / 3**0.5, -1 / 3**0.5, -1 / 3**0.5), strict=True)):
        lp = logprobs_of(model, MIXED.prompt.token_ids, MIXED.rollouts[row].completion_ids)
        sampler = lp.detach() - torch.tensor(gap)
        batch.sampler_logprobs[row, 2 : 2 + len(lp)] = sampler
        ratio = (lp - sampler).exp()
        clipped = ratio.clamp(0.8, 1.2)
        loss = loss - torch.minimum(ratio * advantage, clipped * advantage).mean() / 3
    found, result = stepped(config, [], batch=batch)
    close(found, gradient(loss, model))
    assert result.metrics["clip_frac"] == pytest.approx(3 / 9)  # .5 where A > 0, -.5 and -.3 where A < 0
    assert result.scored_tokens == 0


def test_with_tis_the_ratio_is_to_the_policy_that_begins_the_update() -> None:
    """AReaL's decoupled objective: the clip acts around the trainer's weights, tis weighs by the lag."""
    on = ("objective.tis.cap=1.2", "objective.tis.level=token")
    plain = configure(NO_KL, *ONE_STEP, *on)
    late = configure(NO_KL, *ONE_STEP, *on, "trainer.steps=9", "rollout.lag=3")
    assert not late.old_is_sampler
    found, result = stepped(late, [MIXED])
    expected, same = stepped(plain, [MIXED])
    assert torch.equal(found, expected) and result.metrics == same.metrics


def test_a_run_goes_on_with_the_batches_that_were_waiting(tmp_path: Path) -> None:
    config = configure(*LAG)
    for place in ("whole", "killed"):
        untrained_base(tmp_path / place / "base")
    whole = evidence(launch(config, tmp_path / "whole"))
    with pytest.raises(Stopped):
        launch(config, tmp_path / "killed", stop_after=3)
    (saved,) = (tmp_path / "killed" / "run" / "resume").glob("step_*/trainer.json")
    assert len(json.loads(saved.read_text())["waiting"]) == 2
    assert evidence(launch(config, tmp_path / "killed")) == whole


def test_stored_batches_come_back_as_they_were(tmp_path: Path) -> None:
    problem = Problem(id="p", dataset="d", split="train", text="1+1", answer="2")
    group = ScoredGroup(
        problem,
        MIXED.prompt,
        MIXED.rollouts,
        MIXED.grades,
        (0.1, 1 / 3, -2.0),
        (((3, 0.1),), (), ()),
        (1.0, 0.0, 2.5),
    )
    waiting = [Sampled([group], {"accuracy": 1 / 3}, at=4), Sampled([], {}, at=5)]
    rows: Any = json.loads(json.dumps(stored(waiting)))
    assert restored(rows, [problem], {"p": MIXED.prompt}) == waiting


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (
            ["rollout.lag=2", "trainer.steps=2"],
            "rollout.lag=2 with trainer.steps=2: no sample is new",
        ),
        (["rollout.lag=-1"], "rollout.lag=-1"),
    ],
)
def test_nonsense_is_refused(lines: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        configure(*lines)


def test_no_lag_does_not_rename_a_run_or_change_what_is_saved(tmp_path: Path) -> None:
    untrained_base(tmp_path / "base")
    run = launch(configure(*LAG, "rollout.lag=0"), tmp_path)
    assert run.waiting == []
    restore(run)
    assert run.waiting == []
