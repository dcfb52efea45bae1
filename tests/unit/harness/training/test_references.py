"""Reference solutions as an offline source: which rows, which tokens, which loss; nothing is sampled."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from harness.launch.costs import estimate, sampled_tokens
from harness.launch.workload import workload
from harness.model.rows import pack_rows
from harness.records.lines import read_metrics
from harness.training.offline import Offline
from harness.training.run_state import Run
from harness.training.saving import restore
from harness.training.trainer import train
from harness.types import ScoredGroup
from tests.unit.harness.launch.test_measured import run_record
from tests.unit.harness.tiny import configure, run_on_untrained_base

LINES = ("objective=cold_start", "objective.offline.epochs=2", "objective.offline.batch_size=5")
FITS = "rollout.max_new_tokens=200"


def quiet(phase: str, done: int, total: int, note: str = "") -> None:
    pass


def trained(run: Run, **options: object) -> Run:
    arguments = {"report": quiet, "log": lambda metrics: None, "evaluate": lambda run: None, **options}
    train(run, **arguments)
    return run


def ids(groups: list[ScoredGroup]) -> list[str]:
    return [g.problem.id for g in groups]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return run_on_untrained_base(tmp_path, *LINES, FITS)


def test_every_problem_gives_its_solution_with_the_end_token(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("sampled")

    monkeypatch.setattr(run.engine, "generate", refuse)
    offline = Offline(run, quiet)
    assert ids(offline.rows) == [p.id for p in run.problems] and len(run.problems) == 32
    end = run.codec.eos_token_ids[0]
    for group in offline.rows:
        (rollout,) = group.rollouts
        assert rollout.text == group.problem.solution
        assert rollout.completion_ids == (*run.encode(rollout.text), end)
        assert (rollout.finish_reason, rollout.sampler_logprobs) == ("stop", None)
        assert group.rewards == (1.0,) and group.prompt == run.prompts[group.problem.id]
    assert run.counters.tokens == {} and not (run.folder / "offline").exists()
    assert offline.summary["accuracy"] == 1.0 and offline.summary["accepted_samples"] == 32
    assert not {"zero_variance_groups", "sampled_tokens"} & set(offline.summary)


def test_an_epoch_is_every_solution_once_in_a_seeded_order(run: Run, tmp_path: Path) -> None:
    offline = Offline(run, quiet)
    assert (offline.per_epoch, offline.num_steps) == (7, 14)  # 32 rows by fives
    batches = [ids(offline.batch(step)[0]) for step in range(14)]
    assert [len(b) for b in batches[:7]] == [5] * 6 + [2]
    first, second = ([x for batch in batches[a : a + 7] for x in batch] for a in (0, 7))
    assert sorted(first) == sorted(second) == sorted(ids(offline.rows)) and first != second
    other = run_on_untrained_base(tmp_path / "other", *LINES, FITS, "seed=1")
    assert ids(Offline(other, quiet).batch(0)[0]) != batches[0]


def test_the_loss_is_the_cross_entropy_of_the_solutions_tokens(run: Run) -> None:
    """By a forward pass of its own on each row: -log p, summed over completions, / their tokens."""
    groups, _ = Offline(run, quiet).batch(0)
    total, count = 0.0, 0
    with torch.no_grad():
        for group in groups:
            prompt, completion = group.prompt.token_ids, group.rollouts[0].completion_ids
            row = torch.tensor([[*prompt, *completion]])
            states = run.models.policy.hidden(pack_rows(row, torch.tensor([row.shape[1]])))  # [N, D]
            logprobs = (states @ run.models.policy.head_weight.T).log_softmax(-1)  # [N, V]
            for place, token in enumerate(completion, start=len(prompt) - 1):
                total, count = total - float(logprobs[place, token]), count + 1
    trained(run)
    first = read_metrics(run.folder / "metrics.jsonl")[0]
    assert first["loss"] == pytest.approx(total / count, rel=1e-5)


def test_it_learns_and_leaves_no_sampled_tokens(tmp_path: Path) -> None:
    run = trained(run_on_untrained_base(tmp_path, *LINES, FITS, "trainer.lr=3e-3"))
    rows = read_metrics(run.folder / "metrics.jsonl")
    assert len(rows) == 14 and rows[-1]["loss"] < 0.9 * rows[0]["loss"]
    assert "sampled" not in run.counters.tokens and run.counters.tokens["trained"] > 0
    assert not any("sampler_gap" in row for row in rows)


def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    lines = (*LINES, FITS, "trainer.checkpoint_every=1", "trainer.schedule=cosine")
    whole = trained(run_on_untrained_base(tmp_path / "whole", *lines))
    stopped, steps = run_on_untrained_base(tmp_path / "parts", *lines), iter(range(100))
    with pytest.raises(KeyboardInterrupt):
        trained(stopped, preempted=lambda: next(steps) == 4)
    again = run_on_untrained_base(tmp_path / "parts", *lines)
    restore(again)
    assert again.counters.step == 5
    trained(again)
    for (name, a), b in zip(
        whole.models.policy.named_parameters(), again.models.policy.parameters(), strict=True
    ):
        assert torch.equal(a, b), name
    losses = [[r["loss"] for r in read_metrics(x.folder / "metrics.jsonl")] for x in (whole, again)]
    assert losses[0] == losses[1]


def test_solutions_that_are_too_long_are_counted_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = Offline(run_on_untrained_base(tmp_path / "a", *LINES, FITS), quiet)
    lengths = sorted(len(g.rollouts[0].completion_ids) for g in whole.rows)
    capsys.readouterr()
    limit = lengths[10]  # one exactly as long as the limit stays
    few = Offline(run_on_untrained_base(tmp_path / "b", *LINES, f"rollout.max_new_tokens={limit}"), quiet)
    fitting = sum(n <= limit for n in lengths)
    assert 10 < len(few.rows) == fitting < 32 and few.summary["too_long_references"] == 32 - fitting
    said = capsys.readouterr().err
    assert f"{32 - fitting} of 32 reference solutions are longer than rollout.max_new_tokens={limit}" in said
    assert f"the longest has {lengths[-1]} tokens" in said
    none = run_on_untrained_base(tmp_path / "c", *LINES, f"rollout.max_new_tokens={lengths[0] - 1}")
    with pytest.raises(
        ValueError, match=rf"^32 of 32 .* the shortest has {lengths[0]} tokens; raise the limit$"
    ):
        Offline(none, quiet)


def test_a_solution_that_leaves_the_models_positions_is_too_long(tmp_path: Path) -> None:
    """A prompt of n tokens leaves 256 - n of the model's positions."""
    run = run_on_untrained_base(tmp_path, *LINES, FITS)
    first = run.problems[0]
    prompt, length = run.prompts[first.id], len(Offline(run, quiet).rows[0].rollouts[0].completion_ids)
    for filler, kept in ((256 - length, True), (257 - length, False)):
        run.prompts[first.id] = replace(prompt, token_ids=prompt.token_ids[:1] * filler)
        offline = Offline(run, quiet)
        assert (first.id in ids(offline.rows)) == kept
        assert offline.summary["too_long_references"] == (not kept)


def test_a_solution_that_is_graded_wrong_is_not_trained_on(tmp_path: Path) -> None:
    rows = [{"problem": f"{i}+1", "answer": str(i + 1), "split": "train"} for i in range(6)]
    rows = [{**r, "solution": rf"{i}+1={i + 1};\boxed{{{i + 1}}}"} for i, r in enumerate(rows)]
    rows[2]["solution"] = r"\boxed{9}"
    path = tmp_path / "own.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    data = (
        "data=jsonl",
        f"data.path={path}",
        "data.num_train=null",
        "data.families=[gcd]",
        "data.levels=[1]",
    )
    offline = Offline(run_on_untrained_base(tmp_path, *LINES, FITS, *data), quiet)
    assert ids(offline.rows) == [f"own-{i}" for i in (1, 2, 4, 5, 6)]
    assert offline.summary["accuracy"] == pytest.approx(5 / 6) and offline.summary["accepted_samples"] == 5
    everything = Offline(
        run_on_untrained_base(tmp_path, *LINES, FITS, *data, "objective.advantage.threshold=-1"), quiet
    )
    assert len(everything.rows) == 6


def test_r1s_format_is_trained_on_and_rewarded(tmp_path: Path) -> None:
    lines = ("objective.offline.format=r1", "objective.reward.format_r1=1", "data.template=question_answer")
    run = run_on_untrained_base(tmp_path, *LINES, FITS, *lines)
    offline = Offline(run, quiet)
    assert {g.rewards for g in offline.rows} == {(2.0,)}
    text = offline.rows[0].rollouts[0].text
    assert text.startswith(" <think> ") and text.endswith("} </answer>")
    assert offline.rows[0].prompt.text.startswith("Question: ") and offline.summary["accuracy"] == 1.0


def test_plans_count_passes_and_no_samples(tmp_path: Path) -> None:
    once, twice = (configure(*LINES[:1], f"objective.offline.epochs={n}", FITS) for n in (1, 2))
    assert sampled_tokens(twice) == 0 and estimate(twice).sampled_tokens == 0
    more = estimate(twice).seconds - estimate(once).seconds
    assert more > 0
    online = configure("objective=grpo", FITS)
    record = run_record(
        config=once.model_dump(mode="json"),
        seconds={"train": 10.0, "evaluate": 5.0},
        hardware={"device": "cpu"},
        started="2026-01-01T00:00:00+00:00",
        finished="2026-01-01T00:00:15+00:00",
    )
    passes = [workload(config.model_dump(), on_gpu=False).samples for config in (once, twice)]
    assert passes == [once.data.num_train, 2 * once.data.num_train]
    assert estimate(twice, [record]).seconds == pytest.approx(25.0)  # twice 10, and 5
    assert "of other models" in estimate(online, [record]).source  # sampling costs something else
