"""Two launches on one folder: they share the runs, and what they declare is all there. Runs anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.records.records import read_study
from tests.integration.cluster.launches import (
    STAND_INS,
    behave,
    called,
    environment_of,
    start,
    statuses,
    wait_for,
)
from tests.integration.cluster.stand_ins import TOLD

pytestmark = pytest.mark.timeout(300)
HERE = ("hydra.launcher.workers=2",)


def test_launches_of_one_study_share_its_runs_and_both_end_well(tmp_path: Path) -> None:
    behave(tmp_path, s0="until told")
    lines = ("-m", "seed=0,1,2,3", f"output_dir={tmp_path}", "study=s", *HERE)
    first = start(tmp_path, STAND_INS, *lines, environment=environment_of(), name="first")
    wait_for(lambda: "running" in statuses(tmp_path / "s").values(), first.said())
    second = start(tmp_path, STAND_INS, *lines, environment=environment_of(), name="second")
    second.until("; waiting for it")
    (tmp_path / TOLD).touch()
    assert second.ended() == 0
    assert first.ended() == 0 and set(statuses(tmp_path / "s").values()) == {"finished"}
    assert len(called(tmp_path)) == len(set(called(tmp_path))) == 5  # the base and four runs, each once


def test_arms_that_launches_declare_at_once_are_all_declared(tmp_path: Path) -> None:
    rates = [f"{number}e-4" for number in (1, 2, 3, 4)]
    for launch in range(3):
        common = ("seed=0", f"output_dir={tmp_path}", f"study=s{launch}", *HERE)
        both = []
        for half in (rates[:2], rates[2:]):
            lines = ("-m", f"trainer.lr={','.join(half)}", *common)
            both.append(start(tmp_path, STAND_INS, *lines, environment=environment_of(), name=half[0]))
        assert [one.ended() for one in both] == [0, 0]
        study = read_study(tmp_path / f"s{launch}")
        assert {arm.label for arm in study.arms} == {f"lr={float(rate):g}" for rate in rates}
