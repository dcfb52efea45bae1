"""A grid of learning rates that runs at every seed: its runs, its record, and what a later launch adds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.launch.expand import Sweep, expand
from harness.launch.pilot import pilot_of
from harness.launch.run import main
from harness.records.records import read_run, read_study
from harness.schema.run_config import ConfigError
from tests.unit.harness.launch.test_sweep import CONF, STUBS, calls

ARMS = ["sft_rejection", "grpo"]


def lines(folder: Path, *more: str) -> list[str]:
    return [
        *("ablation=grid", "model=tiny", "data=tiny", f"output_dir={folder}", "hydra.launcher.workers=2"),
        *more,
    ]


def sweep_of(folder: Path, *more: str) -> Sweep:
    return expand(lines(folder, *more), multirun=True, config_dir=CONF)


@pytest.fixture
def launch(tmp_path: Path):
    def run(*more: str, behaviour: dict[str, str] | None = None) -> int:
        (tmp_path / "behaviour.json").write_text(json.dumps(behaviour or {}))
        (tmp_path / "calls.txt").write_text("")
        return main(["--config-dir", CONF, *lines(tmp_path, *more)], functions=STUBS)

    return run


def test_every_arm_runs_every_rate_at_every_seed_and_there_is_no_pilot(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path)
    found = [(j.config.objective.name, j.config.trainer.lr, j.config.seed) for j in sweep.jobs]
    assert found == [(o, lr, s) for o in ARMS for lr in (1e-4, 1e-3) for s in (0, 1)]
    assert sweep.grid == (1e-4, 1e-3) and sweep.factors == {"objective": ARMS}
    assert pilot_of(sweep, lines(tmp_path), config_dir=CONF) is None
    assert all(j.config.base_seed == j.config.seed and j.config.study == "g" for j in sweep.jobs)


def test_a_rate_on_the_command_line_is_every_arms(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, "trainer.lr=0.01", "eval.splits=[test]")
    assert sweep.grid == () and {j.config.trainer.lr for j in sweep.jobs} == {0.01} and len(sweep.jobs) == 4


def test_the_validation_split_must_be_evaluated(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"eval.splits=\[test\]: each seed chooses its rate on validation; add"
    ):
        sweep_of(tmp_path, "eval.splits=[test]")


def test_the_study_names_each_run_by_rate_and_seed_and_nothing_is_done_twice(launch, tmp_path: Path) -> None:
    assert launch() == 0
    study = read_study(tmp_path / "g")
    assert [arm.label for arm in study.arms] == ARMS and study.seeds == [0, 1]
    for arm in study.arms:
        assert arm.runs == {} and arm.overrides[-1] == "base_seed=${seed}"
        assert not any(line.startswith("trainer.lr=") for line in arm.overrides)
        for rate, runs in arm.rates.items():
            configs = {seed: read_run(tmp_path / "g" / name).config for seed, name in runs.items()}
            assert {s: c["trainer"]["lr"] for s, c in configs.items()} == {"0": float(rate), "1": float(rate)}
            assert all(
                str(c["seed"]) == s and c["objective"]["name"] == arm.label for s, c in configs.items()
            )
        assert list(arm.rates) == ["0.0001", "0.001"]
    assert study.declared["lr_grid"]["select"] == "per_seed" and study.pilot == []
    assert len([name for name in calls(tmp_path) if "-tiny-s" in name]) == 8
    assert launch() == 0 and calls(tmp_path) == []


def test_a_later_launch_adds_seeds_and_rates_and_a_damaged_study_is_made_again(
    launch, tmp_path: Path
) -> None:
    assert launch() == 0
    before = {arm.label: arm.rates for arm in read_study(tmp_path / "g").arms}
    assert launch("seed=2,1") == 0
    assert len([name for name in calls(tmp_path) if "-tiny-s2-" in name]) == 4
    study = read_study(tmp_path / "g")
    assert study.seeds == [0, 1, 2]
    for arm in study.arms:
        for rate, runs in arm.rates.items():
            assert list(runs) == ["0", "1", "2"] and runs.items() > before[arm.label][rate].items()
    # Another grid in a copy of the configs: one rate more, one less, of which the runs stay.
    other = tmp_path / "conf"
    (other / "ablation").mkdir(parents=True)
    for name in ("model", "data"):
        (other / name).symlink_to(Path(CONF) / name)
    text = (Path(CONF) / "ablation" / "grid.yaml").read_text()
    (other / "ablation" / "grid.yaml").write_text(text.replace("[1.0e-3, 1.0e-4]", "[1.0e-3, 1.0e-2]"))
    args = ["--config-dir", str(other), *lines(tmp_path, "seed=0,1,2")]
    assert main(args, functions=STUBS) == 0
    study = read_study(tmp_path / "g")
    assert all(list(arm.rates) == ["0.0001", "0.001", "0.01"] for arm in study.arms)
    assert all(list(runs) == ["0", "1", "2"] for arm in study.arms for runs in arm.rates.values())
    (tmp_path / "g" / "study.json").write_text("{")
    assert main(args, functions=STUBS) == 0
    again = read_study(tmp_path / "g")
    assert {a.label: a.rates for a in again.arms} == {a.label: a.rates for a in study.arms}
    assert again.seeds == [0, 1, 2]


def test_runs_with_other_settings_are_left_out_and_counted(launch, tmp_path: Path, capsys) -> None:
    assert launch() == 0
    assert launch("trainer.steps=7", "seed=0") == 0
    assert "8 runs of an earlier launch had other settings" in capsys.readouterr().err
    study = read_study(tmp_path / "g")
    assert all(list(runs) == ["0"] for arm in study.arms for runs in arm.rates.values())


def test_a_plan_shows_rates_times_seeds(launch, capsys) -> None:
    assert launch("--plan") == 0
    said = capsys.readouterr().out
    assert "2 arms × 2 learning rates × 2 seeds, 8 runs" in said and "Pilot" not in said
    assert "Every arm tries trainer.lr=0.0001, 0.001 at every seed; each seed's best avg@k on its own" in said
    rows = [line.split() for line in said.splitlines() if line.startswith(("sft_rejection ", "grpo "))]
    assert [row[1:4] for row in rows] == [["0,1", "4", "runs"], ["0,1", "4", "runs"]]
    assert "trainer.lr" not in said.split("What differs between the arms:")[1].split("Random streams")[0]
