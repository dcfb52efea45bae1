"""A stage that trains a teacher: what it begins from, what its pupil is called, what a launch makes of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.identity import base_id, run_folder, run_id, streams_of, teacher_base, teacher_folder
from harness.launch.compose import Composer
from harness.launch.costs import estimate
from harness.launch.expand import Sweep, expand
from harness.launch.match import check_match, matched_sweep
from harness.launch.plan import describe
from harness.launch.run import main
from harness.records.records import read_run
from harness.schema.run_config import ConfigError, RunConfig
from tests.unit.harness.launch.test_pipeline import COMMON, ablation, own
from tests.unit.harness.launch.test_sweep import STUBS, calls

TAUGHT = {
    "teacher": ["start=base", "model=tiny2", "objective=grpo", "trainer.steps=6"],
    "sft": ["start=base", "objective=distill", "objective.teacher.stage=teacher", "trainer.steps=3"],
    "rl": ["objective=grpo", "trainer.steps=2"],
}


def taught(folder: Path, *more: str, stages: dict[str, list[str]] | None = None) -> list[RunConfig]:
    return Composer(own(folder, stages or TAUGHT)).configs([*COMMON, "pipeline=mine", *more])


def test_teacher_and_pupil_are_two_chains(tmp_path: Path) -> None:
    teacher, sft, rl = taught(tmp_path)
    assert (teacher.model.name, sft.model.name, rl.model.name) == ("tiny2", "tiny", "tiny")
    assert (teacher.start, sft.start, rl.start) == (None, None, run_id(sft))
    assert (teacher.taught_by, sft.taught_by, rl.taught_by) == (None, run_id(teacher), None)
    assert sft.waits_for == (run_id(teacher),) and rl.waits_for == (run_id(sft),)
    assert len({base_id(c) for c in (teacher, sft, rl)}) == 2
    # The place of a stage's random numbers is that in its own chain: a teacher before it moves nothing.
    assert [c.num_stages_before for c in (teacher, sft, rl)] == [0, 0, 1]
    alone = Composer(str(tmp_path)).config([*COMMON, "model=tiny2", "objective=grpo", "trainer.steps=6"])
    assert run_id(teacher) == run_id(alone) and streams_of(teacher) == streams_of(alone)
    assert teacher_base(sft) is None and sft.objective.teacher is not None
    assert sft.objective.teacher.model == teacher.model


def test_a_pupils_name_covers_its_teacher(tmp_path: Path) -> None:
    first = [run_id(c) for c in taught(tmp_path)]
    for change, changed in (
        ("pipeline.teacher.trainer.lr=2e-4", [True, True, True]),
        ("pipeline.teacher.model=tiny", [True, True, True]),
        ("pipeline.sft.trainer.lr=2e-4", [False, True, True]),
        ("pipeline.rl.trainer.lr=2e-4", [False, False, True]),
        ("model=tiny2", [False, True, True]),
    ):
        found = [run_id(c) for c in Composer(str(tmp_path)).configs([*COMMON, "pipeline=mine", change])]
        assert [a != b for a, b in zip(first, found, strict=True)] == changed, change


def test_the_teachers_folder_is_its_stages_last_checkpoint(tmp_path: Path) -> None:
    teacher, sft, _ = taught(tmp_path, f"output_dir={tmp_path}/out")
    record: dict[str, object] = {"steps_done": 5, "status": "finished", "config": {}, "seeds": {}}
    record |= {"data_hash": "x", "packages": {}}
    record |= {"run_id": run_id(teacher), "study": "s", "hardware": {}, "started": "now"}
    record |= {"code": {"commit": None, "dirty": False}}
    run_folder(teacher).mkdir(parents=True)
    (run_folder(teacher) / "run.json").write_text(json.dumps(record))
    assert teacher_folder(sft) == run_folder(teacher) / "checkpoints" / "step_000005"


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        (
            {"t": ["model=tiny2", "objective=grpo"], "sft": ["objective=grpo"]},
            "stage sft: it begins from t, whose model is tiny2; give start=base or start=STAGE",
        ),
        (
            {"sft": ["objective=distill", "objective.teacher.stage=t"]},
            "stage sft: objective.teacher.stage=t: no earlier stage",
        ),
        (
            {
                "t": ["start=base", "objective=grpo"],
                "sft": ["start=base", "objective=distill", "objective.teacher={stage: t, model: tiny2}"],
            },
            "objective.teacher.stage=t: it has a model of its own; drop teacher.model",
        ),
        (
            {
                "t": ["start=base", "objective=grpo"],
                "sft": ["start=base", "objective=distill", "objective.teacher={stage: t, path: /a}"],
            },
            "path and stage are given: they are two teachers",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(stages: dict[str, list[str]], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        taught(tmp_path, stages=stages)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_stage_may_begin_from_one_that_is_not_the_last(tmp_path: Path) -> None:
    stages = {"a": ["objective=grpo"], "b": ["objective=dapo"], "c": ["start=a", "objective=pg"]}
    a, b, c = taught(tmp_path, stages=stages)
    assert (b.start, c.start) == (run_id(a), run_id(a)) and c.num_stages_before == 1


def test_a_stage_brings_what_it_comes_from_alone(tmp_path: Path) -> None:
    """One pipeline may hold every arm of a study: branches that begin from the base or from one another."""
    stages = {
        "zero": ["start=base", "objective=grpo"],
        "cold": ["start=base", "objective=cold_start"],
        "rl": ["objective=grpo"],
        "taught": ["start=base", "objective=distill", "objective.teacher.stage=zero"],
        "then": ["objective=grpo"],
    }
    composer = Composer(own(tmp_path, stages))
    for stage, expected in (
        ("zero", ["zero"]),
        ("cold", ["cold"]),
        ("rl", ["cold", "rl"]),
        ("taught", ["zero", "taught"]),
        ("then", ["zero", "taught", "then"]),
        ("null", list(stages)),
    ):
        assert composer.stages([*COMMON, "pipeline=mine", f"stage={stage}"])[1] == expected
    for typed, expected in (
        ("pipeline.taught.objective.teacher.stage=rl", ["cold", "rl", "taught"]),
        ("pipeline.taught.objective.teacher={stage: rl}", ["cold", "rl", "taught"]),
        ("pipeline.last.objective.teacher.stage=cold", ["cold", "taught"]),
        ("pipeline.taught.objective.teacher={path: /a, stage: null}", ["taught"]),
        ("pipeline.taught.objective.teacher.stage=null", ["taught"]),
    ):
        assert composer.stages([*COMMON, "pipeline=mine", "stage=taught", typed])[1] == expected, typed


# --- sweeps -----------------------------------------------------------------------------------------------


def sweep_of(folder: Path, *more: str) -> Sweep:
    lines = [*COMMON, f"output_dir={folder}/out", "study=s", "pipeline=mine", *more]
    return expand(lines, multirun=True, config_dir=own(folder, TAUGHT))


def launch(folder: Path, *more: str, behaviour: dict[str, str] | None = None) -> int:
    (folder / "out").mkdir(exist_ok=True)
    (folder / "out" / "behaviour.json").write_text(json.dumps(behaviour or {}))
    (folder / "out" / "calls.txt").write_text("")
    lines = ["--config-dir", str(folder), *COMMON, f"output_dir={folder}/out", "study=s", "pipeline=mine"]
    return main([*lines, *more], functions=STUBS)


def test_a_sweep_trains_the_teacher_first_and_once(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, "pipeline.sft.trainer.steps=3,4", "seed=0,1")
    # 2 arms x 2 seeds x (sft, rl), and a teacher a seed.
    assert len(sweep.runs) == 2 * 2 * 2 + 2
    lines = ("-m", "pipeline.sft.trainer.steps=3,4", "seed=0,1", "hydra.launcher.workers=3")
    assert launch(tmp_path, *lines) == 0
    done = calls(tmp_path / "out")
    runs = {name: read_run(tmp_path / "out" / "s" / name) for name in done if "-b0-" not in name}
    assert len(done) == len(set(done)) == 12 and len(runs) == 10  # two bases
    for name, record in runs.items():
        for other in (record.config["stage"]["start"], record.config["stage"]["teacher"]):
            assert other is None or done.index(other) < done.index(name)


def test_a_failed_teacher_costs_its_pupils_alone(tmp_path: Path) -> None:
    own(tmp_path, TAUGHT)
    assert launch(tmp_path, "-m", "seed=0,1", behaviour={"grpo-tiny2-s0": "fail"}) == 1
    places = (tmp_path / "out" / "s").glob("*/run.json")
    found = {(r.config["stage"]["name"], r.config["seed"]): r for r in (read_run(p.parent) for p in places)}
    assert {key: record.status for key, record in found.items()} == {
        ("teacher", 0): "failed",
        ("sft", 0): "failed",
        ("rl", 0): "failed",
        **dict.fromkeys([("teacher", 1), ("sft", 1), ("rl", 1)], "finished"),
    }
    assert (found["rl", 0].reason or "").startswith(
        f"not started, since the stage before it, {found['teacher', 0].run_id}, failed"
    )


def test_the_plan_prices_the_teacher_by_its_size(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, "seed=0,1")
    said = describe(sweep, dict.fromkeys([job.run_id for job in sweep.runs], "run"), workers=1)
    rows = [line.split("  ") for line in said.splitlines()]
    names = [row[0] for row in rows if row[0][:2] in ("1 ", "2 ", "3 ") and len(row) > 3]
    assert names == ["1 teacher (tiny2)", "2 sft", "3 rl"]
    # The stated rates are of the model that samples: a larger teacher's pupil waits for it.
    small, large = (costs_of(tmp_path, f"pipeline.teacher.model={name}") for name in ("tiny", "tiny2"))
    assert large["sft"] > small["sft"] and large["rl"] == small["rl"]


def costs_of(folder: Path, *more: str) -> dict[str, float]:
    composer = Composer(str(folder))
    found = composer.configs([*COMMON, "pipeline=mine", f"output_dir={folder}/none", *more])
    return {c.stage.name: estimate(c).seconds for c in found if c.stage is not None}


def test_a_teachers_stages_count_in_a_budget(tmp_path: Path) -> None:
    sizes = ("rollout.prompts_per_step=4", "rollout.group_size=8")
    (tmp_path / "conf").mkdir()
    own(tmp_path / "conf", TAUGHT)
    arms = {"taught": ["pipeline=mine"], "plain": ["objective=grpo", "trainer.steps=24"]}
    more: dict[str, object] = {"factors": {"arm": arms}, "control": {"arm": "taught"}, "primary": None}
    with pytest.raises(ConfigError, match=r"match=samples with trainer\.steps set by a factor"):
        sweep, lines, conf = ablation(tmp_path, *sizes, match="samples", **more)
        check_match(sweep.spec, sweep.jobs)
    arms["plain"] = ["objective=grpo"]
    sweep, lines, conf = ablation(tmp_path, *sizes, match="samples", **more)
    matched = matched_sweep(sweep, lines, config_dir=conf, functions=None)
    # 6 steps of the teacher, 3 of what it samples for the pupil, 2 of RL.
    assert {job.levels["arm"]: job.config.trainer.steps for job in matched.jobs} == {"taught": 2, "plain": 11}
