"""Pipelines: how stages are composed and named, what arms share, and in which order a sweep runs them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from harness.data.load import load_split
from harness.identity import base_id, eval_key, run_folder, run_id, start_folder, streams_of
from harness.launch.compose import Composer
from harness.launch.declaration import declare
from harness.launch.expand import Sweep, expand
from harness.launch.job_checks import check_apart
from harness.launch.jobs import not_started
from harness.launch.match import check_match, matched_sweep, measuring_sweep
from harness.launch.run import main
from harness.launch.study import merged_study
from harness.launch.sweep import plan
from harness.model.files.source import planning
from harness.records.declarations import read_declaration
from harness.records.records import read_run
from harness.schema.presets import CONF as SHIPPED
from harness.schema.run_config import ConfigError, RunConfig
from tests.unit.harness.launch.test_sweep import CONF, STUBS, calls
from tests.unit.harness.tiny import untrained_base

COMMON = ("model=tiny", "data=tiny")
PIPELINES = sorted(path.stem for path in (SHIPPED / "pipeline").glob("*.yaml"))


def configs(*overrides: str) -> list[RunConfig]:
    return Composer(CONF).configs([*COMMON, *overrides])


def alone(*overrides: str) -> RunConfig:
    return Composer(CONF).config([*COMMON, *overrides])


def test_each_stage_is_an_ordinary_run_that_begins_from_the_one_before() -> None:
    cold, rl, again = configs("pipeline=three")
    assert [c.objective.name for c in (cold, rl, again)] == ["sft_rejection_offline", "grpo", "dapo"]
    assert [c.trainer.steps for c in (cold, rl, again)] == [4, 6, 2] and again.trainer.lr == 3e-4
    assert [c.start for c in (cold, rl, again)] == [None, run_id(cold), run_id(rl)]
    assert [c.stage and (c.stage.pipeline, c.stage.name, c.stage.index) for c in (cold, rl, again)] == [
        ("three", "cold_start", 1),
        ("three", "rl", 2),
        ("three", "again", 3),
    ]
    assert start_folder(rl) == run_folder(cold) and start_folder(cold) is None
    assert len({base_id(c) for c in (cold, rl, again)}) == 1
    # A first stage is the run without a pipeline: the place is no part of what it is.
    plain = alone("objective=sft_rejection_offline", "trainer.steps=4")
    assert run_id(cold) == run_id(plain) and streams_of(cold) == streams_of(plain)
    # A later one is another run than the same settings from the base.
    assert run_id(rl) != run_id(alone("objective=grpo", "trainer.steps=6"))


def test_a_stages_name_covers_everything_before_it_and_nothing_after() -> None:
    first = [run_id(c) for c in configs("pipeline=three")]
    for change, changed in (
        ("pipeline.cold_start.trainer.lr=2e-4", [True, True, True]),
        ("pipeline.rl.objective.kl.coef=0", [False, True, True]),
        ("pipeline.again.trainer.steps=3", [False, False, True]),
        ("rollout.group_size=6", [True, True, True]),
        ("pipeline.rl.eval.k=4", [False, False, False]),
        ("study=another", [False, False, False]),
    ):
        found = [run_id(c) for c in configs("pipeline=three", change)]
        assert [a != b for a, b in zip(first, found, strict=True)] == changed, change
    assert [run_id(c) for c in configs("pipeline=two")] == first[:2]


def test_stages_draw_other_numbers_and_are_evaluated_with_the_same() -> None:
    streams = [streams_of(c) for c in configs("pipeline=three")]
    for name in ("init", "data_order", "rollout"):
        assert len({found[name] for found in streams}) == 3, name
    for name in ("base", "eval_sampling"):
        assert len({found[name] for found in streams}) == 1, name


def test_a_stage_on_other_data_is_measured_on_the_pipelines_own() -> None:
    other = ("pipeline.rl.data=aime_gen_mini", "pipeline.rl.data.num_test=7")
    cold, rl, again = configs("pipeline=three", *other)
    assert rl.data.name == "aime_gen_mini" and rl.measured_data == cold.data == again.data
    assert cold.stage and cold.stage.data is None
    assert len({eval_key(c) for c in (cold, rl, again)}) == 1
    assert len({base_id(c) for c in (cold, rl, again)}) == 1
    # The same data as a run by itself asks for another base and is measured on other problems.
    by_itself = alone("data=aime_gen_mini", "data.num_test=7")
    assert eval_key(by_itself) != eval_key(rl) and base_id(by_itself) != base_id(rl)


def test_training_on_a_problem_that_is_measured_is_refused(tmp_path: Path) -> None:
    test = load_split(alone().data, "test")[1]
    path = tmp_path / "own.jsonl"

    def stage(text: str) -> RunConfig:
        rows = [{"problem": problem, "answer": 3, "split": "train"} for problem in ("1 + 2", text)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return configs("pipeline=three", "pipeline.rl.data=jsonl", f"pipeline.rl.data.path={path}")[1]

    with pytest.raises(
        ConfigError, match=rf"stage rl: data=jsonl trains on .*, which is {test.id} of test; "
    ):
        check_apart(stage(test.text))
    check_apart(stage("2 + 2"))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ("pipeline=three", "trainer.steps=9"),
            "trainer.steps=9: stage cold_start of pipeline=three sets trainer.steps itself; give "
            "pipeline.cold_start.trainer.steps=9",
        ),
        (
            ("pipeline=three", "objective=pg"),
            "objective=pg: stage cold_start of pipeline=three sets objective itself",
        ),
        (
            ("pipeline.rl.trainer.lr=1",),
            "pipeline.rl.trainer.lr=1: there are no stages; choose pipeline=NAME",
        ),
        (("stage=rl",), "stage=rl: there are no stages; choose pipeline=NAME"),
        (
            ("pipeline=two", "stage=again"),
            "stage=again: pipeline=two has no such stage; known: cold_start, rl",
        ),
        (
            ("pipeline=two", "stage=[cold_start,rl]"),
            "stage=[cold_start,rl]: a run ends with one stage; for a run of each type stage=cold_start,rl",
        ),
        (("pipeline=two", "pipeline.r.trainer.lr=1"), "pipeline=two has no such stage; did you mean rl"),
        (
            ("pipeline=two", "pipeline.rl.seed=1"),
            "pipeline.rl.seed=1: it is the whole pipeline's; give seed=1",
        ),
        (
            ("pipeline=two", "pipeline.rl.model=tiny2"),
            "stage rl: it begins from cold_start, whose model is tiny; give start=base",
        ),
        (("pipeline=two", "pipeline.rl.trainer.lr=x"), "stage rl: trainer.lr=x"),
        (("pipeline=two", "stage.start=x"), "has no such stage"),
        (
            ("objective.kl.reference=untrained",),
            "without a pipeline, where it is the base; use reference=base",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(overrides: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        configs(*overrides)
    assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("pipeline.rl.trainer.lrr=1",), "no setting trainer.lrr; did you mean trainer.lr"),
        (("pipeline=nine",), "pipeline=nine: no such option"),
        (
            ("pipeline=two", "pipeline.rl.objective=grpoo"),
            "objective=grpoo: no such option; did you mean grpo",
        ),
    ],
)
def test_what_there_is_not_is_named_before_anything_runs(
    overrides: tuple[str, ...], said: str, capsys
) -> None:
    assert main(["--config-dir", CONF, *COMMON, *overrides, "--config"], functions=STUBS) == 2
    assert said in capsys.readouterr().err


def shipped(name: str, *more: str) -> list[RunConfig]:
    if name.startswith("smollm2") and "MATH_DATA_DIR" not in os.environ:
        pytest.skip("GSM8K's files name its runs: set MATH_DATA_DIR")
    with planning():  # a pretrained model is named without its files
        return Composer().configs([f"pipeline={name}", *more])


@pytest.mark.parametrize("name", PIPELINES)
def test_every_shipped_pipeline_composes(name: str, tmp_path: Path) -> None:
    found = shipped(name)
    if name == "smollm2_distill":  # another teacher takes the place of its stages
        teacher = f"{{path: {untrained_base(tmp_path) / 'model'}, stage: null}}"
        given = shipped(name, "stage=rl", f"pipeline.sft.objective.teacher={teacher}")
        assert [c.stage.name for c in given if c.stage] == ["sft", "rl"]
        assert eval_key(given[0]) == eval_key(found[-1])
    assert {c.stage and c.stage.pipeline for c in found} == {name} and len(PIPELINES) >= 8
    assert len({eval_key(c) for c in found}) == 1


def test_shipped_pipelines_share_what_they_have_in_common() -> None:
    ladder = [c for name in ("r1", "r1_zero", "cold_start_sft", "distill") for c in shipped(name)]
    assert len({base_id(c) for c in ladder}) == len({eval_key(c) for c in ladder}) == 1
    r1, more = shipped("smollm2_r1"), shipped("smollm2_cold_start_sft")
    with planning():
        assert run_id(r1[0]) == run_id(more[0]) and eval_key(r1[0]) == eval_key(more[1])


def own(folder: Path, stages: dict[str, list[str]]) -> str:
    (folder / "pipeline").mkdir(exist_ok=True)
    for group in ("model", "data"):
        (folder / group).symlink_to(Path(CONF) / group)
    text = yaml.safe_dump({"pipeline": {"name": "mine", "stages": stages}}, sort_keys=False)
    (folder / "pipeline" / "mine.yaml").write_text(f"# @package _global_\n{text}")
    return str(folder)


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ({}, "pipeline=mine: pipeline.stages: "),
        (
            {"a": ["seed=1"]},
            "stages.a: seed=1 is the whole pipeline's; a stage sets model, objective, data",
        ),
        ({"a": ["start=b"], "b": []}, "stages.a: start=b: no earlier stage has that name; give base"),
        ({"a": [], "b": ["start=c"]}, "stages.b: start=c: no earlier stage has that name; give base, a"),
        ({"last": ["objective=grpo"]}, "stages.last: the name has a meaning of its own; choose another"),
        ({"a": "objective=grpo"}, "pipeline=mine: pipeline.stages.a: "),
    ],
)
def test_a_pipelines_file_is_checked(stages: dict[str, list[str]], said: str, tmp_path: Path) -> None:
    composer = Composer(own(tmp_path, stages))
    with pytest.raises(ConfigError) as error:
        composer.configs([*COMMON, "pipeline=mine"])
    assert said in str(error.value)


def test_the_last_stage_may_be_named_last_and_a_run_alone_is_its_own() -> None:
    assert configs("pipeline=two", "pipeline.last.trainer.lr=7e-4")[-1].trainer.lr == 7e-4
    assert configs("pipeline=three", "stage=rl", "pipeline.last.trainer.lr=7e-4")[-1].trainer.lr == 7e-4
    assert configs("pipeline=two", "pipeline.last.trainer.lr=7e-4")[0].trainer.lr == alone().trainer.lr
    assert alone("pipeline.last.trainer.lr=7e-4") == alone("trainer.lr=7e-4")


# --- sweeps -----------------------------------------------------------------------------------------------


def sweep_of(folder: Path, *more: str) -> Sweep:
    return expand([*COMMON, f"output_dir={folder}", "study=s", *more], multirun=True, config_dir=CONF)


@pytest.fixture
def launch(tmp_path: Path):
    def run(*more: str, behaviour: dict[str, str] | None = None) -> int:
        (tmp_path / "behaviour.json").write_text(json.dumps(behaviour or {}))
        (tmp_path / "calls.txt").write_text("")
        lines = ["--config-dir", CONF, *COMMON, f"output_dir={tmp_path}", "study=s"]
        return main([*lines, *more], functions=STUBS)

    return run


def test_arms_share_their_first_stages_and_their_runs_are_in_order(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, "pipeline=two,three", "seed=0,1")
    assert [job.levels for job in sweep.jobs] == [{"pipeline": p} for p in ("two", "three") for _ in (0, 1)]
    # 2 seeds x (cold start, rl, again): the first two are both arms'.
    assert len(sweep.runs) == 6 and len({job.run_id for job in sweep.runs}) == 6
    place = {job.run_id: i for i, job in enumerate(sweep.runs)}
    assert all(place[job.config.start] < place[job.run_id] for job in sweep.runs if job.config.start)
    for job in sweep.runs:  # what a child process gets makes the same run
        assert run_id(sweep.composer.config(job.overrides)) == job.run_id
    study = merged_study(sweep, tmp_path / "s", command="")
    assert [arm.label for arm in study.arms] == ["two", "three"]
    assert study.arms[1].runs["0"] == next(j.run_id for j in sweep.jobs if j.levels == {"pipeline": "three"})


def test_stages_may_be_a_factor_and_a_run_without_a_pipeline_an_arm(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, "pipeline=three", "stage=cold_start,rl,again")
    assert len(sweep.jobs) == len(sweep.runs) == 3
    sweep = sweep_of(tmp_path, "pipeline=null,two", "seed=0,1")
    assert [job.config.stage is None for job in sweep.jobs] == [True, True, False, False]


def test_one_run_cannot_be_evaluated_in_two_ways(tmp_path: Path) -> None:
    levels = {"rl": ["pipeline=two", "pipeline.cold_start.eval.k=2"], "more": ["pipeline=three"]}
    with pytest.raises(ConfigError, match=r"have the stage sft_rejection_offline-tiny-s0-\w+ in common"):
        ablation(tmp_path, factors={"arm": levels})
    with pytest.raises(ConfigError, match="two arms are the same run"):
        sweep_of(tmp_path, "pipeline=two,three", "stage=rl")


def test_a_sweep_runs_what_others_begin_from_first_and_once(launch, tmp_path: Path) -> None:
    assert launch("-m", "pipeline=two,three", "seed=0,1", "hydra.launcher.workers=3") == 0
    done = calls(tmp_path)
    runs = {name: read_run(tmp_path / "s" / name) for name in done if "-b0-" not in name}
    assert len(done) == len(set(done)) == 7 and len(runs) == 6  # one base
    for name, record in runs.items():
        start = (record.config["stage"] or {})["start"]
        assert start is None or done.index(start) < done.index(name)
    assert launch("-m", "pipeline=two,three", "seed=0,1") == 0 and calls(tmp_path) == []


def test_a_failed_stage_costs_what_begins_from_it_alone(launch, tmp_path: Path, capsys) -> None:
    lines = ("-m", "pipeline=three", "seed=0,1")
    assert launch(*lines, behaviour={"grpo-tiny-s0": "fail"}) == 1
    runs = {p.parent.name.rsplit("-", 1)[0]: read_run(p.parent) for p in (tmp_path / "s").glob("*/run.json")}
    assert {name: record.status for name, record in runs.items()} == {
        "sft_rejection_offline-tiny-s0": "finished",
        "grpo-tiny-s0": "failed",
        "dapo-tiny-s0": "failed",
        "sft_rejection_offline-tiny-s1": "finished",
        "grpo-tiny-s1": "finished",
        "dapo-tiny-s1": "finished",
    }
    said = capsys.readouterr().err
    name = runs["grpo-tiny-s0"].run_id
    assert (runs["dapo-tiny-s0"].reason or "").startswith(
        f"not started, since the stage before it, {name}, failed"
    )
    assert f"not started, since the stage before it, {name}, failed" in said and "4 finished" in said
    assert launch(*lines) == 0  # launched again, the failed stage and what waited for it
    assert [name.rsplit("-", 1)[0] for name in calls(tmp_path)] == ["grpo-tiny-s0", "dapo-tiny-s0"]


def test_what_begins_from_a_stage_of_another_launch_waits_for_it(
    launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.launch.workers.HELD_AGAIN", 0.1)
    assert launch("-m", "pipeline=three", "seed=0", behaviour={"sft_rejection": "hold"}) == 0
    names = [name.rsplit("-", 1)[0] for name in calls(tmp_path) if "-b0-" not in name]
    first = "sft_rejection_offline-tiny-s0"
    assert names == [first, first, "grpo-tiny-s0", "dapo-tiny-s0"]


def test_the_reason_names_the_stage_that_failed_first() -> None:
    first = not_started("a", ("failed", "the loss is NaN"))
    assert first == ("failed", "not started, since the stage before it, a, failed: the loss is NaN")
    assert not_started("b", first) == first
    assert not_started("a", ("interrupted", ""))[0] == "interrupted"
    assert not_started("a", ("some launcher's word", ""))[0] == "failed"


def test_one_pipeline_runs_its_stages_in_this_process_and_stops_where_one_fails(
    launch, tmp_path: Path
) -> None:
    assert launch("pipeline=three", behaviour={"grpo": "fail"}) == 1
    assert [name.split("-")[0] for name in calls(tmp_path)] == ["sft_rejection_offline", "grpo"]
    assert launch("pipeline=three") == 0
    assert [name.split("-")[0] for name in calls(tmp_path)] == ["grpo", "dapo"]
    assert launch("pipeline=three") == 0 and calls(tmp_path) == []


def test_the_plan_prices_shared_stages_once(tmp_path: Path) -> None:
    said = plan(sweep_of(tmp_path, "pipeline=two,three", "seed=0,1"))
    assert "2 arms × 2 seeds, 6 runs" in said
    rows = [line.split() for line in said.splitlines()]
    # Most tokens: 4 + 6 steps, and 2 of dapo, which may sample three times as much, of 32 x 8 samples of 80.
    each = 32 * 8 * 80
    assert ["two", "0,1", "2", "runs", f"{10 * each:,}"] in [row[:5] for row in rows]
    assert ["three", "0,1", "2", "runs", f"{16 * each:,}"] in [row[:5] for row in rows]
    assert ["1", "cold_start", "two", "|", "three", "2", "2", f"{4 * each:,}"] in [row[:8] for row in rows]
    assert ["3", "again", "three", "2", "2", f"{6 * each:,}"] in [row[:6] for row in rows]


# --- ablations --------------------------------------------------------------------------------------------

SPEC = {
    "question": "Which?",
    "factors": {
        "arm": {
            "rl": ["pipeline=two"],
            "more": ["pipeline=two", "pipeline.rl.rollout.group_size=4"],
            "plain": ["objective=grpo"],
        }
    },
    "seeds": [0, 1],
    "control": {"arm": "rl"},
    "primary": {"factor": "arm", "contrast": "more"},
}


def ablation(folder: Path, *more: str, **spec: object) -> tuple[Sweep, list[str], str]:
    conf = folder / "conf"
    (conf / "ablation").mkdir(parents=True, exist_ok=True)
    for group in ("model", "data", "pipeline"):
        if not (conf / group).exists():
            (conf / group).symlink_to(Path(CONF) / group)
    text = yaml.safe_dump({"study": "s", "ablation": SPEC | spec})
    (conf / "ablation" / "mine.yaml").write_text(f"# @package _global_\n{text}")
    lines = ["ablation=mine", *COMMON, f"output_dir={folder}", *more]
    return expand(lines, multirun=True, config_dir=str(conf)), lines, str(conf)


def test_a_grid_of_rates_is_the_last_stages(tmp_path: Path) -> None:
    grid = {"rates": [1e-3, 1e-4]}
    sweep, _, _ = ablation(tmp_path, lr_grid=grid)
    assert {job.config.trainer.lr for job in sweep.jobs} == {1e-3, 1e-4}
    assert {stage.config.trainer.lr for job in sweep.jobs for stage in job.before} == {alone().trainer.lr}
    # 3 arms x 2 rates x 2 seeds, and the cold start of each group size and seed.
    assert len(sweep.jobs) == 12 and len(sweep.runs) == 12 + 2
    study = merged_study(sweep, tmp_path / "s", command="")
    assert set(study.arms[0].rates) == {"0.001", "0.0001"}
    assert not any("trainer.lr" in line for arm in study.arms for line in arm.overrides)
    for arm in study.arms:
        for rate, runs in arm.rates.items():
            assert {seed: sweep.run_id_of(arm.levels, seed, {}, rate) for seed in runs} == runs
    with pytest.raises(ConfigError, match=r"pipeline\.rl\.trainer\.lr=1e-5: lr_grid or match sets it"):
        levels = {"rl": ["pipeline=two", "pipeline.rl.trainer.lr=1e-5"], "plain": ["objective=grpo"]}
        ablation(tmp_path, lr_grid=grid, factors={"arm": levels}, primary=None)


def test_a_pilot_tries_the_rates_of_the_last_stage(launch, tmp_path: Path, monkeypatch) -> None:
    from harness.launch.pilot import choose, pilot_of

    grid = {"rates": [1e-3, 1e-4], "select": "pooled", "seeds": [100]}
    sweep, lines, conf = ablation(tmp_path, lr_grid=grid)
    pilot = pilot_of(sweep, lines, config_dir=conf)
    assert pilot is not None and {job.config.trainer.lr for job in pilot.jobs} == {1e-3, 1e-4}
    assert {stage.config.trainer.lr for job in pilot.jobs for stage in job.before} == {alone().trainer.lr}
    score = {1e-3: 0.2, 1e-4: 0.3}
    monkeypatch.setattr("harness.launch.pilot._score", lambda job: score[job.config.trainer.lr])
    assert sweep.spec and sweep.spec.lr_grid
    assert {c.arm: c.chosen for c in choose(pilot, sweep.spec.lr_grid)} == {
        f"arm={arm}": 1e-4 for arm in ("rl", "more", "plain")
    }


def test_budgets_are_those_of_whole_pipelines(tmp_path: Path) -> None:
    sizes = ("rollout.prompts_per_step=4", "rollout.group_size=8")
    arms = {
        "rl": ["pipeline=two"],
        "more": ["pipeline=two", "pipeline.rl.rollout.group_size=4"],
        "other": ["pipeline=two", "pipeline.cold_start.trainer.steps=2"],
        "plain": ["objective=grpo"],
    }
    sweep, lines, conf = ablation(tmp_path, *sizes[:1], match="samples", factors={"arm": arms})
    check_match(sweep.spec, sweep.jobs)
    matched = matched_sweep(sweep, lines, config_dir=conf, functions=None)
    steps = {job.levels["arm"]: job.config.trainer.steps for job in matched.jobs}
    # rl: 4 + 6 steps of 4 x 8 samples. more has its cold start, and 12 steps of 4 x 4 for its 6 of 4 x 8.
    # other spent 2 steps fewer before, and plain all 10 steps' worth.
    assert steps == {"rl": 6, "more": 12, "other": 8, "plain": 10}
    assert {stage.config.trainer.steps for job in matched.jobs for stage in job.before} == {4, 2}
    assert all(row["share"] == pytest.approx(1) for row in matched.match)
    sweep, lines, conf = ablation(tmp_path, match="updates", factors={"arm": arms})
    with pytest.raises(ConfigError, match=r"match=updates: the offline stage \S+ of arm=other is not"):
        matched_sweep(sweep, lines, config_dir=conf, functions=None)


def test_flops_of_a_pipeline_are_those_of_all_its_stages(tmp_path: Path, monkeypatch) -> None:
    arms = {
        "rl": ["pipeline=two"],
        "more": ["pipeline=two", "pipeline.rl.rollout.group_size=4"],
        "other": ["pipeline=two", "pipeline.cold_start.trainer.steps=2"],
        "plain": ["objective=grpo"],
        "sft": ["objective=sft_rejection_offline"],
    }
    sweep, lines, conf = ablation(tmp_path, "trainer.warmup_steps=0", match="flops", factors={"arm": arms})
    check_match(sweep.spec, sweep.jobs)
    measuring = measuring_sweep(sweep, lines, config_dir=conf)
    # The stages before are the study's own, in full; the last is short, and begins from them.
    assert {job.config.trainer.steps for job in measuring.jobs} == {2}
    for short, job in zip(measuring.jobs, [job for job in sweep.jobs if job.config.seed == 0], strict=True):
        assert [s.run_id for s in short.before] == [s.run_id for s in job.before]
        assert short.config.start == job.config.start and short.config.study == "s_match"
    assert matched_sweep(sweep, lines, config_dir=conf, functions=None) is sweep  # nothing is measured yet
    a_step = {"rl": 10.0, "more": 5.0, "other": 10.0, "plain": 20.0, "sft": 8.0}
    monkeypatch.setattr("harness.launch.match.finished", lambda config: True)
    monkeypatch.setattr("harness.launch.match._flops_a_step", lambda job: a_step[job.levels["arm"]])
    # A cold start of 4 steps spends 30 + 10, one of 2 steps 20.
    monkeypatch.setattr(
        "harness.launch.match.read_run",
        lambda folder: SimpleNamespace(flops={"sampled": 30.0 if folder in full else 10.0, "trained": 10.0}),
    )
    full = {run_folder(s.config) for job in measuring.jobs for s in job.before if s.config.trainer.steps == 4}
    matched = matched_sweep(sweep, lines, config_dir=conf, functions=None)
    steps = {job.levels["arm"]: job.config.trainer.steps for job in matched.jobs}
    # rl spends 40 + 6 x 10. more shares the 40, and has 60 / 5 steps; other (100 - 20) / 10; plain 100 / 20;
    # sft 100 / 8 = 12.5, of which Python's rounding makes 12.
    assert steps == {"rl": 6, "more": 12, "other": 8, "plain": 5, "sft": 12}
    assert {row["arm"]: row["share"] for row in matched.match} == pytest.approx(
        {"arm=rl": 1, "arm=more": 1, "arm=other": 1, "arm=plain": 1, "arm=sft": 0.96}
    )


def test_a_cold_start_on_references_samples_nothing(tmp_path: Path) -> None:
    stages = {"cold": ["objective=cold_start"], "rl": ["objective=grpo", "trainer.steps=6"]}
    (tmp_path / "conf" / "pipeline").mkdir(parents=True)
    own(tmp_path / "conf", stages)
    arms = {"mine": ["pipeline=mine"], "plain": ["objective=grpo"]}
    more: dict[str, object] = {"factors": {"arm": arms}, "control": {"arm": "mine"}, "primary": None}
    sweep, lines, conf = ablation(tmp_path, match="samples", **more)
    matched = matched_sweep(sweep, lines, config_dir=conf, functions=None)
    assert {job.levels["arm"]: job.config.trainer.steps for job in matched.jobs} == {"mine": 6, "plain": 6}


def test_the_declaration_lists_the_stages(tmp_path: Path) -> None:
    sweep, _, _ = ablation(tmp_path)
    declare(sweep, tmp_path / "s")
    found = read_declaration(tmp_path / "s")
    assert found is not None
    assert found.entries[-1].content["stages"]["rl"] == [
        "cold_start: sft_rejection_offline on tiny, trainer.steps=4",
        "rl: grpo on tiny, trainer.steps=6",
    ]
    assert "plain" not in found.entries[-1].content["stages"]


def test_each_seed_may_draw_problems_of_its_own(tmp_path: Path) -> None:
    sweep, _, _ = ablation(tmp_path, draws="per_seed")
    assert all(job.config.data.data_seed == job.config.seed for job in sweep.runs)
    assert len({base_id(job.config) for job in sweep.runs}) == 2
    arms = {"rl": ["pipeline=two", "pipeline.rl.data=reasoning_general_mini"], "plain": ["objective=grpo"]}
    with pytest.raises(ConfigError, match="its sets are not the pipeline's; use one mixture"):
        ablation(tmp_path, draws="per_seed", factors={"arm": arms}, primary=None)
