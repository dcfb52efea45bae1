"""The Ray launcher on two nodes of one CPU each on this machine: what it does, and what it survives."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

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
from tests.integration.cluster.ray_nodes import two_nodes

pytest.importorskip("ray", reason="no Ray here: pip install '.[ray]'")
pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head and one more node, each of a CPU; the second is `cluster.worker_nodes`."""
    with two_nodes() as nodes:
        yield nodes


@pytest.fixture
def launch(cluster: Any, tmp_path: Path) -> Iterator:
    """Start a launch of stand-ins, or of real runs, on the cluster."""
    begun: list[Launch] = []

    def begin(*lines: str, module: str = STAND_INS, name: str = "launch") -> Launch:
        ray = ("hydra/launcher=ray", f"hydra.launcher.address={cluster.address}")
        given = (*lines, *ray, f"output_dir={tmp_path}", "study=s")
        begun.append(start(tmp_path, module, *given, environment=environment_of(), name=name))
        return begun[-1]

    yield begin
    for one in begun:
        if one.process.poll() is None:
            one.process.kill()


def both_run(folder: Path) -> bool:
    return list(statuses(folder / "s").values()).count("running") == 2


def test_real_runs_give_the_numbers_of_this_machine_to_the_bit(launch, tmp_path: Path) -> None:
    lines = ("-m", *SMOKE, "objective=grpo,sft_rejection", "seed=0")
    assert launch(*lines, module=REAL).ended(300) == 0
    there = tmp_path / "there"
    here = start(there, REAL, *lines, f"output_dir={there}", "study=s", environment=environment_of())
    assert here.ended(300) == 0
    found, expected = evidence(tmp_path), evidence(there)
    assert len(expected) > 20 and differences(found, expected) == []


def test_one_run_without_m_goes_to_the_cluster(launch, tmp_path: Path) -> None:
    assert launch("seed=7").ended() == 0
    assert statuses(tmp_path / "s") == {7: "finished"} and list((tmp_path / "s" / "jobs").glob("ray-*.json"))


def test_a_killed_worker_costs_its_run_a_try(launch, tmp_path: Path) -> None:
    behave(tmp_path, s1="kill once")
    ended = launch("-m", "seed=0,1,2")
    assert ended.ended() == 0 and "its worker died" in ended.said() and "try 2 of 4" in ended.said()
    names = sorted(name.split("-")[2] for name in called(tmp_path) if "-b0" not in name)
    assert names == ["s0", "s1", "s1", "s2"]


def test_a_run_that_kills_every_worker_fails_alone_with_a_reason(launch, tmp_path: Path) -> None:
    behave(tmp_path, s1="kill", s2="fail")
    assert launch("-m", "seed=0,1,2", "hydra.launcher.retries=1").ended() == 1
    found = records(tmp_path / "s")
    assert {seed: r.status for seed, r in found.items()} == {0: "finished", 1: "failed", 2: "failed"}
    assert str(found[1].reason).startswith("its worker died, the last of 2 tries: ")
    assert found[2].reason == "RuntimeError: a broken disk"
    assert [name.split("-")[2] for name in called(tmp_path)].count("s2") == 1


def test_a_killed_base_is_tried_again_before_its_runs(launch, tmp_path: Path) -> None:
    behave(tmp_path, b0="kill once")
    assert launch("-m", "seed=0,1").ended() == 0
    assert [name.split("-")[2] for name in called(tmp_path)][:2] == ["b0", "b0"]
    assert len(called(tmp_path)) == 4


def test_a_lost_node_costs_its_run_a_try(launch, cluster: Any, tmp_path: Path) -> None:
    behave(tmp_path, s0="long", s1="long")
    first = launch("-m", "seed=0,1")
    wait_for(lambda: both_run(tmp_path), first.said())
    cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    assert first.ended(300) == 0 and "try 2 of 4" in first.said()
    assert statuses(tmp_path / "s") == {0: "finished", 1: "finished"}
    assert sorted(record.num_resumes for record in records(tmp_path / "s").values()) == [0, 1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_stopped_launch_stops_its_runs_which_save(launch, number: int, tmp_path: Path) -> None:
    behave(tmp_path, s0="long", s1="long", s2="long")
    first = launch("-m", "seed=0,1,2")
    wait_for(lambda: both_run(tmp_path), first.said())
    os.kill(first.process.pid, number)
    assert first.ended() == 130 and "stopping: the runs under way save first" in first.said()
    assert sorted(statuses(tmp_path / "s").values()) == ["interrupted", "interrupted"]
    assert launch("-m", "seed=0,1,2", name="second").ended() == 0
    assert statuses(tmp_path / "s") == {0: "finished", 1: "finished", 2: "finished"}


def test_a_killed_launch_takes_its_runs_along_and_the_next_goes_on(launch, tmp_path: Path) -> None:
    behave(tmp_path, s0="long", s1="long")
    first = launch("-m", "seed=0,1")
    wait_for(lambda: both_run(tmp_path), first.said())
    os.kill(first.process.pid, signal.SIGKILL)
    assert first.ended() == -9
    assert launch("-m", "seed=0,1", name="second").ended() == 0
    assert statuses(tmp_path / "s") == {0: "finished", 1: "finished"}


def test_two_processes_share_a_sharded_run(launch, tmp_path: Path) -> None:
    first = launch(*SMOKE, "seed=0", "hydra.launcher.processes=2", module=REAL)
    assert first.ended(300) == 0, first.said()
    assert records(tmp_path / "s")[0].hardware["processes"] == 2


def test_a_gpu_that_a_node_does_not_show_is_no_run_on_its_cpu(launch, tmp_path: Path) -> None:
    # The head claims a GPU; PyTorch finds none. device=auto would train on the CPU under the same name.
    first = launch("seed=0", "device=auto", "hydra.launcher.gpus=0.5")
    assert first.ended() == 1 and "a GPU was asked for, and PyTorch sees none on" in first.said()
    assert launch("seed=0", "device=auto", "hydra.launcher.gpus=0", name="second").ended() == 0


def test_no_cluster_is_one_line(tmp_path: Path) -> None:
    lines = ("seed=0", "hydra/launcher=ray", "hydra.launcher.address=127.0.0.1:1", f"output_dir={tmp_path}")
    first = start(tmp_path, STAND_INS, *lines, "study=s", environment=environment_of())
    assert first.ended() == 2 and "error: hydra.launcher.address=127.0.0.1:1: " in first.said()
    assert "Traceback" not in first.said() and statuses(tmp_path / "s") == {}
