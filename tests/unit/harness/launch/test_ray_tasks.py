"""What the Ray launcher decides without a cluster; with one: tests/integration/cluster/test_ray.py."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import yaml

from harness.launch import ray_tasks
from harness.launch.ray_tasks import Tasks, gpus_of, num_at_once
from harness.launch.worker import Work
from harness.records.progress import Display
from harness.schema.launcher_config import RaySettings, read_launcher
from harness.schema.presets import CONF as SHIPPED
from tests.unit.harness.launch.test_slurm import part, works


def settings(**changes: object) -> RaySettings:
    fields = yaml.safe_load((SHIPPED / "hydra" / "launcher" / "ray.yaml").read_text())
    found = read_launcher({**fields, **changes})
    assert isinstance(found, RaySettings)
    return found


def tasks(found: list[Work], **changes: object) -> Tasks:
    return Tasks({work.name: work for work in found}, settings(**changes), Path("jobs"), Display({}))


def named(found: list[Work], *parts: str) -> list[str]:
    return [work.name for work in found if part(work.name) in parts]


def test_a_gpu_or_a_share_of_one_is_for_runs_that_may_use_it(tmp_path: Path) -> None:
    (auto,) = (work for work in works(tmp_path, "seed=0") if not work.is_base)
    (cpu,) = (work for work in works(tmp_path, "seed=0", "device=cpu") if not work.is_base)
    assert (gpus_of(auto, settings()), gpus_of(auto, settings(gpus=0.25))) == (1.0, 0.25)
    assert gpus_of(auto, settings(gpus=0)) == gpus_of(cpu, settings(gpus=0.25)) == 0.0
    assert gpus_of(replace(auto, on_cpu=True), settings()) == 0.0


def test_runs_wait_for_their_base_and_stage(tmp_path: Path) -> None:
    found = works(tmp_path, "seed=0,1,2")
    (first,) = named(found, "s0")
    found = [replace(work, stages=(first,)) if part(work.name) == "s1" else work for work in found]
    now = tasks(found)
    assert ray_tasks._ready(now) == named(found, "b0")
    now.end(*named(found, "b0"), ("failed", "no luck"))  # its runs try it themselves
    assert ray_tasks._ready(now) == named(found, "s0", "s2")
    now.active[first] = []
    assert ray_tasks._ready(now) == named(found, "s2")
    now.active.clear()
    now.end(first, ("failed", "the loss is NaN"))
    ray_tasks._end_barred(now)
    assert now.outcomes[named(found, "s1")[0]] == (
        "failed",
        f"not started, since the stage before it, {first}, failed: the loss is NaN",
    )


def test_a_run_whose_worker_dies_has_its_tries(tmp_path: Path) -> None:
    (work,) = (work for work in works(tmp_path, "seed=0") if not work.is_base)
    now = tasks([work], retries=2)
    ray_tasks._lose(now, work.name, "killed")
    ray_tasks._lose(now, work.name, "killed")
    assert now.outcomes == {} and ray_tasks._ready(now) == [work.name]
    ray_tasks._lose(now, work.name, "killed")
    assert now.outcomes[work.name] == ("failed", "its worker died, the last of 3 tries: killed")


def test_each_launch_has_files_of_its_own(tmp_path: Path) -> None:
    found = works(tmp_path, "seed=0")
    first, second = tasks(found), tasks(found)
    names = {now.job(work.name) for now in (first, second) for work in found}
    assert len(names) == 2 * len(found)


def test_runs_at_once(monkeypatch) -> None:
    monkeypatch.setattr(ray_tasks, "num_cores", lambda: 8)
    # 8 cores: 8 runs of a thread, 4 of two cores, 2 of two processes with two cores each.
    assert num_at_once(settings(address=None), 99, 1) == 8
    assert num_at_once(settings(address=None, cpus=2), 99, 1) == 4
    assert num_at_once(settings(address=None, cpus=2, processes=2), 99, 1) == 2
    assert num_at_once(settings(address="auto"), 99, 1) == 99
