"""Expected time: what is counted of a finished run, by hand, and how runs are laid out over workers."""

from __future__ import annotations

import os
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from harness.launch import costs, plan_times
from harness.launch.costs import estimate, finished_records, makespan
from harness.launch.pace import REFERENCE_SIZE, Pace, typical_share
from harness.launch.run import main
from harness.launch.workload import evaluation_seconds, seconds_of, workload
from harness.records.records import BaseRecord, RunRecord, write_record
from harness.schema.data_config import DataConfig
from harness.schema.run_config import RunConfig
from tests.unit.harness.launch.test_measured import run_record
from tests.unit.harness.tiny import configure

# 4 steps of 4 problems x 4 samples; checkpoints at steps 2 and 4; 5 splits of 8 problems, 3 answers each.
SECONDS = {
    **{"setup": 2.0, "start": 1.0, "sample": 4.0, "grade": 1.0, "train": 8.0, "reference": 2.0},
    **{"sync": 0.5, "sync_check": 1.5, "save": 1.0, "kept": 3.0, "evaluate": 12.0},
}


def config(*overrides: str) -> RunConfig:
    return configure("eval.splits=[train,perturbed,validation,test,heldout]", *overrides)


def finished(*overrides: str, seconds: dict[str, float] = SECONDS, **fields: Any) -> RunRecord:
    """A run of 64 completions with a mean of 12 tokens, whose limit is 24; 4 s are in no phase."""
    given: dict[str, Any] = {
        "config": config(*overrides).model_dump(mode="json"),
        "seconds": seconds,
        "tokens": {"sampled": 64 * 12},
        "hardware": {"device": "cpu"},
        "base_seconds": 10.0,
        "started": "2026-01-01T00:00:00+00:00",
        "finished": f"2026-01-01T00:00:{int(sum(seconds.values())) + 14:02d}+00:00",
    }
    return run_record(**given | fields)


def predicted(*overrides: str, record: RunRecord | None = None) -> float:
    done = record or finished()
    units = workload(done.config, on_gpu=False)
    return seconds_of(done, units, workload(config(*overrides).model_dump(), on_gpu=False))


def test_what_a_run_does_is_counted() -> None:
    units = workload(config("objective.updates.epochs=3").model_dump(), on_gpu=False)
    assert (units.steps, units.samples, units.longest, units.passes, units.checkpoints) == (4, 64, 24, 3, 2)
    assert (units.answers, units.evaluations) == (5 * 8 * 3, 1)
    more = config("eval.temperatures=[0.5,0.7]", "eval.top_ps=[0.9]", "eval.at_steps=[2]", "eval.k=4")
    units = workload(more.model_dump(), on_gpu=False)  # 3 temperatures x 2 top-ps, 4 samples each, and greedy
    assert (units.answers, units.evaluations) == (5 * 8 * (24 + 1), 2)


def test_a_run_like_a_finished_one_takes_what_that_took_with_its_set_up() -> None:
    assert predicted() == pytest.approx(36 + 4)  # every phase, and the 50 - 36 - 10 s outside them


@pytest.mark.parametrize(
    ("override", "seconds"),
    [
        # Twice the steps: twice sample, grade, train, reference (15), sync and check (2), and the checkpoints
        # at 2, 4, 6 and 8 are twice as many (4).
        ("trainer.steps=8", 40 + 15 + 2 + 4),
        ("rollout.group_size=8", 40 + 15),  # twice the completions, no further checks and checkpoints
        ("objective.updates.epochs=2", 40 + 8),  # updates alone
        ("eval.k=5", 40 + 12),  # 6 answers a problem where there were 3
        ("eval.splits=[test]", 40 - 12 * 4 / 5),
        ("trainer.checkpoint_every=4", 40 - 2),  # one of two checkpoints
        ("objective.kl.coef=0", 40 - 2),  # no reference
        ("rollout.max_new_tokens=48", 40),  # the mean of 12 tokens has room in 24
        ("rollout.max_new_tokens=6", 40 - 15 / 2),  # of 12 tokens 6 are left
    ],
)
def test_each_setting_changes_the_phases_that_it_is_about(override: str, seconds: float) -> None:
    assert predicted(override) == pytest.approx(seconds)


def test_completions_at_the_limit_grow_with_it() -> None:
    cut = finished(tokens={"sampled": 64 * 22})  # 22 of 24 tokens
    assert predicted("rollout.max_new_tokens=48", record=cut) == pytest.approx(40 + 15)


def test_a_reference_that_a_finished_run_had_not_is_added() -> None:
    without = {k: v for k, v in SECONDS.items() if k != "reference"}
    record = finished("objective.kl.coef=0", seconds=without)
    assert predicted(record=record) == pytest.approx(38 + 0.3 * 8)


def test_time_between_attempts_is_not_the_runs() -> None:
    assert predicted(record=finished(num_resumes=1)) == pytest.approx(36)


def test_what_a_run_waited_for_a_core_is_not_its_work() -> None:
    """Other programs had the core for 30 of 50 s, the base's 10 among them: 40 s of the run were 16."""
    crowded = finished(waited_seconds=30.0)
    assert predicted(record=crowded) == pytest.approx(40 * (1 - 30 / 50))
    done = workload(crowded.config, on_gpu=False)
    assert evaluation_seconds(crowded, done, done) == pytest.approx(12 * 0.4)


def test_the_bases_evaluation_is_one_checkpoints() -> None:
    record = finished("eval.at_steps=[2]")
    done = workload(record.config, on_gpu=False)
    assert evaluation_seconds(record, done, done) == pytest.approx(6)


def test_runs_of_the_shape_count_and_others_correct_the_stated_rates() -> None:
    same, wider = finished(run_id="a"), finished("model.dims.hidden_size=64", run_id="b")
    named = finished("model.dims.num_layers=4", run_id="c")  # as ladder_xs is called too
    assert estimate(config(), [same, wider, named]).seconds == pytest.approx(40)
    assert estimate(config(), [same]).source == "1 finished run of ladder_xs"
    stated = estimate(config()).seconds
    found = estimate(config(), [wider])
    assert found.source == "1 finished run of other models"
    of_wider = estimate(config("model.dims.hidden_size=64")).seconds
    assert found.seconds == pytest.approx(stated * 40 / of_wider)
    on_gpu = finished("model.dims.hidden_size=64", run_id="d", hardware={"device": "cuda"})
    assert estimate(config(), [on_gpu]).source == "stated rates of one CPU thread"


def test_stated_rates_fall_faster_where_the_arithmetic_takes_the_time() -> None:
    """At 4 times the parameters tokens cost 4^0.5 times as much; beyond 16 times, 5 times for 5 times."""
    pace = Pace("", sample=800, sample_power=0.5, train=400, train_power=0.5, step=0, fixed=0, fills=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.launch.pace.FULL", 16.0)
        for size, sample in ((1, 800), (4, 400), (16, 200), (80, 40)):
            patch.setattr("harness.launch.pace.num_parameters", lambda dims, n=size: n * REFERENCE_SIZE)
            assert pace.rates(config().model.dims) == pytest.approx((sample, sample / 2))


def test_a_pretrained_model_is_taken_to_need_some_tokens() -> None:
    ladder = config().model
    assert typical_share(64, ladder) == 0.5
    hub = ladder.model_copy(update={"source": "hub"})
    assert [typical_share(n, hub) for n in (64, 200, 250, 400, 1024)] == [1.0, 1.0, 0.8, 0.5, 0.5]


def test_of_other_models_the_newest_runs_count() -> None:
    wide = "model.dims.hidden_size=64"
    new = [finished(wide, run_id=f"n{i}", finished=f"2026-01-01T00:01:{i:02d}+00:00") for i in range(20)]
    old = [
        finished(
            wide, run_id=f"o{i}", seconds=SECONDS | {"train": 80.0}, finished=f"2025-01-01T00:00:{i:02d}"
        )
        for i in range(30)
    ]
    found = estimate(config(), [*new, *old])
    assert found.source == "20 finished runs of other models"
    assert found.seconds == pytest.approx(estimate(config(), new).seconds)


def test_problems_are_counted_once_for_all_seeds_and_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    real, read = costs.problems_to_evaluate, []

    def counted(data: DataConfig, split: str, *rest: Any) -> list[Any]:
        read.append((data.data_seed, split))
        return real(data, split, *rest)

    monkeypatch.setattr(costs, "problems_to_evaluate", counted)
    costs._counted.cache_clear()
    seeds = [
        configure("data=reasoning_general_mini", "eval.splits=[validation,test]", f"data.data_seed={seed}")
        for seed in range(4)
    ]
    assert len({estimate(c).seconds for c in seeds}) == 1
    assert read == [(0, "validation"), (0, "test")]


def test_runs_of_the_same_kind_of_objective_come_first() -> None:
    slow = finished("objective=sft_rejection", run_id="e", seconds=SECONDS | {"train": 38.0}, finished=None)
    assert estimate(config(), [finished(run_id="f"), slow]).seconds == pytest.approx(40)
    assert estimate(config("objective=sft_rejection"), [finished(run_id="f")]).seconds == pytest.approx(38)


def test_a_base_of_the_shape_tells_what_another_takes(tmp_path: Path) -> None:
    here = config(f"output_dir={tmp_path}", "model.pretrain.steps=90")
    before = estimate(here).base_seconds
    dims, pretrain = here.model.ladder()
    identity = {
        "dims": dims.model_dump(exclude_defaults=True),
        "pretrain": pretrain.model_dump(exclude_defaults=True) | {"steps": 30},
        "threads": 1,
    }
    counts = {"num_parameters": 1, "num_non_embedding_parameters": 1, "tokens": 1, "flops": 1.0}
    record = BaseRecord(base_id="b", identity=identity, seconds=5.0, final_loss=1.0, code={}, **counts)
    write_record(tmp_path / "bases" / "b" / "base.json", record)
    assert estimate(here).base_seconds == pytest.approx(15) != before
    other = config(f"output_dir={tmp_path}", "model.pretrain.steps=90", "model.dims.hidden_size=64")
    assert estimate(other).base_seconds != pytest.approx(15)


def best_layout(seconds: list[float], workers: int) -> float:
    """By trying every assignment."""
    ends = []
    for places in product(range(workers), repeat=len(seconds)):
        ends.append(
            max(sum(s for s, p in zip(seconds, places, strict=True) if p == w) for w in range(workers))
        )
    return min(ends)


@pytest.mark.parametrize(
    ("seconds", "workers"),
    [([60, 60, 60], 2), ([5, 4, 3, 3], 2), ([7, 1, 1, 1], 3), ([2], 4), ([3, 3, 2, 2, 2], 2)],
)
def test_no_run_is_shared_out_over_workers(seconds: list[float], workers: int) -> None:
    found = makespan(seconds, workers)
    assert best_layout(seconds, workers) <= found <= best_layout(seconds, workers) * 4 / 3  # Graham 1969
    assert found >= max(seconds)


def test_three_runs_take_two_rounds_on_two_workers() -> None:
    assert makespan([60, 60, 60], 2) == 120 and makespan([], 2) == 0


def test_early_and_damaged_records_are_left_out(tmp_path: Path) -> None:
    write_record(tmp_path / "s" / "a" / "run.json", finished(run_id="a"))
    write_record(tmp_path / "s" / "b" / "run.json", run_record(run_id="b", seconds={"train": 1.0}))
    (tmp_path / "s" / "c").mkdir()
    (tmp_path / "s" / "c" / "run.json").write_text("{")
    early = finished(run_id="d").model_dump(mode="json")
    del early["config"]["eval"]["temperatures"], early["config"]["trainer"]["checkpoint_every"]
    write_record(tmp_path / "s" / "d" / "run.json", RunRecord.model_validate(early))
    assert {record.run_id for record in finished_records(str(tmp_path))} == {"a", "d"}


def test_a_plan_says_what_finished_runs_take(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_times, "others_at_work", lambda: 0.0)
    write_record(tmp_path / "s" / "a" / "run.json", finished(run_id="a"))
    words = ["experiment=smoke", "objective.reward.inverted=0", f"output_dir={tmp_path}", "seed=0,1,2"]
    assert main(["--plan", "-m", *words, "hydra.launcher.workers=2"]) == 0
    said = capsys.readouterr().out
    assert "40s" in said and "1 finished run of ladder_xs" in said
    (line,) = [line for line in said.splitlines() if line.startswith("Expected: ")]
    # Three runs of 40 s, the base and three evaluations of it (12 s each) on two workers, and 8 s to start:
    # at least two rounds of runs, and less than all of it one after another.
    minutes, _, rest = line.removeprefix("Expected: ").partition("m")
    expected = 60 * int(minutes) + int(rest.partition("s")[0])
    assert 88 <= expected <= 130 and line.endswith("2 workers") and "36s for 3 evaluations of bases" in said
    monkeypatch.setattr(plan_times, "others_at_work", lambda: 3.0)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert main(["--plan", "-m", *words, "hydra.launcher.workers=2"]) == 0
    said = capsys.readouterr().out
    assert "1m40s" in said and "2.5 times as long as on a quiet one" in said  # (3 + 2)/2 times the 40 s
