"""What a plan hands to the simulation: tasks and what they wait for, spread of run times, the cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.launch.costs import estimate
from harness.launch.expand import expand
from harness.launch.run import main
from harness.launch.sizing import assumed_of, measured_ratios, tasks_of
from harness.launch.workload import workload
from harness.schema.run_config import ConfigError
from tests.unit.harness.launch.test_costs import SECONDS, finished

SWEEP = ("experiment=smoke", "objective=sft_rejection,grpo", "seed=0,1", "trainer.steps=8")


def sweep_in(folder: Path, *more: str):
    return expand([*SWEEP, f"output_dir={folder}", *more], multirun=True)


def test_runs_wait_for_their_base_and_the_first_of_a_seed_evaluates_it(tmp_path: Path) -> None:
    sweep = sweep_in(tmp_path)
    tasks = tasks_of(sweep, {job.run_id: "run" for job in sweep.runs}, [])
    (base,) = [task for task in tasks if task.first]
    runs = {task.name: task for task in tasks if not task.first}
    assert set(runs) == {job.run_id for job in sweep.runs}
    assert all(task.needs == (base.name,) for task in runs.values())
    for seed in (0, 1):
        jobs = [job for job in sweep.runs if job.config.seed == seed]
        guesses = [estimate(job.config, []) for job in jobs]
        more = [runs[job.run_id].seconds - guess.seconds for job, guess in zip(jobs, guesses, strict=True)]
        assert more == pytest.approx([guesses[0].base_evaluation, 0.0])
    first = runs[sweep.runs[0].run_id]
    assert first.interval == pytest.approx(first.seconds / 4)  # of 8 steps a checkpoint every 2


def test_what_is_finished_is_no_task(tmp_path: Path) -> None:
    sweep = sweep_in(tmp_path)
    todo = {job.run_id: "skip" for job in sweep.runs[1:]} | {sweep.runs[0].run_id: "resume"}
    assert [task.name for task in tasks_of(sweep, todo, []) if not task.first] == [sweep.runs[0].run_id]


def test_each_run_is_compared_with_what_the_others_let_one_expect() -> None:
    """Two of 36 s in phases and 4 in none, one of 18 and 4: 40 over 31, 40 over 31, 22 over 40."""
    half = {phase: seconds / 2 for phase, seconds in SECONDS.items()}
    records = [finished(), finished(seconds=half), finished()]
    assert sum(SECONDS.values()) == 36
    shapes = {workload(records[0].config, on_gpu=False).shape}
    assert measured_ratios(records, shapes) == pytest.approx([40 / 31, 22 / 40, 40 / 31])
    assert measured_ratios(records, {"another"}) == [] and measured_ratios(records[:1], shapes) == []


def test_the_cluster_is_the_launchers_but_for_what_is_assumed(tmp_path: Path) -> None:
    sweep = sweep_in(tmp_path, "hydra.launcher.workers=3")
    assert assumed_of([], sweep).workers == 3
    given = assumed_of(["workers=5", "failures=0.5", "queue=60"], sweep)
    assert (given.workers, given.failures, given.queue, given.retries) == (5, 0.5, 60.0, 2)


@pytest.mark.parametrize(
    "said, line",
    [
        ("nodes=2: choose one of workers, queue", "nodes=2"),
        ("workers is a whole number", "workers=two"),
        ("failures is a number", "failures=often"),
        ("workers=0: it is 1 or more", "workers=0"),
        ("failures=-1: it is 0 or more", "failures=-1"),
        ("slow_share=2: it is from 0 to 1", "slow_share=2"),
        ("slow_factor=0.5: it is 1 or more", "slow_factor=0.5"),
        ("queue=nan: it is 0 or more", "queue=nan"),
    ],
)
def test_what_cannot_be_assumed_is_one_line(tmp_path: Path, said: str, line: str) -> None:
    with pytest.raises(ConfigError, match=said):
        assumed_of([line], sweep_in(tmp_path))


def test_a_plan_prints_the_simulation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--assume", "workers=2", "--assume", "failures=1"]
    assert main(["--plan", *SWEEP, f"output_dir={tmp_path}", *given]) == 0
    lines = capsys.readouterr().out.splitlines()
    at = next(i for i, text in enumerate(lines) if text.startswith("Simulated 200 times (workers=2"))
    assert "no finished run gives a spread" in lines[at] and "of 5 not finished" in lines[at + 1]
    assert lines[at + 2].startswith("  workers=1: ") and lines[at + 3].startswith("  workers=4: ")


def test_an_assumption_without_a_plan_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SWEEP, "--assume", "workers=2"]) == 2
    assert "--assume workers=2: it is about a plan; add --plan" in capsys.readouterr().err
