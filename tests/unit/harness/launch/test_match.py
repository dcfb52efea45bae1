"""Steps of each arm that meet its control's budget."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from harness.launch import match
from harness.launch.expand import Sweep, expand
from harness.launch.jobs import Job
from harness.launch.match import check_match, matched_sweep
from harness.launch.run import main
from harness.records.records import read_run, read_study
from harness.schema.run_config import ConfigError
from tests.unit.harness.launch.test_sweep import CONF, STUBS, calls

SPEC = {
    "question": "Which?",
    "factors": {
        "arm": {
            "sft": ["objective=sft_rejection"],
            "grpo": ["objective=grpo", "rollout.group_size=6"],
            "many": ["objective=grpo", "objective.updates.epochs=3", "objective.updates.minibatches=2"],
        }
    },
    "seeds": [0, 1],
    "control": {"arm": "sft"},
    "primary": {"factor": "arm", "contrast": "grpo"},
}
FLOPS = {"sft": 10.0, "grpo": 16.0, "many": 35.0}
FIXED = (
    "rollout.prompts_per_step=4",
    "rollout.group_size=4",
    "trainer.steps=24",
    "objective.updates.epochs=1",
    "objective.updates.minibatches=1",
)


def lines(folder: Path, *more: str, **spec: object) -> list[str]:
    for group in ("model", "data"):
        (folder / "conf").mkdir(exist_ok=True)
        if not (folder / "conf" / group).exists():
            (folder / "conf" / group).symlink_to(Path(CONF) / group)
    (folder / "conf" / "ablation").mkdir(exist_ok=True)
    text = yaml.safe_dump({"study": "s", "ablation": SPEC | spec})
    (folder / "conf" / "ablation" / "mine.yaml").write_text(f"# @package _global_\n{text}")
    return ["ablation=mine", "model=tiny", "data=tiny", f"output_dir={folder}", *FIXED, *more]


def sweep_of(folder: Path, *more: str, **spec: object) -> Sweep:
    made = lines(folder, *more, **spec)
    sweep = expand(made, multirun=True, config_dir=str(folder / "conf"))
    check_match(sweep.spec, sweep.jobs)
    return matched_sweep(sweep, made, config_dir=str(folder / "conf"), functions=None)


def steps(sweep: Sweep) -> dict[str, int]:
    found = {job.levels["arm"]: job.config.trainer.steps for job in sweep.jobs}
    assert all(job.config.trainer.steps == found[job.levels["arm"]] for job in sweep.jobs)
    return found


def test_samples_and_updates_are_matched_from_the_configs(tmp_path: Path) -> None:
    # 24 steps of 4 x 4 samples are 384, and 16 steps of 4 x 6.
    assert steps(sweep_of(tmp_path, match="samples")) == {"sft": 24, "grpo": 16, "many": 24}
    # 24 updates: 4 steps of 3 x 2.
    sweep = sweep_of(tmp_path, match="updates", fixed=["trainer"])
    assert steps(sweep) == {"sft": 24, "grpo": 24, "many": 4}
    assert [row["share"] for row in sweep.match] == [1, 1, 1]
    assert steps(sweep_of(tmp_path)) == {"sft": 24, "grpo": 24, "many": 24}


def test_flops_are_measured_by_a_short_run_of_each_arm(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(match, "_flops_a_step", lambda job: FLOPS[job.levels["arm"]])
    args = [
        "--config-dir",
        str(tmp_path / "conf"),
        *lines(tmp_path, match="flops"),
        "hydra.launcher.workers=2",
    ]
    (tmp_path / "calls.txt").write_text("")
    assert main([*args, "--plan"], functions=STUBS) == 0
    assert "Matched by flops: a short run of each arm measures a step first" in capsys.readouterr().out
    assert main(args, functions=STUBS) == 0
    measured = [read_run(p.parent).config for p in (tmp_path / "s_match").glob("*/run.json")]
    assert len(measured) == 3 and {c["trainer"]["steps"] for c in measured} == {2}
    assert {c["seed"] for c in measured} == {0} and not (tmp_path / "s_match" / "declaration.json").exists()
    study = read_study(tmp_path / "s")
    # 240 FLOPs: 15 steps of 16 exactly; 6.86 steps of 35 are 7, 245 FLOPs.
    expected = {"sft": 24, "grpo": 15, "many": 7}
    for arm in study.arms:
        found = {read_run(tmp_path / "s" / n).config["trainer"]["steps"] for n in arm.runs.values()}
        assert found == {expected[arm.levels["arm"]]} and len(arm.runs) == 2
    rows = {row["arm"]: row for row in study.declared["matched"]}
    assert study.declared["match"] == "flops" and rows["arm=many"]["control"] == "arm=sft"
    assert rows["arm=many"]["share"] == pytest.approx(245 / 240) and rows["arm=many"]["a_step"] == 35
    capsys.readouterr()
    (tmp_path / "calls.txt").write_text("")
    assert main(args, functions=STUBS) == 0 and calls(tmp_path) == []
    assert main([*args, "--plan"], functions=STUBS) == 0
    said = capsys.readouterr().out
    assert "arm=many: 35 flops a step, 7 steps, 102.1 % of the control's budget" in said
    # Some arms alone, launched later: the others keep their runs.
    assert main([*args, "arm=[sft,many]", "seed=2"], functions=STUBS) == 0
    study = read_study(tmp_path / "s")
    assert {a.label: list(a.runs) for a in study.arms} == {
        "sft": ["0", "1", "2"],
        "many": ["0", "1", "2"],
        "grpo": ["0", "1"],
    }
    assert {row["arm"] for row in study.declared["matched"]} == {"arm=sft", "arm=grpo", "arm=many"}


def test_the_flops_a_step_are_those_of_training_alone(tmp_path: Path, monkeypatch) -> None:
    sweep = sweep_of(tmp_path)
    job: Job = sweep.jobs[0]
    monkeypatch.setattr(match, "finished", lambda config: True)
    monkeypatch.setattr(match, "read_metrics", lambda path: [{"flops": 3.0}, {"flops": 5.0}])
    assert match._flops_a_step(job) == 4.0
    monkeypatch.setattr(match, "finished", lambda config: None)
    with pytest.raises(ConfigError, match=r"measures arm=grpo and did not finish; see its run\.json"):
        match._flops_a_step(job)


@pytest.mark.parametrize(
    ("spec", "more", "said"),
    [
        (
            {"match": "flops", "factors": {"arm": {"sft": ["trainer.steps=3"], "grpo": ["objective=grpo"]}}},
            (),
            "ablation.match=flops with trainer.steps set by a factor; drop one",
        ),
        (
            {
                "match": "samples",
                "factors": {"objective": ["grpo", "dapo"]},
                "control": {"objective": "grpo"},
            },
            (),
            "objective=dapo: selection.fn=dynamic samples until groups differ",
        ),
        (
            {"match": "updates", "lr_grid": {"rates": [1e-4, 1e-3], "select": "pooled", "seeds": [9]}},
            (),
            "lr_grid.select=pooled, whose pilot has other steps",
        ),
        (
            {"match": "updates"},
            ("arm=[grpo,many]",),
            "arm=sft, the control of arm=grpo, is not among the arms",
        ),
        (
            {
                "match": "updates",
                "factors": {"objective": ["grpo", "sft_rejection_offline"]},
                "control": {"objective": "grpo"},
            },
            (),
            "objective=sft_rejection_offline: its updates are epochs over what is accepted",
        ),
    ],
)
def test_what_cannot_be_matched_is_one_line(spec: dict, more: tuple, said: str, tmp_path: Path) -> None:
    if "objective" in spec.get("factors", {}):
        spec = spec | {"primary": {"factor": "objective"}}
    with pytest.raises(ConfigError) as caught:
        sweep_of(tmp_path, *more, **spec)
    assert said in str(caught.value) and "\n" not in str(caught.value)
