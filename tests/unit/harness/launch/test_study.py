"""study.json that is damaged is made again from what is launched and from the run folders."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from harness.launch import study as module
from harness.launch.expand import Sweep, expand
from harness.launch.study import merged_study, write_study
from harness.records.records import StudyRecord, read_study
from tests.unit.harness.stubs import record

CONF = str(Path(__file__).parent / "conf")


def sweep(folder: Path, *overrides: str) -> Sweep:
    common = ["model=tiny", "data=tiny", f"output_dir={folder}", "study=s"]
    return expand([*common, *overrides], multirun=True, config_dir=CONF)


def launched(folder: Path, *overrides: str) -> StudyRecord:
    """Write study.json and the runs' records as a launch does."""
    made = sweep(folder, *overrides)
    study = merged_study(made, folder / "s", command="x")
    write_study(folder / "s", study, needed=True)
    for job in made.jobs:
        record(job.config, "finished", overrides=list(job.overrides))
    return study


@pytest.mark.parametrize("content", ["", "null", '{"study": "s"', '{"pilot": [{"chosen": 1}]}', "[" * 9999])
def test_a_damaged_study_is_made_again_and_kept_aside(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = launched(tmp_path, "trainer.lr=0.01,0.02,0.03", "seed=0,1")
    path = tmp_path / "s" / "study.json"
    path.write_text(content)
    # Two arms at a seed of their own: the third arm, and the earlier seeds, are on disk alone.
    after = launched(tmp_path, "trainer.lr=0.01,0.02", "seed=2")
    said = capsys.readouterr().err
    assert "study.json: made again; the damaged one is study.json.damaged" in said
    assert (tmp_path / "s" / "study.json.damaged").read_text() == content
    assert read_study(tmp_path / "s") == after
    runs = {arm.label: arm.runs for arm in before.arms}
    found = {arm.label: arm.runs for arm in after.arms}
    assert found["lr=0.03"] == runs["lr=0.03"]
    for arm in ("lr=0.01", "lr=0.02"):
        assert found[arm].items() > runs[arm].items() and set(found[arm]) == {"0", "1", "2"}
    assert after.seeds == [0, 1, 2] and set(after.factors["trainer.lr"]) == {"0.01", "0.02", "0.03"}


def test_runs_with_other_settings_do_not_come_back(tmp_path: Path) -> None:
    launched(tmp_path, "objective=grpo,sft_rejection", "seed=0", "trainer.lr=0.01")
    (tmp_path / "s" / "study.json").write_text("null")
    after = launched(tmp_path, "objective=grpo,sft_rejection", "seed=1")
    assert [list(arm.runs) for arm in after.arms] == [["1"], ["1"]]


def test_a_plan_leaves_a_damaged_study_as_it_is(tmp_path: Path) -> None:
    launched(tmp_path, "objective=grpo,sft_rejection", "seed=0")
    path = tmp_path / "s" / "study.json"
    path.write_text("null")
    assert (
        len(
            merged_study(
                sweep(tmp_path, "objective=grpo,sft_rejection", "seed=0"), tmp_path / "s", command=""
            ).arms
        )
        == 2
    )
    assert path.read_text() == "null" and not path.with_name("study.json.damaged").exists()


def test_a_study_on_a_disk_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = launched(tmp_path, "objective=grpo,sft_rejection", "seed=0")

    def read_only(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(module, "write_record", read_only)
    write_study(tmp_path / "s", study, needed=True)  # says the same: nothing is written
    other = study.model_copy(update={"command": "y"})
    with pytest.raises(OSError, match="Read-only"):
        write_study(tmp_path / "s", other, needed=True)
    write_study(tmp_path / "s", other, needed=False)
    assert "not written (Read-only file system); there is nothing to run" in capsys.readouterr().err
    assert json.loads((tmp_path / "s" / "study.json").read_text())["command"] == "x"
