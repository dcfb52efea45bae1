"""W&B beside the files: off, offline, without a key, and failing. It never stops a run."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.launch.tracking import Tracker, factor_tags
from tests.unit.harness.tiny import configure


class FakeRun:
    def __init__(self, **settings: Any) -> None:
        self.id, self.settings, self.logged = settings["id"], settings, []
        self.exit_code: int | None = None

    def define_metric(self, name: str, step_metric: str | None = None) -> None:
        pass

    def log(self, metrics: dict[str, Any]) -> None:
        self.logged.append(metrics)

    def finish(self, exit_code: int) -> None:
        self.exit_code = exit_code


def fake_wandb(monkeypatch: pytest.MonkeyPatch, *, has_key: bool = False) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    fake = SimpleNamespace(
        init=lambda **settings: FakeRun(**settings),
        login=lambda prompt: has_key,
        Settings=lambda **settings: settings,
    )
    monkeypatch.setitem(sys.modules, "wandb", fake)


def start(folder: Path, mode: str, *, resumed: bool = False) -> Tracker:
    config = configure(f"tracking.mode={mode}", "study=s1")
    return Tracker(config, run_id="grpo-x-s0-1", folder=folder, tags=["grpo", "seed=0"], resumed=resumed)


def test_disabled_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)  # importing it would fail
    tracker = start(tmp_path, "disabled")
    tracker.log({"step": 1})
    tracker.summary({"accuracy": 1.0})
    tracker.finish(failed=False)
    assert tracker.id is None and tracker.failures == 0 and not list(tmp_path.iterdir())


def test_what_a_run_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_wandb(monkeypatch, has_key=True)
    settings = start(tmp_path, "online", resumed=True).run.settings
    assert settings["id"] == settings["name"] == "grpo-x-s0-1" and settings["group"] == "s1"
    assert settings["tags"] == ["grpo", "seed=0"] and settings["config"]["objective"]["name"] == "grpo"
    assert settings["mode"] == "online" and settings["resume"] == "allow"
    assert start(tmp_path, "online").run.settings["resume"] is None


def test_online_without_a_key_warns_once_and_records_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_wandb(monkeypatch)
    tracker = start(tmp_path, "online")
    tracker.log({"step": 1})
    assert tracker.run.settings["mode"] == "offline" and tracker.run.logged == [{"step": 1}]
    assert capsys.readouterr().err.count("warning") == 1
    fake_wandb(monkeypatch)
    monkeypatch.setenv("WANDB_API_KEY", "k")
    assert start(tmp_path, "online").run.settings["mode"] == "online"
    assert capsys.readouterr().err == ""


def test_failures_cost_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_wandb(monkeypatch)
    tracker = start(tmp_path, "offline")

    def broken(metrics: dict[str, Any]) -> None:
        raise ConnectionError("the network is away")

    monkeypatch.setattr(tracker.run, "log", broken)
    for step in range(3):
        tracker.log({"step": step})
    tracker.finish(failed=True)
    expected = "warning: W&B: ConnectionError: the network is away; outputs/ has everything\n"
    assert capsys.readouterr().err == expected
    assert tracker.failures == 3 and tracker.run.exit_code == 1


def test_a_start_that_fails_costs_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)  # not installed
    tracker = start(tmp_path, "offline")
    tracker.log({"step": 1})
    tracker.finish(failed=False)
    assert tracker.id is None and capsys.readouterr().err.count("warning: W&B: ") == 1


@pytest.mark.timeout(120)
def test_offline_records_a_run_that_can_be_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    tracker = start(tmp_path, "offline")
    tracker.log({"step": 1, "loss": float("nan")})
    tracker.finish(failed=False)
    assert tracker.failures == 0 and tracker.id == "grpo-x-s0-1"
    (folder,) = (tmp_path / "wandb").glob("offline-run-*-grpo-x-s0-1")
    assert (folder / "run-grpo-x-s0-1.wandb").stat().st_size > 0


def test_tags_are_the_factors() -> None:
    config = configure("study=s1")
    long = "objective.name=" + "x" * 80
    tags = factor_tags(
        config, ["trainer.lr=0.001", "+corpus=mixed", "study=s1", "output_dir=/tmp", long, "seed=0"]
    )
    assert tags[:3] == [config.objective.name, config.model.name, "seed=0"]
    assert {"trainer.lr=0.001", "corpus=mixed"} <= set(tags) and len(tags) == len(set(tags))
    assert not any(tag.startswith(("study", "output_dir", "+")) for tag in tags)
    assert max(map(len, tags)) <= 64


def test_evaluations_that_cannot_be_logged_cost_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_wandb(monkeypatch)
    tracker = start(tmp_path, "offline")
    tracker.evaluations(tmp_path)  # this wandb has no Table
    tracker.log({"step": 1})
    assert tracker.run.logged == [{"step": 1}] and tracker.failures == 1
    assert capsys.readouterr().err.count("warning") == 1
