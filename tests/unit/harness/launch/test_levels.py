"""Levels of a named factor chosen on the command line: which runs, what is said of the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.identity import run_folder
from harness.launch import pilot
from harness.launch.expand import expand
from harness.launch.run import main
from harness.records.records import read_study
from harness.schema.run_config import ConfigError
from tests.unit.harness.launch.test_sweep import CONF, STUBS, calls

DESIGN = ["sft", "low", "1e-3", "pg"]


def overrides(folder: Path, *more: str) -> list[str]:
    return ["ablation=named", "data=tiny", f"output_dir={folder}", "hydra.launcher.workers=1", *more]


@pytest.fixture
def launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def run(*more: str) -> int:
        (tmp_path / "behaviour.json").write_text("{}")
        (tmp_path / "calls.txt").write_text("")
        return main(["--config-dir", CONF, *overrides(tmp_path, *more)], functions=STUBS)

    monkeypatch.setattr(
        pilot,
        "_score",
        lambda job: job.config.trainer.lr if (run_folder(job.config) / "run.json").exists() else None,
    )
    return run


@pytest.mark.parametrize(
    ("line", "run"),
    [
        ("arm=[sft,pg]", ["sft", "pg"]),
        ("arm=pg,sft", ["sft", "pg"]),  # in the order of the design
        ("arm=low", ["low"]),
        ("arm=1e-3", ["1e-3"]),  # the command line reads a number
        ("arm=[sft,0.001]", ["sft", "1e-3"]),
    ],
)
def test_chosen_levels_are_the_arms_of_the_whole_design(line: str, run: list[str], tmp_path: Path) -> None:
    whole = expand(overrides(tmp_path), multirun=False, config_dir=CONF)
    part = expand(overrides(tmp_path, line), multirun=False, config_dir=CONF)
    assert part.factors == {"arm": run, "model": ["tiny"]}
    assert part.control == {"arm": "sft", "model": "tiny"}  # also where it is absent
    ids = {(job.levels["arm"], job.config.seed): job.run_id for job in whole.jobs}
    assert {job.run_id for job in part.jobs} == {ids[level, seed] for level in run for seed in (0, 1)}


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["arm=[sft,loww]"], f"arm=loww: not a level of arm; did you mean low? levels: {', '.join(DESIGN)}"),
        (["arm=xyz"], "arm=xyz: not a level of arm; known: 1e-3, low, pg, sft"),
        (["arm=[]"], f"arm=[]: no level; choose of {', '.join(DESIGN)}"),
        (["arms=sft"], "arms=sft: no setting arms; did you mean arm?"),
    ],
)
def test_an_unknown_level_names_factor_value_and_levels(lines: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        expand(overrides(tmp_path, *lines), multirun=False, config_dir=CONF)
    assert said in str(caught.value)


def test_without_an_ablation_a_level_is_no_setting() -> None:
    with pytest.raises(ConfigError, match="arm=sft: no setting arm"):
        expand(["arm=sft"], multirun=False)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "arm=[sft,low]",
            "levels of arm run: sft, low; absent: 1e-3, pg; without pg there is no primary contrast; "
            "the family lacks 1 of its 2",
        ),
        ("arm=[sft,low,pg]", "levels of arm run: sft, low, pg; absent: 1e-3\n"),
        (
            "arm=pg",
            "absent: sft, low, 1e-3; without its control sft there is no difference; the family lacks 1 of "
            "its 2",
        ),
    ],
)
def test_a_launch_and_a_plan_say_what_is_absent(line: str, said: str, launch, capsys) -> None:
    assert launch(line, "--plan") == 0
    plan = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Design: ")]
    assert len(plan) == 1 and said.strip() in plan[0]
    assert launch(line) == 0
    err = capsys.readouterr().err
    assert err.count("design: ") == 1 and said in err


def test_the_study_says_what_is_absent_until_another_launch_runs_it(launch, tmp_path: Path) -> None:
    assert launch("arm=sft") == 0
    study = read_study(tmp_path / "named")
    assert study.declared["absent"] == {"arm": ["low", "1e-3", "pg"]}
    assert study.declared["family"] == ["low", "pg"] and study.primary["contrast"] == "pg"
    assert launch("arm=[low,pg]") == 0
    study = read_study(tmp_path / "named")
    assert study.declared["absent"] == {"arm": ["1e-3"]} and study.control["arm"] == "sft"
    assert {arm.levels["arm"]: sorted(arm.runs) for arm in study.arms} == {
        "sft": ["0", "1"],
        "low": ["0", "1"],
        "pg": ["0", "1"],
    }
    assert [choice["arm"].split(",")[0] for choice in study.pilot] == ["arm=sft", "arm=low", "arm=pg"]
    assert launch() == 0
    assert sum("-s10" not in name for name in calls(tmp_path)) == 2  # the level that was absent, and no other
    assert "absent" not in read_study(tmp_path / "named").declared
