"""What a launch declares before its first run, and what a later launch adds."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import yaml

from harness.launch import pilot, sweep
from harness.launch.run import main
from harness.records.declarations import FILE, Entry, read_declaration
from harness.records.reading import RecordError
from tests.unit.harness.launch.test_sweep import CONF, STUBS

SPEC = {
    "question": "Which?",
    "factors": {"objective": ["sft_rejection", "grpo"]},
    "seeds": [0, 1],
    "control": {"objective": "sft_rejection"},
    "primary": {"factor": "objective", "contrast": "grpo"},
    "margin": 0.02,
}


@pytest.fixture
def launch(tmp_path: Path):
    for group in ("model", "data"):
        (tmp_path / "conf").mkdir(exist_ok=True)
        (tmp_path / "conf" / group).symlink_to(Path(CONF) / group)
    (tmp_path / "conf" / "ablation").mkdir()

    def run(*more: str, **spec: object) -> list[Entry]:
        text = yaml.safe_dump({"study": "s", "ablation": SPEC | spec})
        (tmp_path / "conf" / "ablation" / "mine.yaml").write_text(f"# @package _global_\n{text}")
        lines = ["ablation=mine", "model=tiny", "data=tiny", f"output_dir={tmp_path}", *more]
        args = ["--config-dir", str(tmp_path / "conf"), *lines, "hydra.launcher.workers=2"]
        assert main(args, functions=STUBS) == 0
        found = read_declaration(tmp_path / "s")
        return [] if found is None else found.entries

    return run


def test_the_declaration_stands_before_the_first_run(launch, tmp_path: Path, monkeypatch) -> None:
    seen: list[tuple[bool, int]] = []
    real = sweep._launch

    def watched(*args: object) -> object:
        study = tmp_path / "s"
        seen.append(((study / FILE).exists(), len(list(study.glob("*/run.json")))))
        return real(*args)

    monkeypatch.setattr(sweep, "_launch", watched)
    (entry,) = launch()
    assert seen == [(True, 0)] and (entry.runs_started, entry.runs_finished) == (0, 0)
    content = entry.content
    assert content["seeds"] == [0, 1] and content["margin"] == 0.02 and content["pairing"] == "unpaired"
    assert content["primary"]["contrast"] == "grpo" and content["control"] == {"objective": "sft_rejection"}
    assert content["factors"] == {"objective": ["sft_rejection", "grpo"]}
    assert content["evaluation"]["splits"] and content["evaluation"]["k"] >= 1
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    assert entry.sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert launch() == [entry]  # the same again adds nothing


def test_a_subset_of_the_plan_declares_all_of_it_and_more_is_another_declaration(launch, capsys) -> None:
    (first,) = launch("seed=0")
    assert first.content["seeds"] == [0, 1]
    entries = launch()
    assert entries == [first]
    capsys.readouterr()
    before = len(entries)
    added = launch("seed=2", margin=0.05)[before:]
    assert len(added) == 1 and added[0].runs_finished == 4 and added[0].content["seeds"] == [0, 1, 2]
    assert added[0].content["margin"] == 0.05
    assert "declares something else than before, after 4 finished runs" in capsys.readouterr().err
    assert [e.sha256 for e in launch("seed=3", margin=0.05)[:before]] == [e.sha256 for e in entries]


def test_a_plan_and_a_finished_study_write_nothing(launch, tmp_path: Path) -> None:
    assert launch("--plan") == [] and not (tmp_path / "s" / FILE).exists()
    launch()
    (tmp_path / "s" / FILE).unlink()
    assert launch() == []  # nothing was to do
    (entry,) = launch("seed=2")
    assert (entry.runs_started, entry.runs_finished) == (4, 4)


def test_an_edited_declaration_is_refused_by_readers_and_set_aside_by_a_launch(
    launch, tmp_path: Path, capsys
) -> None:
    launch()
    path = tmp_path / "s" / FILE
    data = json.loads(path.read_text())
    data.pop("checksum")
    data["entries"][0]["content"]["margin"] = 0.5
    path.write_text(json.dumps(data))
    with pytest.raises(RecordError, match="entry 1 is not what its sha256 was taken of"):
        read_declaration(tmp_path / "s")
    (entry,) = launch("seed=2")
    assert entry.runs_finished == 4 and path.with_name(f"{FILE}.damaged").exists()
    assert "it is declaration.json.damaged now" in capsys.readouterr().err


def test_a_pilot_comes_after_the_declaration_and_has_none_of_its_own(
    launch, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(pilot, "_score", lambda job: job.config.trainer.lr)
    grid = {"select": "pooled", "rates": [1e-4, 1e-3], "seeds": [100]}
    (entry,) = launch(lr_grid=grid)
    made = [p.stat().st_mtime_ns for p in (tmp_path / "s_pilot").glob("*/run.json")]
    assert len(made) == 4 and min(made) > (tmp_path / "s" / FILE).stat().st_mtime_ns
    assert entry.runs_started == 0 and entry.content["lr_grid"]["select"] == "pooled"
    assert not (tmp_path / "s_pilot" / FILE).exists()
