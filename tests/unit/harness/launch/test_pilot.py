"""An ablation whose arms choose their learning rates: what is tried, what is taken, what is recorded."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from harness.identity import base_folder, run_folder, run_id
from harness.launch import pilot
from harness.launch.ablation import RateGrid, read_spec
from harness.launch.expand import Sweep, expand
from harness.launch.jobs import Job
from harness.launch.pilot import choose, pilot_of
from harness.launch.run import main
from harness.launch.status import evaluation_folders, mark_evaluated
from harness.records.records import StudyRecord, read_study
from harness.schema.run_config import ConfigError
from tests.unit.analysis.conftest import evaluation, write_evaluation
from tests.unit.harness.launch.test_sweep import CONF, STUBS, calls
from tests.unit.harness.stubs import record

# Mean avg@k of the two pilot seeds by arm and rate. SFT: 1e-4 and 1e-3 are equal. GRPO: 1e-5, at the edge.
SCORES = {
    ("sft_rejection", 1e-5): (0.1, 0.2),
    ("sft_rejection", 1e-4): (0.5, 0.3),
    ("sft_rejection", 1e-3): (0.3, 0.5),
    ("grpo", 1e-5): (0.6, 0.4),
    ("grpo", 1e-4): (0.3, 0.5),
    ("grpo", 1e-3): (0.9, 0.0),
}


def lines(folder: Path, *more: str) -> list[str]:
    return ["ablation=rates", "data=tiny", f"output_dir={folder}", "hydra.launcher.workers=2", *more]


def sweep_of(folder: Path, *more: str) -> Sweep:
    return expand(lines(folder, *more), multirun=True, config_dir=CONF)


def table(job: Job) -> float:
    return SCORES[job.config.objective.name, job.config.trainer.lr][job.config.seed - 100]


@pytest.fixture
def launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def run(*more: str, behaviour: str = "{}") -> int:
        (tmp_path / "behaviour.json").write_text(behaviour)
        (tmp_path / "calls.txt").write_text("")
        return main(["--config-dir", CONF, *lines(tmp_path, *more)], functions=STUBS)

    monkeypatch.setattr(
        pilot, "_score", lambda job: table(job) if (run_folder(job.config) / "run.json").exists() else None
    )
    return run


def test_every_arm_tries_the_same_grid_with_seeds_of_its_own(tmp_path: Path) -> None:
    main_sweep = sweep_of(tmp_path)
    found = pilot_of(main_sweep, lines(tmp_path), config_dir=CONF)
    assert found is not None
    tried = {(j.config.objective.name, j.config.trainer.lr, j.config.seed) for j in found.jobs}
    assert tried == {
        (o, lr, s) for o in ("sft_rejection", "grpo") for lr in (1e-5, 1e-4, 1e-3) for s in (100, 101)
    }
    for job in found.jobs:
        assert job.config.study == "s_pilot" and job.config.base_seed == job.config.seed
        assert (job.config.eval.splits, job.config.eval.k) == (["validation"], 4)
    assert not {run_id(j.config) for j in found.jobs} & {run_id(j.config) for j in main_sweep.jobs}


def test_validation_is_sampled_as_the_command_line_says(tmp_path: Path) -> None:
    given = (
        "eval.max_new_tokens=9",
        "eval.temperature=0.5",
        "eval.k=2",
        "eval.splits=[test]",
        "eval.greedy=true",
    )
    found = pilot_of(sweep_of(tmp_path, *given), lines(tmp_path, *given), config_dir=CONF)
    assert found is not None
    for job in found.jobs:
        got = job.config.eval
        assert (got.max_new_tokens, got.temperature) == (9, 0.5)
        assert (got.splits, got.k, got.greedy) == (["validation"], 4, False)


def test_a_rate_on_the_command_line_is_every_arms(tmp_path: Path) -> None:
    given = "trainer.lr=0.01"
    assert pilot_of(sweep_of(tmp_path, given), lines(tmp_path, given), config_dir=CONF) is None


def test_each_arm_trains_at_its_best_rate_and_the_study_says_so(launch, tmp_path: Path, capsys) -> None:
    assert launch() == 0
    said = capsys.readouterr().err
    assert "objective=grpo,model=tiny: trainer.lr=1e-05, best on validation (at the grid's edge)" in said
    tie = "trainer.lr=0.0001, the smallest of a tie on validation with 0.001: the pilot does not"
    assert f"objective=sft_rejection,model=tiny: {tie} tell them apart" in said
    study = read_study(tmp_path / "s")
    # Means 0.15, 0.4, 0.4: of equal ones the smaller. GRPO: 0.5, 0.4, 0.45.
    rates = {
        arm.label: [line for line in arm.overrides if line.startswith("trainer.lr=")] for arm in study.arms
    }
    assert rates == {"sft_rejection, tiny": ["trainer.lr=0.0001"], "grpo, tiny": ["trainer.lr=1e-05"]}
    assert [c["chosen"] for c in study.pilot] == [1e-4, 1e-5] and [c["edge"] for c in study.pilot] == [
        False,
        True,
    ]
    assert [c["tied"] for c in study.pilot] == [[1e-3], []]
    assert study.pilot[0]["tried"]["0.0001"] == {"100": 0.5, "101": 0.3}
    assert study.declared == {
        "fixed": ["data", "rollout", "trainer"],
        "family": ["grpo"],
        "nulls": ["sft_rejection"],
        "ceiling": None,
        "checkpoint": "last",
        "margin": 0.05,
        "lr_grid": {"rates": [1e-3, 1e-4, 1e-5], "select": "pooled", "seeds": [100, 101], "k": 4},
        "draws": "shared",
        "pairing": "paired",
        "match": None,
    }
    assert study.seeds == [0, 1] and not study.shared_base
    assert len([name for name in calls(tmp_path) if "-s10" in name]) == 12
    assert launch() == 0 and calls(tmp_path) == []  # nothing is done twice


def test_a_failed_rate_is_out_of_the_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = pilot_of(sweep_of(tmp_path), lines(tmp_path), config_dir=CONF)
    grid = RateGrid(rates=[1e-3, 1e-4, 1e-5], select="pooled", seeds=[100, 101])
    assert found is not None
    gone = {("grpo", 1e-5, 101)}

    def score(job: Job) -> float | None:
        key = (job.config.objective.name, job.config.trainer.lr, job.config.seed)
        return None if key in gone else table(job)

    monkeypatch.setattr(pilot, "_score", score)
    sft, grpo = choose(found, grid)
    assert sft.chosen == 1e-4 and grpo.chosen == 1e-3 and grpo.tried["1e-05"] == {"100": 0.6}
    gone |= {("grpo", lr, 100) for lr in (1e-3, 1e-4)}
    with pytest.raises(ConfigError, match="no learning rate of the arm objective=grpo,model=tiny"):
        choose(found, grid)


def test_a_machine_does_not_decide_on_a_rate(launch, tmp_path: Path, capsys) -> None:
    """A run of the pilot that was killed, or failed not by its training, stops the launch."""
    kill = json.dumps({"grpo-tiny-s101": "kill"})
    assert launch(behaviour=kill) == 1
    said = capsys.readouterr().err
    for rate in ("0.001", "0.0001", "1e-05"):
        assert f"pilot: objective=grpo,model=tiny, trainer.lr={rate}, seed 101: killed by signal 9" in said
    assert "no rate is chosen without these; launch again to run them" in said
    assert not list((tmp_path / "s").glob("*/run.json")) and "best on validation" not in said
    assert launch() == 0  # launched again, they run
    assert "best on validation" in capsys.readouterr().err


def test_a_rate_whose_training_diverged_is_out_and_the_rest_goes_on(
    launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.training.trainer import TrainingError

    assert f"{TrainingError.__name__}: " == pilot.DIVERGED
    assert launch(behaviour=json.dumps({"-s101-": "diverge"})) == 1  # the study's own runs are done
    assert list((tmp_path / "s").glob("*/run.json"))


def test_rates_that_all_fail_alike_are_a_tie_and_no_edge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = pilot_of(sweep_of(tmp_path), lines(tmp_path), config_dir=CONF)
    assert found is not None
    monkeypatch.setattr(pilot, "_score", lambda job: 0.0)
    for choice in choose(found, RateGrid(rates=[1e-3, 1e-4, 1e-5], select="pooled", seeds=[100, 101])):
        assert (choice.chosen, choice.tied, choice.edge) == (1e-5, [1e-4, 1e-3], False)


def test_the_score_is_validation_accuracy_at_the_last_step(tmp_path: Path) -> None:
    found = pilot_of(sweep_of(tmp_path), lines(tmp_path), config_dir=CONF)
    assert found is not None
    job = found.jobs[0]
    assert pilot._score(job) is None
    record(job.config, "finished", steps_done=6)
    mark_evaluated(job.config, base_folder(job.config), 0)
    mark_evaluated(job.config, run_folder(job.config), 6)
    for split, rate in (("test", 0.9), ("validation", 0.3)):
        made = evaluation(rate, split=split, seed=100, step=6, run_id="r", base="b")
        (folder,) = evaluation_folders(job.config, run_folder(job.config), 6)
        write_evaluation(run_folder(job.config), made.model_copy(update={"checkpoint": folder.name}))
    expected = sum(map(sum, made.correct)) / 80
    assert pilot._score(job) == pytest.approx(expected)


def test_a_plan_says_what_is_tried_and_declared(launch, tmp_path: Path, capsys) -> None:
    assert launch("--plan") == 0
    said = capsys.readouterr().out
    assert "every arm tries trainer.lr=1e-05, 0.0001, 0.001 at seeds 100, 101" in said
    assert "12 of its 12 runs are to do" in said and "trainer.lr=0.0001" in said
    assert "Primary contrast: objective, grpo against sft_rejection; avg@k on test" in said
    assert "Null controls, whose gain ought to be 0: sft_rejection" in said
    assert "Holm's family: grpo" in said and "Equivalent within: ±5 points" in said
    assert "Held fixed in every arm: data, rollout, trainer" in said
    assert launch() == 0
    capsys.readouterr()
    assert launch("--plan") == 0
    said = capsys.readouterr().out
    assert "objective=grpo,model=tiny: trainer.lr=1e-05, best on validation (at the grid's edge)" in said
    assert said.count("2 done") == 2


def test_one_level_of_the_primary_factor_has_no_contrast(launch, capsys) -> None:
    assert launch("objective=grpo", "model=tiny", "study=one") == 0
    assert "all runs: trainer.lr=1e-05, best on validation" in capsys.readouterr().err
    assert launch("objective=grpo", "model=tiny", "study=one", "--plan") == 0
    said = capsys.readouterr().out
    assert "  all runs: trainer.lr=1e-05" in said and "None" not in said and "Holm" not in said
    assert "Primary contrast: none, objective has one level here; avg@k on test" in said


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"family": []}, "family: criterion gain is about its levels; name them"),
        ({"nulls": []}, "primary.null_gain=0.03: is about the levels of nulls; name them, or drop it"),
        ({"nulls": ["grpo"]}, "nulls=grpo: it is also of the family"),
    ],
)
def test_the_criterion_gain_names_what_it_claims(changed: dict, said: str) -> None:
    whole = {
        "question": "?",
        "factors": {"objective": ["pg", "grpo"]},
        "seeds": [0],
        "control": {"objective": "pg"},
        "primary": {"factor": "objective", "criterion": "gain", "null_gain": 0.03},
        "family": ["grpo"],
        "nulls": ["pg"],
    }
    spec = read_spec(whole, "mine.yaml")
    assert spec is not None and spec.primary is not None and spec.primary.null_gain == 0.03
    with pytest.raises(ConfigError, match=re.escape(said)):
        read_spec(whole | changed, "mine.yaml")


def test_a_margin_is_a_difference_or_a_share_of_the_controls_gain() -> None:
    whole = {"question": "?", "factors": {"trainer.lr": [1e-4]}, "seeds": [0], "control": {}}
    for margin, kept in ((0.03, 0.03), ({"share": 0.25}, {"share": 0.25}), (None, None)):
        spec = read_spec(whole | {"margin": margin}, "mine.yaml")
        assert spec is not None and spec.model_dump()["margin"] == kept
        declared = {"declared": {"margin": kept}}
        empty = {"factors": {}, "seeds": [0], "control": {}, "arms": [], "shared_base": True}
        read = StudyRecord.model_validate({"study": "s", "question": "?", "command": "", **empty, **declared})
        assert read.declared["margin"] == kept


def test_the_margin_of_a_share_is_said_in_the_plan(capsys, tmp_path: Path) -> None:
    assert main(["ablation=bridge", f"output_dir={tmp_path}", "device=cpu", "--plan"]) == 0
    assert "Equivalent within: 25 % of the control's gain (two one-sided" in capsys.readouterr().out


def test_the_learning_check_says_its_criterion_in_the_plan(capsys, tmp_path: Path) -> None:
    args = ["ablation=learning_check", f"output_dir={tmp_path}", "device=cpu", "--plan"]
    assert main(args) == 0
    said = capsys.readouterr().out
    assert "A level passes if the interval of its gain over the base lies above 0; avg@k on test" in said
    assert "Levels that the claim is about: sft_rejection, pg, ppo, grpo, dr_grpo, rloo" in said
    assert "ought to be 0, and may be +3 points at most in its mean: random" in said
    assert "Primary contrast" not in said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("ablation.margin=2", "ablation.margin=2: a difference in accuracy above 0 and below 1"),
        ("ablation.margin=0", "ablation.margin=0: a difference in accuracy above 0"),
        ("ablation.margin={share: 1}", "margin.share=1: a share of the control's gain above 0 and below 1"),
        ("ablation.margin={shares: 0.2}", "ablation.margin.shares: no such setting; did you mean share?"),
        ("ablation.margin=wide", "ablation.margin=wide: input should be a valid number"),
        (
            "ablation.primary.contrast=grp",
            "contrast=grp: not a level of objective; did you mean grpo?",
        ),
        ("ablation.primary.contrast=sft_rejection", "it is the control"),
        ("ablation.primary.factor=modl", "not a factor; did you mean model?"),
        ("ablation.family=[gspo]", "family=gspo: not a level of objective"),
        ("ablation.checkpoint=best", "ablation.checkpoint=best"),
        ("ablation.checkpoint=validation", "at_steps=[]: add validation to the splits, the steps"),
        ("ablation.nulls=[randm]", "nulls=randm: not a level of objective"),
        ("ablation.primary.criterion=gains", "ablation.primary.criterion=gains"),
        ("ablation.primary.criterion=gain", "primary.contrast=grpo: with criterion gain"),
        ("ablation.primary={factor: objective, criterion: gain, null_gain: 2}", "null_gain=2"),
        ("ablation.primary.null_gain=0.03", "primary.null_gain=0.03: belongs to primary.criterion=gain"),
        ("ablation.lr_grid.seeds=[1]", "lr_grid.seeds: 1 is also a reported seed"),
        ("ablation.lr_grid.rates=[-1,1]", "ablation.lr_grid.rates.0=-1"),
        (
            "ablation.lr_grid.rates=[0.001,1e-3]",
            "lr_grid.rates=[0.001, 0.001]: a rate stands twice; give each",
        ),
        ("ablation.lr_grid.select=pool", "ablation.lr_grid.select=pool"),
        (
            "ablation.lr_grid.select=per_seed",
            "lr_grid.seeds=[100, 101]: read with select=pooled alone; leave",
        ),
        (
            "ablation.lr_grid={rates: [1, 2], k: 4}",
            "lr_grid.k=4: read with select=pooled alone; leave it out",
        ),
        (
            "ablation.lr_grid={rates: [1, 2], select: pooled}",
            "lr_grid.seeds: select=pooled needs seeds for its",
        ),
        ("ablation.fixed=[objective]", "ablation.fixed=objective: arms differ in objective.selection.fn"),
        ("+ablation.familly=[grpo]", "no such setting; did you mean family?"),
    ],
)
def test_a_bad_ablation_is_one_line(line: str, said: str, tmp_path: Path) -> None:
    # The command line cannot reach into an ablation, so the file is written anew.
    import yaml

    text = (Path(CONF) / "ablation" / "rates.yaml").read_text()
    data = yaml.safe_load(text)
    key, value = line.lstrip("+").split("=")
    *path, last = key.split(".")
    inner = data
    for part in path:
        inner = inner[part]
    inner[last] = yaml.safe_load(value)
    (tmp_path / "conf" / "ablation").mkdir(parents=True)
    for name in ("model", "data"):
        (tmp_path / "conf" / name).symlink_to(Path(CONF) / name)
    (tmp_path / "conf" / "ablation" / "rates.yaml").write_text("# @package _global_\n" + yaml.safe_dump(data))
    with pytest.raises(ConfigError) as caught:
        expand(lines(tmp_path), multirun=True, config_dir=str(tmp_path / "conf"))
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_the_committed_ablations_hold() -> None:
    gridded = {"bridge", "conservatism", "conservative", "model_size", "step_count"}
    for name in sorted(gridded | {"diversity", "data_kind", "contamination", "learning_check"}):
        sweep = expand([f"ablation={name}", "seed=0,7"], multirun=True)  # two of its seeds
        spec, configs = sweep.spec, [job.config for job in sweep.jobs]
        assert spec is not None and spec.primary is not None and spec.family and spec.draws == "per_seed", (
            name
        )
        assert len(spec.seeds) >= 5 and (bool(sweep.grid) == (name in gridded)), name
        assert pilot_of(sweep, [f"ablation={name}"]) is None
        assert name == "learning_check" or spec.model_dump()["margin"] == {"share": 0.25}
        for config in configs:
            parts = config.data.components or {"": config.data}
            assert len({family for part in parts.values() for family in part.families}) >= 20
            assert {part.data_seed for part in parts.values()} == {config.seed} == {config.base_seed}
            assert {t for t, _ in config.eval.samplings} >= {0.3} and config.eval.greedy
            assert config.eval.k == 16 and "validation" in config.eval.splits


def test_an_aa_study_chooses_its_rate_in_each_seed_or_by_a_pilot_of_its_own() -> None:
    for name in ("calibration", "calibration_pooled"):
        sweep = expand([f"ablation={name}"], multirun=True)
        assert sweep.spec is not None and len(sweep.seeds) >= 5, name
        assert (pilot_of(sweep, [f"ablation={name}"]) is None) == (name == "calibration")
