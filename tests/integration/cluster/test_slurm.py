"""The Slurm launcher on a real Slurm of two nodes (loopback.py): what it does, and what it survives."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.records.cluster_jobs import read_submissions
from tests.campaign.runs import differences, evidence
from tests.integration.cluster.launches import (
    REAL,
    SMOKE,
    STAND_INS,
    Launch,
    behave,
    called,
    environment_of,
    records,
    start,
    statuses,
    wait_for,
)
from tests.integration.cluster.loopback import Loopback, lacking, loopback

WHY = lacking()
pytestmark = [pytest.mark.skipif(WHY is not None, reason=str(WHY)), pytest.mark.timeout(600)]
SLURM = ("hydra/launcher=slurm", "hydra.launcher.poll=1", "hydra.launcher.settle=2")
ONE_EACH = (*SLURM, "hydra.launcher.pack_minutes=0")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    with loopback(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


@pytest.fixture
def launch(slurm: Loopback, tmp_path: Path) -> Iterator:
    """Start a launch of stand-ins, or of real runs; what is left of it afterwards is ended."""
    begun: list[Launch] = []

    def begin(*lines: str, module: str = STAND_INS, name: str = "launch") -> Launch:
        given = lines if lines[0] == "attach" else (*lines, f"output_dir={tmp_path}", "study=s")
        environment = environment_of(slurm.environment)
        begun.append(start(tmp_path, module, *given, environment=environment, name=name))
        return begun[-1]

    yield begin
    for one in begun:
        if one.process.poll() is None:
            one.process.kill()
    slurm.call("scancel", "--user=root")
    wait_for(lambda: not slurm.queue(), "an empty queue", 90)


def running(slurm: Loopback) -> list[str]:
    return [job for job, state in slurm.queue().items() if state == "RUNNING"]


def exit_code(slurm: Loopback, job: str) -> str:
    shown = slurm.call("scontrol", "show", "job", job)
    return shown.partition("ExitCode=")[2].split()[0]


def test_real_runs_give_the_numbers_of_this_machine_to_the_bit(launch, tmp_path: Path) -> None:
    lines = ("-m", *SMOKE, "objective=grpo,sft_rejection", "seed=0")
    assert launch(*lines, *ONE_EACH, module=REAL).ended(300) == 0
    there = tmp_path / "there"
    here = start(there, REAL, *lines, f"output_dir={there}", "study=s", environment=environment_of())
    assert here.ended(300) == 0
    found, expected = evidence(tmp_path), evidence(there)
    assert len(expected) > 20 and differences(found, expected) == []


def test_a_real_run_that_is_requeued_gives_the_same_bits(launch, slurm: Loopback, tmp_path: Path) -> None:
    moves = (
        "objective.reward.random=1",
        "trainer.lr=3e-3",
        "trainer.steps=60",
        "trainer.checkpoint_every=20",
    )
    lines = (*SMOKE, *moves, "seed=0")
    first = launch("-m", *lines, *ONE_EACH, module=REAL)
    metrics = "s/*/metrics.jsonl"
    wait_for(lambda: any(len(p.read_text()) > 4000 for p in tmp_path.glob(metrics)), first.said(), 120)
    slurm.call("scontrol", "requeue", *running(slurm))
    assert first.ended(400) == 0, first.said()
    assert records(tmp_path / "s")[0].num_resumes == 1
    there = tmp_path / "there"
    here = start(there, REAL, "-m", *lines, f"output_dir={there}", "study=s", environment=environment_of())
    assert here.ended(300) == 0
    found, expected = evidence(tmp_path), evidence(there)
    assert len(expected) > 10 and differences(found, expected) == []


def test_one_run_without_m_does_not_train_here(launch, slurm: Loopback, tmp_path: Path) -> None:
    assert launch("seed=7", *SLURM).ended() == 0
    jobs = read_submissions(tmp_path / "s").jobs
    assert [len(one.runs) for one in jobs.values()] == [1, 1]  # the base, the run
    assert all(exit_code(slurm, job) == "0:0" for job in jobs)
    assert statuses(tmp_path / "s") == {7: "finished"}


def test_a_killed_run_is_tried_again_and_costs_no_other(launch, tmp_path: Path) -> None:
    behave(tmp_path, s1="kill once")
    ended = launch("-m", "seed=0,1,2", *ONE_EACH)
    assert ended.ended() == 0 and "ended without a result (failed); try 2 of 3" in ended.said()
    assert set(statuses(tmp_path / "s").values()) == {"finished"}
    assert sorted(name.split("-")[2] for name in called(tmp_path) if "-b0" not in name) == [
        "s0",
        "s1",
        "s1",
        "s2",
    ]


def test_a_run_that_kills_every_job_fails_alone_with_a_reason(launch, tmp_path: Path) -> None:
    behave(tmp_path, s1="kill")
    ended = launch("-m", "seed=0,1,2", "hydra.launcher.retries=1", *ONE_EACH)
    assert ended.ended() == 1
    found = records(tmp_path / "s")
    assert {seed: r.status for seed, r in found.items()} == {0: "finished", 1: "failed", 2: "finished"}
    assert "ended without a result (failed), the last of 2 tries; see " in str(found[1].reason)


def test_a_run_that_fails_by_itself_is_not_tried_again_and_its_job_fails(
    launch, slurm: Loopback, tmp_path: Path
) -> None:
    behave(tmp_path, s1="fail")
    assert launch("-m", "seed=0,1", *ONE_EACH).ended() == 1
    jobs = {one.runs[0]: job for job, one in read_submissions(tmp_path / "s").jobs.items()}
    codes = {name.split("-")[2]: exit_code(slurm, job) for name, job in jobs.items()}
    assert (codes["s0"], codes["s1"]) == ("0:0", "1:0") and len(jobs) == 3
    assert records(tmp_path / "s")[1].reason == "RuntimeError: a broken disk"


def test_what_depends_on_a_killed_base_waits_for_its_second_job(launch, tmp_path: Path) -> None:
    behave(tmp_path, b0="kill once")
    ended = launch("-m", "seed=0,1", *ONE_EACH)
    assert ended.ended() == 0, ended.said()
    assert set(statuses(tmp_path / "s").values()) == {"finished"} and len(called(tmp_path)) == 4


def test_short_runs_share_a_job_and_a_kill_costs_the_one_under_way(launch, tmp_path: Path) -> None:
    behave(tmp_path, s2="kill once")
    assert launch("-m", "seed=0,1,2,3", *SLURM, "hydra.launcher.pack_minutes=60").ended() == 0
    jobs = read_submissions(tmp_path / "s").jobs
    assert [len(one.runs) for one in jobs.values()][:2] == [1, 4]
    names = [name.split("-")[2] for name in called(tmp_path) if "-b0" not in name]
    assert sorted(names) == ["s0", "s1", "s2", "s2", "s3"]  # none but the killed one twice


def test_ctrl_c_cancels_and_a_second_launch_goes_on(launch, slurm: Loopback, tmp_path: Path) -> None:
    behave(tmp_path, s0="long", s1="long", s2="long")
    first = launch("-m", "seed=0,1,2", *ONE_EACH)
    wait_for(lambda: list(statuses(tmp_path / "s").values()).count("running") == 2, first.said())
    os.kill(first.process.pid, signal.SIGINT)
    assert first.ended() == 130 and "cancelling 3 jobs; their runs save first" in first.said()
    assert not slurm.queue()
    assert sorted(statuses(tmp_path / "s").values()) == ["interrupted", "interrupted"]
    assert launch("-m", "seed=0,1,2", *ONE_EACH, name="second").ended() == 0
    assert statuses(tmp_path / "s") == {0: "finished", 1: "finished", 2: "finished"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_jobs_outlive_their_launch_and_the_next_follows_them(
    launch, number: int, slurm: Loopback, tmp_path: Path
) -> None:
    behave(tmp_path, s0="longer", s1="longer")
    first = launch("-m", "seed=0,1", *ONE_EACH)
    wait_for(lambda: list(statuses(tmp_path / "s").values()).count("running") == 2, first.said())
    os.kill(first.process.pid, number)
    assert first.ended() == (130 if number == signal.SIGTERM else -9)
    assert len(running(slurm)) == 2 and set(statuses(tmp_path / "s").values()) == {"running"}
    shown = launch("attach", str(tmp_path / "s"), "--once", name="attach", module=REAL)
    assert shown.ended() == 1 and shown.said().count("running") == 2 and "training 1/2" in shown.said()
    second = launch("-m", "seed=0,1", *ONE_EACH, name="second")
    assert second.ended() == 0 and second.said().count("followed") == 2
    assert len(called(tmp_path)) == 3 and set(statuses(tmp_path / "s").values()) == {"finished"}


def test_two_launches_at_once_share_the_jobs(launch, tmp_path: Path) -> None:
    behave(tmp_path, s0="long")
    both = [launch("-m", "seed=0,1,2", *ONE_EACH, name=name) for name in ("first", "second")]
    assert [one.ended() for one in both] == [0, 0]
    assert len(called(tmp_path)) == 4, called(tmp_path)


def test_a_job_that_is_cancelled_elsewhere_is_interrupted(launch, slurm: Loopback, tmp_path: Path) -> None:
    behave(tmp_path, s0="long")
    first = launch("-m", "seed=0,1", *ONE_EACH)
    wait_for(lambda: "running" in statuses(tmp_path / "s").values() and called(tmp_path)[2:], first.said())
    jobs = {one.runs[0]: job for job, one in read_submissions(tmp_path / "s").jobs.items()}
    slurm.call("scancel", next(job for name, job in jobs.items() if "-s0-" in name))
    assert first.ended() == 1 and "was cancelled; launch again to go on" in first.said()
    assert statuses(tmp_path / "s") == {0: "interrupted", 1: "finished"}


def test_a_requeued_job_goes_on(launch, slurm: Loopback, tmp_path: Path) -> None:
    behave(tmp_path, s0="long")
    first = launch("seed=0", *ONE_EACH)
    wait_for(lambda: "running" in statuses(tmp_path / "s").values(), first.said())
    slurm.call("scontrol", "requeue", *running(slurm))
    wait_for(lambda: "interrupted" in statuses(tmp_path / "s").values(), first.said())  # saved at SIGTERM
    assert first.ended(300) == 0 and records(tmp_path / "s")[0].num_resumes == 1


def test_a_preempted_job_goes_on(launch, slurm: Loopback, tmp_path: Path) -> None:
    behave(tmp_path, s0="long")
    first = launch("seed=0", *ONE_EACH)
    wait_for(lambda: "running" in statuses(tmp_path / "s").values(), first.said())
    slurm.call("sbatch", "-p", "urgent", "-N", "2", "--wrap", "sleep 5", "-o", "/dev/null")
    assert first.ended(300) == 0 and records(tmp_path / "s")[0].num_resumes == 1


def test_a_job_at_its_time_limit_saves_and_goes_on(launch, slurm: Loopback, tmp_path: Path) -> None:
    behave(tmp_path, s0="long")
    limit = ("hydra.launcher.timeout_min=1", "hydra.launcher.signal_delay_s=50")
    first = launch("seed=0", *ONE_EACH, *limit)
    wait_for(lambda: "interrupted" in statuses(tmp_path / "s").values(), first.said(), 120)
    assert records(tmp_path / "s")[0].reason == f"signal {int(signal.SIGUSR2)}"
    assert first.ended(400) == 0 and records(tmp_path / "s")[0].num_resumes == 1
    (job,) = {one.runs[0]: job for job, one in read_submissions(tmp_path / "s").jobs.items()}.keys() - {
        name for name in called(tmp_path) if "-b0" in name
    }
    assert called(tmp_path).count(job) == 2


def test_a_lost_node_costs_time_alone(launch, slurm: Loopback, tmp_path: Path) -> None:
    behave(tmp_path, s0="long", s1="long")
    first = launch("-m", "seed=0,1", *ONE_EACH)
    wait_for(lambda: list(statuses(tmp_path / "s").values()).count("running") == 2, first.said())
    slurm.stop_node("n2")
    try:
        assert first.ended(400) == 0, first.said()
    finally:
        slurm.start_node("n2")
        slurm.wait_for(lambda: slurm.states() == ["idle", "idle"], "two idle nodes", 120)
    assert statuses(tmp_path / "s") == {0: "finished", 1: "finished"}


def test_a_pilot_with_a_killed_job_stops_before_its_choice(launch, tmp_path: Path) -> None:
    behave(tmp_path, s100="kill")
    first = launch("ablation=rates", "objective=grpo", "hydra.launcher.retries=0", *SLURM)
    assert first.ended() == 1, first.said()
    assert "trainer.lr=1e-05, seed 100: its job " in first.said()
    assert "no rate is chosen without these; launch again to run them" in first.said()
    assert not list((tmp_path / "s").glob("*/run.json"))


def test_two_processes_share_a_sharded_run(launch, tmp_path: Path) -> None:
    meet = "hydra.launcher.setup=['export MASTER_ADDR=127.0.0.1']"  # n1 is no name that resolves here
    first = launch(*SMOKE, "seed=0", "hydra.launcher.nodes=2", meet, *ONE_EACH, module=REAL)
    assert first.ended(300) == 0, first.said()
    assert records(tmp_path / "s")[0].hardware["processes"] == 2


def test_what_slurm_refuses_is_one_line_and_no_run_fails_by_it(launch, tmp_path: Path) -> None:
    first = launch("-m", "seed=0,1", *ONE_EACH, "hydra.launcher.partition=nosuch")
    assert first.ended() == 2
    assert "error: hydra/launcher=slurm: " in first.said() and "invalid partition" in first.said()
    assert "Traceback" not in first.said() and statuses(tmp_path / "s") == {}


def test_a_gpu_that_the_cluster_has_not_is_one_line(launch, tmp_path: Path) -> None:
    first = launch("-m", "seed=0,1", "device=auto", *ONE_EACH)
    assert first.ended() == 2
    said = first.said()
    assert "Invalid generic resource" in said and "a job asks for a GPU unless device=cpu" in said
    assert "Traceback" not in first.said() and statuses(tmp_path / "s") == {}
