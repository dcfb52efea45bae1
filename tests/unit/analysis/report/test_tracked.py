"""W&B as a source of studies and a destination of reports: what goes out comes back the same."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from analysis.__main__ import main
from analysis.report.build import build_report
from analysis.report.tracked import Tracked, offline_runs, online_runs, write_study
from analysis.study.load import load_study
from harness.launch.tracking import Tracker
from harness.records import records
from harness.records.lines import read_metrics
from harness.records.records import Status
from tests.unit.analysis.conftest import run_record, write_run
from tests.unit.harness.tiny import configure

RUN = "grpo-xs-s0-abcd"


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_SILENT", "true")


def track(folder: Path, steps: range, status: Status = "finished") -> None:
    """A run's life as execute.py has it, into offline W&B; killed before its end with status "running"."""
    config = configure("tracking.mode=offline", "study=toy", f"output_dir={folder.parent.parent}")
    tracker, record = Tracker(config), records.read_run(folder)
    tracker.start(record, folder)
    for row in read_metrics(folder / "metrics.jsonl"):
        if row["step"] in steps:
            tracker.log(row)
    if status == "running":
        tracker.run.finish(exit_code=1)
    else:
        records.write_record(folder / "run.json", record.model_copy(update={"status": status}))
        tracker.finish(record, folder)
        assert tracker.failures == 0
    settle(folder / "wandb")


def settle(folder: Path) -> None:
    """Until W&B's own process has written: on a busy machine it does so after `finish` has returned."""
    sizes: list[int] = []
    for _ in range(300):
        sizes.append(sum(path.stat().st_size for path in folder.glob("offline-run-*/run-*.wandb")))
        if len(sizes) > 3 and sizes[-1] > 0 and sizes[-4] == sizes[-1]:
            return
        time.sleep(0.1)
    raise AssertionError(f"{folder}: W&B wrote nothing")


@pytest.mark.timeout(180)
def test_offline_runs_come_back_as_they_were(tmp_path: Path, quiet: None, capsys) -> None:
    study = tmp_path / "outputs" / "toy"
    folder = study / RUN
    write_run(study, run_record(RUN, "grpo", "xs", 0, status="running"), 0.7)
    (study / "declaration.json").write_text('{"entries": []}')
    track(folder, range(1, 5), "running")  # died after step 4,
    track(folder, range(4, 7))  # and was resumed from step 3
    moved = shutil.move(folder / "wandb", tmp_path / "elsewhere")

    out = tmp_path / "fetched" / "toy"
    assert main(["fetch", str(moved), str(out)]) == 0
    back, original = load_study(out), load_study(study)
    assert (out / "declaration.json").read_text() == '{"entries": []}'
    assert back.runs["status"].tolist() == ["finished"]
    pd.testing.assert_frame_equal(
        back.steps.reindex(columns=original.steps.columns), original.steps, check_dtype=False
    )
    for name in ("task", "avg", "maj", "pass"):
        assert back.evaluations[name].tolist() == original.evaluations[name].tolist()
    assert main(["fetch", str(moved), str(out)]) == 2  # nothing is overwritten
    capsys.readouterr()
    assert main(["fetch", str(moved), str(out.parent / "other"), "--group", "other"]) == 2
    assert f"--group other: no such study in {moved}; choose of toy" in capsys.readouterr().err
    assert main(["fetch", str(moved), str(out.parent / "again"), "--group", "toy"]) == 0
    assert capsys.readouterr().out.startswith("1 run: ")


def test_a_log_cut_short_gives_what_came_before(tmp_path: Path, quiet: None) -> None:
    study = tmp_path / "outputs" / "toy"
    write_run(study, run_record(RUN, "grpo", "xs", 0), 0.7)
    track(study / RUN, range(1, 7), "running")
    (log,) = (study / RUN / "wandb").glob("offline-run-*/run-*.wandb")
    data = log.read_bytes()
    log.write_bytes(data[: len(data) // 2])
    (run,) = offline_runs(study / RUN / "wandb")
    assert run.state == "crashed" and any("ends before the run does" in note for note in run.notes)
    assert [row["step"] for row in run.steps] == list(range(1, len(run.steps) + 1))
    count, notes = write_study(iter([run]), tmp_path / "out")
    record = records.read_run(tmp_path / "out" / RUN)
    assert count == 1 and record.status == "failed" and "crashed" in (record.reason or "")
    assert record.config["study"] == "toy" and any("made from the config" in note for note in notes)


class File:
    def __init__(self, name: str, text: str) -> None:
        self.name, self.text = name, text

    def download(self, root: str, replace: bool) -> None:
        path = Path(root) / self.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.text)


def stub(study: Path) -> Any:
    """A wandb.Api over a study's folder; one run is still running, one crashed without a record."""
    asked: list[Any] = []

    def runs(path: str, filters: Any) -> list[Any]:
        asked.append((path, filters))
        found = []
        for folder in records.run_folders(study):
            files = [File(p.relative_to(folder).as_posix(), p.read_text()) for p in folder.rglob("*.json")]
            history = [
                {**row, "_step": i, "_runtime": 1.0, "evaluations": {"_type": "table-file"}}
                for i, row in enumerate(read_metrics(folder / "metrics.jsonl"))
            ]
            config = json.loads((folder / "run.json").read_text())["config"]
            run = SimpleNamespace(
                id=folder.name, group="toy", state="finished", config=config, job_type=None, name=folder.name
            )
            run.files, run.scan_history = lambda files=files: files, lambda history=history: iter(history)
            found.append(run)
        found[0].state = "running"
        found[1].state, found[1].files = "crashed", lambda: []
        report = {
            "id": "report-toy",
            "name": "report-toy",
            "job_type": "report",
            "config": {},
            "files": lambda: [],
            "scan_history": list,
        }
        return [*found, SimpleNamespace(**{**vars(found[2]), **report})]

    return SimpleNamespace(runs=runs, asked=asked)


def test_a_study_from_the_api(make_study, tmp_path: Path) -> None:
    study = make_study(seeds=3, models=("xs",))
    api = stub(study)
    out = tmp_path / "from_api"
    count, notes = write_study(online_runs("me/project", group="toy", api=api), out)
    assert api.asked == [("me/project", {"group": "toy"})] and count == 6
    back = load_study(out)
    assert sorted(back.runs["status"]) == ["failed", *["finished"] * 5]  # run.json's own word comes first
    assert len(back.steps) == 6 * 6 and "evaluations" not in back.steps
    assert any("no run.json in W&B" in note for note in notes)
    assert "report-toy: left out; it holds a report, not a run" in notes and not (out / "report-toy").exists()
    report = build_report(back, figures=False)
    assert any("W&B says crashed" in note for note in report.notes)


def test_names_from_elsewhere_stay_in_the_folder(tmp_path: Path) -> None:
    evil = {"eval/../../../evil.json": b"x", "bases/../../evil.json": b"x", "bases/b/base.json": b"new"}
    run = Tracked("good", "s", "finished", {}, files=evil | {"eval/a/b.json": b"{}"})
    (tmp_path / "out" / "bases" / "b").mkdir(parents=True)
    (tmp_path / "out" / "bases" / "b" / "base.json").write_text("mine")
    bad = Tracked("../outside", "s", "finished", {})
    count, notes = write_study(iter([run, bad]), tmp_path / "out" / "s")
    assert (
        count == 1 and not (tmp_path / "evil.json").exists() and not (tmp_path / "out" / "outside").exists()
    )
    assert (tmp_path / "out" / "bases" / "b" / "base.json").read_text() == "mine"
    assert not list(tmp_path.rglob("evil.json")) and any("../outside" in note for note in notes)


@pytest.mark.timeout(180)
def test_a_report_becomes_tables_and_an_artifact(make_study, quiet: None, capsys) -> None:
    folder = make_study(seeds=3, models=("xs",))
    assert main(["report", str(folder), "--wandb", "offline"]) == 0
    assert "W&B: report-toy (offline)" in capsys.readouterr().out
    (run,) = (folder / "report" / "wandb").glob("offline-run-*-report-toy")
    tables = {p.name.split("_")[0] for p in run.rglob("*.table.json")}
    assert {"arms", "measures", "runs"} <= tables
    written, end = run / "run-report-toy.wandb", time.monotonic() + 60
    while written.stat().st_size <= 10_000 and time.monotonic() < end:
        time.sleep(0.1)  # W&B's own process writes it, and on a busy machine after `finish` has returned
    assert written.stat().st_size > 10_000


def test_an_outage_costs_a_warning(make_study, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    folder = make_study(seeds=3, models=("xs",))

    def down(*_: Any, **__: Any) -> str:
        raise ConnectionError("no route")

    monkeypatch.setattr("analysis.report.tracked.log_report", down)
    assert main(["report", str(folder), "--wandb", "online"]) == 0
    assert "warning: W&B: ConnectionError: no route" in capsys.readouterr().err
    assert (folder / "report" / "report.html").exists()


def test_what_cannot_be_fetched_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def down(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no API key configured")

    monkeypatch.setattr("wandb.Api", down)
    assert main(["fetch", "me/project", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == "error: me/project: W&B: RuntimeError: no API key configured\n"
    assert main(["fetch", str(tmp_path / "nowhere"), str(tmp_path / "out")]) == 2
    assert "no such folder, and not of the form ENTITY/PROJECT" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
