"""What a run sends to W&B is the run as it ended: a study fetched from there is the study on disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.__main__ import main
from analysis.report.tracked import online_runs, write_study
from analysis.study.load import load_study
from harness.identity import base_folder, run_folder, run_id
from harness.launch import execute as execution
from harness.launch.execute import execute
from harness.records.records import read_run
from harness.schema.run_config import RunConfig
from tests.integration.test_resume import config_at, quiet
from tests.unit.harness.launch.wandb_server import KEY, WandbServer, wandb_server

SMALL = (
    "trainer.steps=2",
    "eval.splits=[test]",
    "eval.k=2",
    "eval.greedy=false",
    "tracking.timeout=3",
    "objective.reward.inverted=0",
)


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """W&B without settings from outside, and without those of an earlier test."""
    import wandb

    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_SILENT", "true")
    wandb.teardown()


def finish(config: RunConfig) -> None:
    import wandb

    assert execute(config, overrides=[], report=quiet) == "finished"
    wandb.teardown()  # its own process writes on after `finish`


def same(fetched: Path, original: Path) -> None:
    """Field by field: records, steps, evaluations of the run and of its base."""
    back, here = load_study(fetched), load_study(original)
    (name,) = here.runs["run_id"]
    read = [json.loads((folder / name / "run.json").read_text()) for folder in (fetched, original)]
    assert read[0] == read[1] and read[1]["status"] == "finished" and read[1]["finished"]
    assert read[0]["flags"] == ["no_reward_variance"] and read[0]["seconds"]["evaluate"] > 0
    pd.testing.assert_frame_equal(back.runs, here.runs)
    apart = ["samples", "by_problem"]  # a path (completions themselves are not sent), and arrays by problem
    pd.testing.assert_frame_equal(back.evaluations.drop(columns=apart), here.evaluations.drop(columns=apart))
    for one, other in zip(back.evaluations["by_problem"], here.evaluations["by_problem"], strict=True):
        np.testing.assert_equal(asdict(one), asdict(other))
    assert set(back.evaluations["step"]) == {0, 2}  # a gain needs the base's accuracy too
    columns = list(here.steps.columns)
    pd.testing.assert_frame_equal(back.steps[columns], here.steps, check_dtype=False)
    assert len(back.steps) == 2 and back.damaged == here.damaged == []


@pytest.mark.timeout(300)
def test_two_studies_recorded_offline_are_two_studies_again(tmp_path: Path) -> None:
    configs = [
        config_at(tmp_path / "outputs", f"study={name}", *SMALL, "tracking.mode=offline")
        for name in ("one", "two")
    ]
    assert len({run_id(config) for config in configs}) == 1
    for config in configs:
        finish(config)
    assert len({read_run(run_folder(config)).wandb_id for config in configs}) == 2
    for name in ("one", "two"):
        out = tmp_path / f"fetched-{name}" / name
        assert main(["fetch", str(tmp_path / "outputs"), str(out), "--group", name]) == 0
        same(out, tmp_path / "outputs" / name)
    base = base_folder(configs[0])
    again = tmp_path / "fetched-one" / "bases" / base.name
    assert (again / "base.json").read_bytes() == (base / "base.json").read_bytes()


def api(server: WandbServer) -> Any:
    """A wandb.Api over what the stand-in was sent."""
    runs = []
    for given in server.starts:
        name = given["name"]
        if any(run.id == name for run in runs):
            continue
        sent = server.files[name]
        config = {key: value["value"] for key, value in json.loads(given["config"]).items()}
        run = SimpleNamespace(id=name, name=given["displayName"], group=given["groupName"], job_type=None)
        run.config, run.state = config, "finished"
        run.files = lambda sent=sent: [_File(key, data) for key, data in sent.items()]
        run.scan_history = lambda rows=server.history[name]: iter(rows)
        runs.append(run)
    return SimpleNamespace(runs=lambda path, filters: runs)


class _File:
    def __init__(self, name: str, data: bytes) -> None:
        self.name, self.data = name, data

    def download(self, root: str, replace: bool) -> None:
        (Path(root) / self.name).parent.mkdir(parents=True, exist_ok=True)
        (Path(root) / self.name).write_bytes(self.data)


@pytest.mark.timeout(300)
def test_a_study_sent_to_a_server_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_at(tmp_path / "outputs", "study=one", *SMALL, "tracking.mode=online")
    with wandb_server() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        finish(config)
    count, notes = write_study(online_runs("me/p", api=api(server)), tmp_path / "fetched" / "one")
    assert (count, notes) == (1, [])
    same(tmp_path / "fetched" / "one", tmp_path / "outputs" / "one")


@pytest.mark.timeout(300)
def test_a_run_is_recorded_as_finished_before_a_silent_server_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    config = config_at(
        tmp_path / "outputs", "study=one", *SMALL, "tracking.mode=online", "tracking.timeout=1"
    )
    seen: list[str] = []
    finish_tracker = execution.Tracker.finish

    def watched(tracker: Any, record: Any, folder: Path) -> None:
        seen.append(read_run(folder).status)
        finish_tracker(tracker, record, folder)

    monkeypatch.setattr(execution.Tracker, "finish", watched)
    with wandb_server("hang", after_start=True) as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        finish(config)
    assert seen == ["finished"] and len(server.starts) > 0
    assert capfd.readouterr().err.count("warning: W&B") == 1


@pytest.mark.timeout(300)
def test_a_sweep_of_wandbs_own_agent_runs(tmp_path: Path) -> None:
    """`wandb agent` starts each run with settings as --name=value; a run is at W&B under the agent's id."""
    common = {"experiment": "smoke", "study": "swept", "output_dir": str(tmp_path), "trainer.steps": 1}
    common |= {"eval.splits": "[validation]", "eval.k": 1, "eval.greedy": False, "tracking.timeout": 3}
    common |= {"tracking.mode": "online"}  # the smoke test switches W&B off
    with wandb_server() as server:
        server.sweep = [{**common, "trainer.lr": lr} for lr in (1e-4, 1e-3)]
        server.sweep_command = [sys.executable, "-m", "harness", "${args}"]
        known = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
        root = str(Path(__file__).resolve().parents[2])
        environment = known | {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY, "PYTHONPATH": root}
        agent = [sys.executable, "-m", "wandb", "agent", "me/p/sweep"]
        done = subprocess.run(
            agent, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=240
        )
    assert done.returncode == 0, done.stderr
    assert sorted({start["name"] for start in server.starts}) == ["swept0", "swept1"]
    for name in ("swept0", "swept1"):
        assert any("train/loss" in row for row in server.history[name]), done.stderr
        assert any("eval/validation/avg_at_k" in row for row in server.history[name])
    records = [read_run(path.parent) for path in tmp_path.glob("swept/*/run.json")]
    assert {record.wandb_id for record in records} == {"swept0", "swept1"}
    assert {record.config["trainer"]["lr"] for record in records} == {1e-4, 1e-3}
    assert {start["name"] for start in server.starts if start.get("sweep") == "sweep"} == {"swept0", "swept1"}
