"""Runs an hour of a finished study: from its declaration to the end of its last run."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.records.declarations import FILE, Declaration, Entry, content_hash
from harness.records.records import read_run, run_folders, write_json, write_record
from tests.benchmarks.runs_per_hour import of_study
from tests.unit.analysis.calibration.test_rejections import aa_study


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """45 runs, of which the last ends 90 seconds after the declaration: 2 seconds a run."""
    folder = aa_study(tmp_path)
    entry = Entry(
        time="2026-01-01T00:00:00+00:00", runs_started=0, runs_finished=0, sha256=content_hash({}), content={}
    )
    write_json(folder / FILE, Declaration(entries=[entry]).model_dump())
    for number, path in enumerate(run_folders(folder), 1):
        run = read_run(path)
        run.finished = f"2026-01-01T00:{2 * number // 60:02d}:{2 * number % 60:02d}+00:00"
        run.hardware, run.seconds = {"device": "cuda"}, {"train": float(number)}
        write_record(path / "run.json", run)
    return folder


def test_a_run_every_two_seconds_is_1800_an_hour(study: Path) -> None:
    row = of_study(study, gpus=2)
    assert (row["runs"], row["seconds"], row["runs_per_hour"]) == (45, 90.0, 1800)
    assert row["device"] == {"device": "cuda", "gpus": 2}
    assert row["by_device"] == {"cuda": {"runs": 45, "train": 23.0, "all": 23.0}}  # (1 + .. + 45) / 45


def test_a_study_with_a_run_that_did_not_finish_has_no_rate(study: Path) -> None:
    run = read_run(run_folders(study)[0])
    run.status, run.reason = "failed", "diverged"
    write_record(run_folders(study)[0] / "run.json", run)
    with pytest.raises(ValueError, match="runs that have all finished"):
        of_study(study, gpus=1)
