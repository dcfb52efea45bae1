"""W&B beside the files: off, offline, without a key, and failing. It never stops a run."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from analysis.report.tracked import offline_runs
from harness.launch.status import evaluation_folders, lm_eval_records
from harness.launch.tracking import Tracker, factor_tags, wandb_id
from harness.records.lines import write_samples
from harness.records.records import RunRecord, write_record
from tests.unit.analysis.conftest import evaluation
from tests.unit.harness.launch.wandb_server import KEY, wandb_server
from tests.unit.harness.tiny import configure


class FakeRun:
    def __init__(self, **settings: Any) -> None:
        self.id, self.settings, self.logged = settings["id"], settings, []
        self.exit_code: int | None = None
        self.summary: dict[str, float] = {}

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
        Settings=lambda **settings: SimpleNamespace(log_internal="nowhere", **settings),
    )
    monkeypatch.setitem(sys.modules, "wandb", fake)


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_SILENT", "true")


def record_of(**fields: Any) -> RunRecord:
    usual = {"run_id": "grpo-x-s0-1", "study": "s1", "status": "running", "config": {}, "seeds": {}}
    empty: dict[str, Any] = {"data_hash": "", "code": {}, "packages": {}, "hardware": {}, "started": ""}
    return RunRecord(**(usual | empty | fields))


def start(folder: Path, mode: str, *lines: str, **fields: Any) -> Tracker:
    """A tracker that has begun a run in `folder`; `fields` are of the run's record."""
    tracker = Tracker(configure(f"tracking.mode={mode}", "study=s1", f"output_dir={folder}", *lines))
    tracker.start(record_of(**fields), folder)
    return tracker


def end(tracker: Tracker, folder: Path, status: str = "finished") -> None:
    record = record_of(status=status, flags=["no_updates"])
    write_record(folder / "run.json", record)
    tracker.finish(record, folder)


def test_disabled_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)  # importing it would fail
    tracker = start(tmp_path, "disabled")
    tracker.log({"step": 1})
    tracker.finish(record_of(status="finished"), tmp_path)
    assert tracker.run is None and tracker.failures == 0 and not list(tmp_path.iterdir())


def test_what_a_run_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_wandb(monkeypatch, has_key=True)
    settings = start(tmp_path, "online", overrides=["trainer.lr=0.1"], num_resumes=1).run.settings
    assert settings["name"] == "grpo-x-s0-1" and settings["group"] == "s1"
    assert settings["id"] == wandb_id(configure("study=s1"), "grpo-x-s0-1") != "grpo-x-s0-1"
    assert settings["tags"][0] == "grpo" and settings["tags"][-1] == "trainer.lr=0.1"
    assert settings["config"]["objective"]["name"] == "grpo"
    assert settings["mode"] == "online" and settings["resume"] == "allow"
    assert start(tmp_path, "online").run.settings["resume"] is None


def test_the_same_run_of_two_studies_is_two_runs_at_wandb(tmp_path: Path) -> None:
    names = {wandb_id(configure(f"study={study}"), "grpo-x-s0-1") for study in ("s1", "s2", "s1")}
    assert len(names) == 2 and all(name.startswith("grpo-x-s0-1-") for name in names)


def test_a_run_that_has_an_id_goes_on_under_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that began under another rule for ids would be two runs otherwise."""
    fake_wandb(monkeypatch)
    tracker = Tracker(configure("tracking.mode=offline", "study=s1"))
    assert tracker.start(record_of(wandb_id="grpo-x-s0-1"), tmp_path) == "grpo-x-s0-1"
    assert Tracker(configure("tracking.mode=disabled")).start(record_of(wandb_id="a"), tmp_path) == "a"


def test_variables_count_where_the_command_line_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_wandb(monkeypatch)
    monkeypatch.setenv("WANDB_PROJECT", "p1")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "w"))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("WANDB_TAGS", "one, two,")
    monkeypatch.setenv("WANDB_RUN_GROUP", "g1")
    assert configure().tracking.mode == "disabled"
    found = start(tmp_path, "offline").run.settings
    assert (found["project"], found["dir"], found["group"]) == ("p1", str(tmp_path / "w"), "g1")
    assert found["tags"][-2:] == ["one", "two"]
    given = start(tmp_path, "offline", "tracking.project=p2", f"tracking.dir={tmp_path}").run.settings
    assert (given["project"], given["dir"]) == ("p2", str(tmp_path))
    monkeypatch.undo()
    assert configure().tracking == configure("tracking.project=r1-ablations", "tracking.dir=null").tracking


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
    end(tracker, tmp_path, "failed")
    expected = "warning: W&B: ConnectionError: the network is away; outputs/ has everything\n"
    assert capsys.readouterr().err == expected
    assert tracker.failures > 2 and tracker.run.exit_code == 1


def test_a_start_that_fails_costs_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)  # not installed
    tracker = start(tmp_path, "offline")
    tracker.log({"step": 1})
    end(tracker, tmp_path)
    assert tracker.run is None and capsys.readouterr().err.count("warning: W&B: ") == 1


@pytest.mark.timeout(120)
def test_offline_records_a_run_that_can_be_synced(tmp_path: Path) -> None:
    tracker = start(tmp_path, "offline")
    tracker.log({"step": 1, "loss": float("nan")})
    end(tracker, tmp_path)
    assert tracker.failures == 0
    (folder,) = (tmp_path / "wandb").glob("offline-run-*-grpo-x-s0-1-*")
    assert (folder / f"run-{tracker.run.id}.wandb").stat().st_size > 0


def test_metrics_stand_in_sections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_wandb(monkeypatch)
    tracker = start(tmp_path, "offline")
    tracker.log({"step": 1, "loss": 0.5, "reward": 0.25, "seconds_train": 2.0})
    assert tracker.run.logged == [
        {"step": 1, "train/loss": 0.5, "rollout/reward": 0.25, "cost/seconds_train": 2.0}
    ]


def write_evaluation(config: Any, folder: Path, step: int, rate: float) -> None:
    """An evaluation with two completions a problem; the first problem is answered rightly once."""
    (place,) = evaluation_folders(config, folder, step)
    record = evaluation(rate, split="test", seed=0, step=step, run_id=None, base="b")
    record.metrics = {"avg_at_k": rate}
    write_record(place / f"{record.task}.json", record)
    rows = [
        {
            "problem_id": f"p{i}",
            "sample_idx": j,
            "problem": f"q{i}",
            "completion": f"c{i}{j}",
            "correct": j == 0,
        }
        for i in range(3)
        for j in range(2)
    ]
    write_samples(place / f"{record.task}.samples.jsonl.gz", rows)


def test_evaluations_and_completions_are_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The base's at step 0, the last checkpoint's after it; the first completion of two problems."""
    fake_wandb(monkeypatch)
    sys.modules["wandb"].Table = lambda columns, data: [dict(zip(columns, row, strict=True)) for row in data]
    tracker = start(tmp_path / "run", "offline", f"output_dir={tmp_path}", "tracking.completions=2")
    write_evaluation(tracker.config, tmp_path / "bases" / "b1", 0, 0.25)
    write_evaluation(tracker.config, tmp_path / "run", 2, 0.5)
    tracker.log_evaluations(tmp_path / "run", 2)
    assert tracker.run.logged == [{"step": 2, "eval/test/avg_at_k": 0.5}]
    record = record_of(status="finished", base_id="b1", steps_done=2)
    write_record(tmp_path / "run" / "run.json", record)
    tracker.finish(record, tmp_path / "run")
    sent = [row for row in tracker.run.logged if "step" in row]
    assert sent[1:] == [{"step": 0, "eval/test/avg_at_k": 0.25}, {"step": 2, "eval/test/avg_at_k": 0.5}]
    (table,) = [row["completions"] for row in tracker.run.logged if "completions" in row]
    assert [(row["problem"], row["completion"], row["correct"]) for row in table] == [
        ("q0", "c00", True),
        ("q1", "c10", True),
    ]
    assert table[0]["task"] == "aime_gen_test"


def test_records_of_lm_evals_tasks_are_sent_with_those_of_the_base(tmp_path: Path) -> None:
    config = configure("study=s1", f"output_dir={tmp_path}", "eval.lm_eval=[ifeval]")
    base, run = tmp_path / "bases" / "b1", tmp_path / "run"
    (before,) = lm_eval_records(config, base, 0).values()
    (after,) = lm_eval_records(config, run, 2).values()
    for path in (before, after):
        path.parent.mkdir(parents=True)
        path.touch()
    sent = Tracker(config)._apart(record_of(base_id="b1"), run)
    assert sent == {
        f"lm_eval/{after.parent.name}/ifeval.json": after,
        f"bases/b1/lm_eval/{before.parent.name}/ifeval.json": before,
    }


def test_no_completion_is_sent_where_none_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_wandb(monkeypatch)
    sys.modules["wandb"].Table = lambda columns, data: data
    tracker = start(tmp_path, "offline", "tracking.completions=0")
    write_evaluation(tracker.config, tmp_path, 0, 0.5)
    end(tracker, tmp_path)
    assert not any("completions" in row for row in tracker.run.logged)


def test_tensorboard_has_the_same_numbers(tmp_path: Path) -> None:
    """Read back by TensorBoard's own reader; a resumed run goes on, and hides steps of an earlier attempt."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    also = ("tracking.also=[tensorboard]",)
    tracker = start(tmp_path, "disabled", *also)
    for step in (1, 2):
        tracker.log({"step": step, "loss": 1 / step, "kl": float("nan")})
    end(tracker, tmp_path)
    resumed = start(tmp_path, "disabled", *also, steps_done=1, num_resumes=1)
    resumed.log({"step": 2, "loss": 0.25})
    end(resumed, tmp_path)
    found = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in found.Scalars("train/loss")] == [(1, 1.0), (2, 0.25)]
    assert tracker.failures == resumed.failures == 0 and "train/kl" in found.Tags()["scalars"]


def test_a_board_that_fails_costs_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    tracker = start(tmp_path, "disabled", "tracking.also=[tensorboard]")
    tracker.log({"step": 1, "loss": 1.0})
    end(tracker, tmp_path)
    assert capsys.readouterr().err.count("warning: TensorBoard: ") == 1


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


def test_what_cannot_be_sent_costs_one_warning_and_not_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_wandb(monkeypatch)
    tracker = start(tmp_path, "offline")
    end(tracker, tmp_path)  # this wandb has no Table, no Artifact and no files
    assert tracker.failures > 1 and tracker.run.exit_code == 0
    assert capsys.readouterr().err.count("warning") == 1


# A thread of W&B's own outlives the service that a test tears down.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Point W&B to a server, with a key for it."""
    import wandb

    def point(url: str) -> None:
        wandb.teardown()  # it reads the environment once a process
        monkeypatch.setenv("WANDB_BASE_URL", url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)

    return point


def losses(rows: list[dict[str, Any]]) -> list[float]:
    """Losses as they were logged; a server has them in their section, the analysis under their plain name."""
    found = [row.get("train/loss", row.get("loss")) for row in rows]
    return [value for value in found if value is not None]  # a table has a row of its own


def tracked(folder: Path) -> float:
    """Life of a run of two steps; seconds that it took."""
    import wandb

    began = time.monotonic()
    tracker = start(folder, "online", "tracking.timeout=1.5")
    for step in (1, 2):
        tracker.log({"step": step, "loss": 1 / step})
    end(tracker, folder)
    took = time.monotonic() - began
    wandb.teardown()  # its own process writes on after `finish`
    return took


@pytest.mark.timeout(120)
def test_a_server_gets_the_run_and_how_it_ended(
    tmp_path: Path, at: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    with wandb_server() as server:
        at(server.url)
        tracked(tmp_path)
    name = wandb_id(configure("study=s1"), "grpo-x-s0-1")
    assert losses(server.history[name]) == [1, 0.5]
    sent = json.loads(server.files[name]["run.json"])
    assert sent["status"] == "finished" and sent["flags"] == ["no_updates"]
    assert server.starts[0]["groupName"] == "s1" and capsys.readouterr().err == ""


@pytest.mark.timeout(120)
@pytest.mark.parametrize("fault", ["refuse", "hang", "401", "500", "garbage", "close"])
def test_a_server_that_fails_at_the_start_costs_one_warning_and_no_metric(
    fault: Any, tmp_path: Path, at: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    with wandb_server("none" if fault == "refuse" else fault) as server:
        at("http://127.0.0.1:9" if fault == "refuse" else server.url)
        seconds = tracked(tmp_path)
    assert seconds < 15
    err = capsys.readouterr().err
    assert err.count("warning") == 1 and "recording offline: `wandb sync`" in err
    (run,) = offline_runs(tmp_path / "wandb")
    assert losses(run.steps) == [1, 0.5] and run.state == "finished"
    assert json.loads(run.files["run.json"])["status"] == "finished"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("fault", ["hang", "401", "500", "close"])
def test_a_server_that_fails_in_mid_run_costs_one_warning_and_no_metric(
    fault: Any, tmp_path: Path, at: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    with wandb_server(fault, after_start=True) as server:
        at(server.url)
        seconds = tracked(tmp_path)
    assert len(server.starts) > 0 and seconds < 15
    err = capsys.readouterr().err
    assert err.count("warning") == 1 and "outputs/ has everything" in err
    (run,) = offline_runs(tmp_path / "wandb")
    assert losses(run.steps) == [1, 0.5]
