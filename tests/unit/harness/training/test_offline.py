"""Offline rejection sampling draws what an online run would, once, and passes over what was accepted."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from harness.objectives.selection import accepted
from harness.records.lines import read_samples, write_samples
from harness.records.published import Damaged
from harness.training.experience import problems_at, sample, score
from harness.training.offline import Offline, accepted_file, read_accepted
from harness.training.run_state import Run
from harness.types import ScoredGroup
from tests.damage import DAMAGE
from tests.unit.harness.tiny import run_on_untrained_base

# An untrained base solves nothing; the random reward accepts half of its samples.
LINES = (
    "objective=sft_rejection_offline",
    "objective.reward.accuracy=0",
    "objective.reward.random=1",
    "objective.offline.batch_size=3",
    "rollout.max_new_tokens=12",
    "rollout.group_size=8",
    "trainer.steps=3",
)
Rows = list[tuple[str, tuple[int, ...]]]


def quiet(phase: str, done: int, total: int, note: str = "") -> None:
    pass


def keys(groups: list[ScoredGroup]) -> Rows:
    return [(g.problem.id, r.completion_ids) for g in groups for r in g.rollouts]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return run_on_untrained_base(tmp_path, *LINES)


def online(run: Run) -> list[ScoredGroup]:
    groups = []
    for step in range(run.config.trainer.steps):
        problems = problems_at(run, step)
        groups += score(run, problems, sample(run, problems, step))
    return groups


def test_it_accepts_what_an_online_run_of_the_base_would_sample(run: Run) -> None:
    everything = online(replace(run, counters=replace(run.counters, tokens={}, flops={}, seconds={})))
    offline = Offline(run, quiet)
    expected = accepted(everything, threshold=0.0, cap_per_problem=4, dedupe=True)
    assert keys(offline.rows) == keys(expected) and len(offline.rows) > 3
    assert len(offline.rows) < sum(len(g.rollouts) for g in everything)
    sampled = sum(len(r.completion_ids) for g in everything for r in g.rollouts)
    assert run.counters.tokens["sampled"] == offline.summary["sampled_tokens"] == sampled
    assert offline.summary["accepted_samples"] == len(offline.rows)


def test_cap_and_dedupe(run: Run) -> None:
    rows = keys(Offline(run, quiet).rows)
    assert max(Counter(problem for problem, _ in rows).values()) <= 4
    assert len(set(rows)) == len(rows)


def test_an_epoch_is_every_accepted_sample_once(run: Run) -> None:
    offline = Offline(run, quiet)
    assert offline.num_steps == 2 * offline.per_epoch and offline.per_epoch == -(-len(offline.rows) // 3)
    epochs = [
        [
            row
            for step in range(e * offline.per_epoch, (e + 1) * offline.per_epoch)
            for row in keys(offline.batch(step)[0])
        ]
        for e in (0, 1)
    ]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(keys(offline.rows))
    assert epochs[0] != epochs[1]  # in another order


def test_going_on_reads_what_was_stored(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Offline(run, quiet)
    cost = (dict(run.counters.tokens), dict(run.counters.flops), dict(run.counters.seconds))

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("sampled again")

    again = run_on_untrained_base(tmp_path, *LINES)
    monkeypatch.setattr(again.engine, "generate", refuse)
    second = Offline(again, quiet)
    assert second.rows == first.rows and second.summary == first.summary
    assert second.batch(1) == first.batch(1)
    # Killed before its first checkpoint, the run still knows what the sampling cost.
    assert (again.counters.tokens, again.counters.flops, again.counters.seconds) == cost


def test_what_is_stored_does_not_depend_on_the_clock(run: Run, tmp_path: Path) -> None:
    Offline(run, quiet)
    path = run.folder / "offline" / "accepted.jsonl.gz"
    first = path.read_bytes()
    path.unlink()
    again = run_on_untrained_base(tmp_path, *LINES)
    again.counters.seconds = {"sample": 1000.0}  # it took longer
    Offline(again, quiet)
    assert path.read_bytes() == first
    # Stored by an older version: the cost is in the first row.
    head, *rows = read_samples(path)
    write_samples(path, [{**head, "cost": {"tokens": {"sampled": 3}}}, *rows])
    older = run_on_untrained_base(tmp_path, *LINES)
    Offline(older, quiet)
    assert older.counters.tokens == {"sampled": 3}


def test_going_on_from_a_checkpoint_keeps_its_own_count(run: Run, tmp_path: Path) -> None:
    Offline(run, quiet)
    later = run_on_untrained_base(tmp_path, *LINES)
    later.counters.step, later.counters.tokens = 2, {"sampled": 5, "trained": 7}
    Offline(later, quiet)
    assert later.counters.tokens == {"sampled": 5, "trained": 7}


def test_nothing_accepted_says_so_and_stores_nothing(tmp_path: Path) -> None:
    run = run_on_untrained_base(tmp_path, "objective=sft_rejection_offline", "trainer.steps=1")
    with pytest.raises(ValueError, match=r"no sample of the base was accepted.*use a better base"):
        Offline(run, quiet)
    assert not list(run.folder.rglob("*.gz"))


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_samples_are_named_and_drawn_anew_at_step_0_alone(
    damage: str, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, spent = Offline(run, quiet), run.counters.tokens["sampled"]
    path = accepted_file(run.folder)
    DAMAGE[damage](path)
    with pytest.raises(Damaged, match=r"delete .*offline and launch again: it is made anew") as caught:
        read_accepted(run.folder)
    assert str(caught.value).startswith(str(path))
    run.counters.step = 1  # the policy is not the base any more
    with pytest.raises(Damaged, match=r"delete .*offline and launch again: it is made anew"):
        Offline(run, quiet)
    run.counters.step, run.counters.tokens = 0, {}
    assert keys(Offline(run, quiet).rows) == keys(whole.rows) and run.counters.tokens["sampled"] == spent
    assert (f"warning: {path}:" in capsys.readouterr().err) == (damage != "deleted")


def test_samples_of_another_run_are_drawn_anew(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    whole = Offline(run, quiet)
    made, *rows = read_samples(accepted_file(run.folder))
    write_samples(accepted_file(run.folder), [{**made, "owner": "another"}, *rows])
    run.counters.tokens = {}
    assert keys(Offline(run, quiet).rows) == keys(whole.rows)
    assert "made for another" in capsys.readouterr().err
