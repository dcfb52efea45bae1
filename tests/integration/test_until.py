"""A tiny study that adds seeds by its rule: looks, a kill in the middle, what is said at the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from analysis.report.build import build_report
from analysis.study.load import load_study
from harness.launch.run import main
from harness.records.declarations import read_declaration
from harness.records.looks import FILE, read_looks
from tests.integration.test_grid import CONF, SMALL

ROOT = Path(__file__).resolve().parents[2]
ABLATION = """# @package _global_
study: u
ablation:
  question: Which?
  factors: {objective: [sft_rejection, grpo]}
  seeds: [0, 1]
  draws: per_seed
  control: {objective: sft_rejection}
  primary: {factor: objective, contrast: grpo, split: test}
"""


@pytest.mark.timeout(900)
def test_seeds_are_added_until_the_cap_and_a_kill_repeats_nothing(tmp_path: Path, capsys) -> None:
    conf, out = tmp_path / "conf", tmp_path / "out"
    (conf / "ablation").mkdir(parents=True)
    (conf / "ablation" / "tiny.yaml").write_text(ABLATION)
    for group in ("model", "data"):
        (conf / group).symlink_to(CONF / group)
    args = ["--config-dir", str(conf), "ablation=tiny", "model=tiny", "data=tiny", f"output_dir={out}"]
    args += ["device=cpu", *SMALL, "until={half_width: 0.01, max_seeds: 6, step: 1}"]
    study = out / "u"
    # Killed while the seed after the first look trains.
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen([sys.executable, "-m", "harness", *args], env=env, start_new_session=True)
    deadline = time.monotonic() + 400
    while not (study / FILE).exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert child.poll() is None
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    first = read_looks(study)
    assert first is not None and [look.num_seeds for look in first.looks] == [4]
    before = {path: path.stat().st_mtime_ns for path in study.glob("*-s[0-3]-*/run.json")}
    assert len(before) == 8  # two arms, four seeds
    capsys.readouterr()
    assert main(args) == 0
    err = capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in before} == before
    found = read_looks(study)
    assert found is not None and [look.num_seeds for look in found.looks] == [4, 5, 6]
    assert found.looks[0] == first.looks[0] and found.rule.seeds == [0, 1, 2, 3, 4, 5]
    assert "look 2, 5 seeds: grpo − sft_rejection" in err
    assert "look 3, 6 seeds" in err and "Stopped at the cap of 6 seeds" in err
    declared = read_declaration(study)
    assert declared is not None and len(declared.entries) == 1
    assert declared.entries[0].runs_started == 0 and declared.entries[0].content["seeds"] == [0, 1, 2, 3]
    assert declared.entries[0].content["until"]["half_width"] == 0.01
    assert main(args) == 0  # decided: nothing runs, nothing is looked at
    assert read_looks(study) == found and "12 skipped" in capsys.readouterr().err
    loaded = load_study(study)
    assert loaded.looks is not None and loaded.looks.counts == (4, 5, 6)
    report = build_report(loaded, figures=False)
    said = "Seeds were added until the half width of the primary contrast was at most 0.01 points, or 6 seeds"
    assert any(f"{said} had run (3 looks, at 4, 5, 6 seeds)" in line for line in report.answers)
    (arms,) = (table for table in report.tables if table.name == "arms")
    assert said in arms.note and not [note for note in report.notes if "by hand" in note]
    shown = json.loads((study / FILE).read_text())["looks"][-1]["contrasts"][0]
    grpo = next(r for r in report.answers if r.startswith("Which is better?"))
    assert "grpo" in grpo and shown["name"] == "grpo − sft_rejection"
