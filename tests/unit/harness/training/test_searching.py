"""Training on what searches find: groups, tokens, masks, resuming, and objectives that are refused."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.launch.job_checks import check_jobs
from harness.launch.jobs import Job
from harness.records.lines import read_metrics
from harness.schema.run_config import ConfigError
from harness.training.advantages import build_batch
from harness.training.batching import make_batch
from harness.training.experience import sample
from harness.training.run_state import Run
from harness.training.searching import search_metrics
from harness.training.trainer import sample_and_grade
from harness.types import Problem, Rollout
from tests.unit.harness.tiny import configure, group, run_on_untrained_base, untrained_base
from tests.unit.harness.training.test_saving import SMALL, Stopped, evidence, launch

MCTS = "rollout.search={fn: mcts, value: oracle, budget: 60, parallel: 2}"
SFT = ("objective=sft_rejection", "rollout.prompts_per_step=3", "rollout.group_size=4")
DRAWN = "rollout.search={fn: mcts, value: oracle, budget: 200, take: last, train: drawn}"
PG = ("objective=pg",)


def problems_of(run: Run) -> list[Problem]:
    return run.problems[: run.config.rollout.prompts_per_step]


def sampled(run: Run) -> list[Rollout]:
    return sample(run, problems_of(run), 0)


def ids_of(rollouts: Sequence[Rollout]) -> list[tuple[int, ...]]:
    return [rollout.completion_ids for rollout in rollouts]


def test_a_search_fills_the_groups_and_everything_it_spent_counts(tmp_path: Path) -> None:
    run = run_on_untrained_base(tmp_path, *SFT, MCTS)
    rollouts = sampled(run)
    assert [r.problem_id for r in rollouts] == [p.id for p in problems_of(run) for _ in range(4)]
    assert [r.sample_idx for r in rollouts] == [0, 1, 2, 3] * 3
    assert all(r.sampler_logprobs is not None and r.num_given == 0 for r in rollouts)
    metrics = search_metrics(run)
    # Each problem's 60 tokens are spent, at 24 an output at most, and four outputs are there.
    assert run.counters.tokens["sampled"] == metrics["sampled_tokens"] >= 180
    assert metrics["sampled_tokens"] >= sum(map(len, ids_of(rollouts))) - 24
    assert 4 <= metrics["search_outputs"] <= metrics["sampled_tokens"] / 3
    assert search_metrics(run) == {}  # a step's own


def test_best_of_n_that_takes_the_last_is_plain_sampling(tmp_path: Path) -> None:
    plain = run_on_untrained_base(tmp_path / "a", *SFT)
    search = "rollout.search={fn: best_of_n, value: oracle, budget: 1, take: last}"
    searched = run_on_untrained_base(tmp_path / "b", *SFT, search)
    assert ids_of(sampled(plain)) == ids_of(sampled(searched))
    assert plain.counters.tokens == searched.counters.tokens
    assert plain.counters.flops == searched.counters.flops


def test_the_best_outputs_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`best` takes the outputs of the highest value that a larger budget finds, here the shortest."""

    def shortest(*_: Any, **__: Any) -> Any:
        return lambda places, rollouts: [1 / (1 + len(r.completion_ids)) for r in rollouts]

    monkeypatch.setattr("harness.training.searching.oracle", shortest)
    search = "rollout.search={fn: best_of_n, value: oracle, budget: 400, take: %s}"
    lengths = {}
    for take in ("best", "last"):
        run = run_on_untrained_base(tmp_path / take, *SFT, search % take, "rollout.group_size=2")
        lengths[take] = sum(map(len, ids_of(sampled(run))))
    assert lengths["best"] < lengths["last"]


def test_tokens_that_were_given_have_no_loss() -> None:
    """A row of two prompt tokens and five of an output, of which a search gave two: three have a loss."""
    one = group("p", (7, 8), [(1, 2, 3, 4, 5), (1, 2, 6)], [1.0, 0.0])
    given = Rollout("p", 0, (1, 2, 3, 4, 5), "", (-1.0,) * 5, "stop", num_given=2)
    batch = make_batch(
        [one.__class__(one.problem, one.prompt, (given, one.rollouts[1]), one.grades, one.rewards)], pad_id=0
    )
    assert batch.completion_mask.int().tolist() == [[0, 0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1, 0, 0]]
    assert batch.sampler_logprobs[0].tolist() == [0, 0, 0, 0, -1, -1, -1]


def test_only_drawn_tokens_are_trained_on_where_ratios_are_taken(tmp_path: Path) -> None:
    """The output's steps are made to end at every third token, so that simulations go on from them."""
    lines = (
        "objective=grpo",
        "objective.kl.coef=0",
        "objective.reward.random=1",
        "rollout.prompts_per_step=2",
    )
    run = run_on_untrained_base(tmp_path, *lines, "rollout.group_size=4", DRAWN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "harness.rollout.search.drive.Reader.steps",
            lambda self, ids, text: tuple(range(3, len(ids) + 1, 3)),
        )
        groups, metrics = sample_and_grade(run, 0)
    rollouts = [rollout for found in groups for rollout in found.rollouts]
    assert any(rollout.num_given for rollout in rollouts)
    batch = build_batch(groups, run.config.objective)
    assert batch.completion_mask.sum(-1).tolist() == [len(r.completion_ids) - r.num_given for r in rollouts]
    assert metrics["sampled_tokens"] == run.counters.tokens["sampled"]


@pytest.mark.parametrize(
    "lines",
    [
        (*SFT, MCTS),
        (*PG, "objective.reward.random=1", "rollout.search={fn: beam, value: rollout, budget: 60, width: 2}"),
        ("objective=grpo", "objective.kl.coef=0", "objective.reward.random=1", DRAWN),
    ],
    ids=["sft, mcts", "policy gradient, beam", "grpo, drawn"],
)
def test_a_killed_run_ends_with_the_same_bits(tmp_path: Path, lines: Sequence[str]) -> None:
    config = configure(f"output_dir={tmp_path}", *SMALL[1:], *lines)
    untrained_base(tmp_path / "base")
    whole = evidence(launch(config, tmp_path))
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(Stopped):
        launch(config, tmp_path, stop_after=2)
    assert evidence(launch(config, tmp_path)) == whole
    assert all(row["search_outputs"] >= 4 for row in read_metrics(tmp_path / "run" / "metrics.jsonl"))


def test_offline_samples_of_the_base_may_be_a_searchs(tmp_path: Path) -> None:
    lines = ("objective=sft_rejection_offline", "objective.advantage.threshold=-1", *SMALL[2:], MCTS)
    config = configure(f"output_dir={tmp_path}", *lines, "objective.offline.batch_size=4")
    untrained_base(tmp_path / "base")
    run = launch(config, tmp_path)
    (row, *_) = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert row["accepted_samples"] == 3 * 2 * 4 and row["sampled_tokens"] == run.counters.tokens["sampled"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ("objective=grpo",),
            "fn=mcts with objective.loss.fn=ppo_clip: outputs that a search has chosen are not",
        ),
        (("objective=rloo", "objective.kl.coef=0"), "objective.loss.fn=ppo_clip"),
        ((*PG, "objective.kl.coef=0.1"), "objective.kl.estimator=k3: it is a mean over the policy's own"),
        ((*PG, "objective.advantage.fn=max_rl"), "advantage.fn=max_rl: its baseline"),
        ((*SFT, "rollout.lag=1"), "rollout.search with rollout.lag=1"),
        ((*SFT, "rollout.search.value=process"), "value=process: the objective trains no such model"),
        ((*SFT, "rollout.search.fn=weighted_vote"), "value=oracle with fn=weighted_vote"),
        ((*SFT, "rollout.search.train=drawn"), "train=drawn with take=best"),
        ((*SFT, "rollout.search.budget=[3,9]"), "training takes one number"),
    ],
)
def test_objectives_for_which_it_would_be_wrong_are_refused(lines: Sequence[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        configure(MCTS, *lines)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "lines",
    [
        (*SFT, MCTS),
        (*PG, MCTS),
        (*PG, MCTS, "objective.kl.coef=0.1", "objective.kl.estimator=exact"),
        ("objective=grpo", "objective.kl.coef=0", DRAWN),
        ("objective=grpo", "rollout.search={fn: best_of_n, value: rollout, budget: 60, take: last}"),
        ("objective=grpo_prm", "objective.kl.coef=0", DRAWN.replace("oracle", "process")),
    ],
)
def test_objectives_for_which_it_is_right_are_taken(lines: Sequence[str]) -> None:
    assert configure(*lines).rollout.search is not None


def test_best_of_n_that_takes_the_best_is_no_plain_sampling() -> None:
    with pytest.raises(ConfigError, match=r"fn=best_of_n with objective\.loss\.fn=ppo_clip"):
        configure("objective=grpo", "rollout.search={fn: best_of_n, value: oracle, budget: 60}")


def test_a_search_that_nothing_reads_is_refused() -> None:
    reference = configure("objective=cold_start", MCTS)
    with pytest.raises(ConfigError, match=r"rollout\.search=\.\.\.: nothing reads it"):
        check_jobs([Job((), {}, reference)])
