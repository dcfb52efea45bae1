"""The model card of a pipeline's run: its stages, what each began from, what all of them are tagged as."""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml

from harness.identity import base_id, run_folder, run_id, teacher_base, weights_folder
from harness.launch.compose import Composer
from harness.launch.export import export
from harness.records.published import publish
from harness.records.records import write_record
from harness.schema.run_config import RunConfig
from tests.unit.harness.launch.test_measured import run_record
from tests.unit.harness.launch.test_pipeline import COMMON, own
from tests.unit.harness.launch.test_teacher_stage import TAUGHT
from tests.unit.harness.tiny import untrained_base

STEPS = {"teacher": 6, "sft": 30, "rl": 2, "cold": 9, "again": 4}


def written(config: RunConfig, **fields: object) -> Path:
    """The record and the last checkpoint of a finished stage."""
    assert config.stage is not None
    folder, steps = run_folder(config), STEPS[config.stage.name]
    made = {"run_id": run_id(config), "config": config.model_dump(mode="json"), "base_id": base_id(config)}
    write_record(folder / "run.json", run_record(**{**made, "steps_done": steps, **fields}))

    def fill(target: Path) -> None:
        model = untrained_base(target / "x") / "model"
        for path in model.iterdir():
            path.rename(target / path.name)
        shutil.rmtree(target / "x")

    publish(weights_folder(folder, steps), fill, identity={"owner": run_id(config), "step": steps})
    return folder


def card_of(run: Path, target: Path) -> str:
    export(run, target)
    return (target / "README.md").read_text()


def rows(card: str) -> list[list[str]]:
    table = card.split("## Stages")[1].split("##")[0]
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def stages(folder: Path, made: dict[str, list[str]]) -> list[RunConfig]:
    lines = [*COMMON, "pipeline=mine", f"output_dir={folder}/out"]
    return Composer(own(folder, made)).configs(lines)


def test_each_stage_is_named_with_what_it_began_from_and_learned_from(tmp_path: Path) -> None:
    teacher, sft, rl = stages(tmp_path, TAUGHT)
    *_, last = [written(config) for config in (teacher, sft, rl)]
    card = card_of(last, tmp_path / "card")
    assert "Pipeline `mine`." in card and "## Training of the last stage, rl" in card
    base, larger = f"the base `{base_id(sft)}`", f"the base `{base_id(teacher)}`"
    assert rows(card) == [
        ["teacher", "`grpo`", "`tiny`", "6", larger, f"`{run_id(teacher)}`"],
        ["sft", "`distill`", "`tiny`", "30", f"{base}; learns from teacher", f"`{run_id(sft)}`"],
        ["rl", "`grpo`", "`tiny`", "2", "sft", f"`{run_id(rl)}`"],
    ]
    assert "trained for 2 steps after 2 other stages with `grpo`" in card
    assert {"sft", "reinforcement-learning"} <= set(yaml.safe_load(card.split("---\n")[1])["tags"])
    assert str(tmp_path) not in card


def test_a_teacher_that_is_a_base_and_a_stage_that_is_gone(tmp_path: Path) -> None:
    made = {
        "cold": ["objective=cold_start"],
        "sft": ["objective=distill", "objective.teacher.model=ladder_s"],
        "again": ["objective=grpo"],
    }
    cold, sft, again = stages(tmp_path, made)
    larger = teacher_base(sft)
    assert larger is not None and larger.model.name == "ladder_s"
    *_, last = [written(cold), written(sft, teacher_id=base_id(larger)), written(again)]
    found = rows(card_of(last, tmp_path / "card"))
    assert [row[0] for row in found] == ["cold", "sft", "again"]
    assert found[1][4] == f"cold; learns from the base `{base_id(larger)}`"
    shutil.rmtree(run_folder(sft))  # and with its record what it began from
    found = rows(card_of(last, tmp_path / "card2"))
    assert [row[0] for row in found] == ["?", "again"] and "its record is gone" in found[0][5]
    assert found[1][4] == f"`{run_id(sft)}`"


def test_a_first_stage_of_worked_solutions_says_that_nothing_was_sampled(tmp_path: Path) -> None:
    (cold,) = stages(tmp_path, {"cold": ["objective=cold_start", "objective.offline.epochs=2"]})
    card = card_of(written(cold), tmp_path / "card")
    assert "| samples | none; the problems' own solutions (natural), 2 passes in batches of 128 |" in card
    assert [row[4] for row in rows(card)] == [f"the base `{base_id(cold)}`"]
