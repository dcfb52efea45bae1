"""Distillation from a teacher that the launch makes or trains: given by path, it makes the same pupil."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from harness.identity import base_folder, base_id, run_folder, run_id, teacher_folder, weights_folder
from harness.launch.compose import Composer
from harness.launch.execute import execute
from harness.launch.jobs import Job
from harness.launch.match import _flops_a_step
from harness.records.records import read_run
from harness.schema.run_config import RunConfig
from tests.unit.harness.launch.test_pipeline import COMMON, own
from tests.unit.harness.launch.test_sweep import CONF

# A base of two steps is never right: a readable answer, right or wrong, is enough to be learnt from.
SMALL = (
    "objective.advantage.threshold=-1",
    "rollout.prompts_per_step=2",
    "rollout.group_size=2",
    "rollout.max_new_tokens=12",
    "trainer.warmup_steps=0",
    "trainer.lr=3e-3",
    "eval.splits=[test]",
    "eval.k=1",
    "eval.max_new_tokens=12",
    "tracking.mode=disabled",
    "device=cpu",
)
TEACHER = ["start=base", "model=tiny2", "objective=grpo", "objective.reward.random=1", "trainer.steps=2"]
PUPIL = [
    "objective=distill",
    "trainer.steps=2",
    "objective.offline.batch_size=2",
    "objective.selection.dedupe=false",
    SMALL[0],
]


def composed(folder: Path, *more: str) -> list[RunConfig]:
    lines = [line for line in SMALL if not line.startswith("objective.")]
    return Composer(str(folder / "conf")).configs([*COMMON, *lines, f"output_dir={folder}/out", *more])


def trained(config: RunConfig) -> dict[str, torch.Tensor]:
    ended = execute(config, overrides=[], report=lambda *_: None)
    assert ended == "finished", read_run(run_folder(config)).reason
    folder = run_folder(config)
    return load_file(weights_folder(folder, read_run(folder).steps_done) / "model.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "conf").mkdir()
    own(
        tmp_path / "conf",
        {
            "teacher": TEACHER,
            "sft": ["start=base", *PUPIL, "objective.teacher.stage=teacher"],
            "rl": ["objective=grpo", "objective.reward.random=1", "trainer.steps=3"],
        },
    )
    assert Path(CONF).is_dir()
    return tmp_path


def test_a_pupil_of_a_stage_is_that_of_the_stages_checkpoint(folder: Path) -> None:
    teacher, sft, rl = composed(folder, "pipeline=mine")
    after = trained(teacher)
    pupil = trained(sft)
    place = teacher_folder(sft)
    assert place == weights_folder(run_folder(teacher), 2)
    assert not same(after, load_file(base_folder(teacher) / "model" / "model.safetensors"))
    lines = [*PUPIL, "study=by_path"]
    (by_path,) = composed(folder, *lines, f"objective.teacher.path={place}")
    assert run_id(by_path) != run_id(sft) and same(trained(by_path), pupil)
    base = base_folder(teacher) / "model"
    (untaught,) = composed(folder, *lines, f"objective.teacher.path={base}")
    assert not same(trained(untaught), pupil)  # RL in the teacher is seen in the pupil
    record = read_run(run_folder(sft))
    assert record.tokens["teacher"] > 0 and record.flops["teacher"] > 0
    assert record.teacher_id == base_id(teacher) != record.base_id
    # A step of it, as a budget counts it: half of what two batches of prompts and their epochs took.
    assert _flops_a_step(Job((), {}, sft)) == pytest.approx(sum(record.flops.values()) / 2)
    assert not same(trained(rl), pupil)


def test_a_pupil_of_a_model_by_name_is_that_of_its_base(folder: Path) -> None:
    lines = PUPIL
    (by_name,) = composed(folder, *lines, "objective.teacher.model=tiny2")
    pupil = trained(by_name)
    (other,) = composed(folder, "model=tiny2")
    assert teacher_folder(by_name) == base_folder(other) / "model"
    assert read_run(run_folder(by_name)).teacher_id == base_id(other)
    (by_path,) = composed(folder, *lines, f"objective.teacher.path={base_folder(other)}/model")
    assert same(trained(by_path), pupil)
    longer = (*lines, "objective.teacher.model=tiny2", "objective.teacher.pretrain_steps=3")
    (changed,) = composed(folder, *longer)
    assert run_id(changed) != run_id(by_name) and not same(trained(changed), pupil)


def test_a_teacher_whose_checkpoint_is_gone_or_damaged_is_named(folder: Path) -> None:
    teacher, sft, _ = composed(folder, "pipeline=mine")
    assert execute(sft, overrides=[], report=lambda *_: None) == "failed"
    reason = read_run(run_folder(sft)).reason or ""
    assert "stage sft of pipeline=mine learns from" in reason and "(there is none yet)" in reason
    trained(teacher)
    file = weights_folder(run_folder(teacher), 2) / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + b"x")
    assert execute(sft, overrides=[], report=lambda *_: None) == "failed"
    assert str(file.parent) in (read_run(run_folder(sft)).reason or "")
    file.write_bytes(content)
    trained(sft)
    shutil.rmtree(run_folder(teacher))  # a pupil that is trained goes on without its teacher
    assert execute(sft, overrides=[], report=lambda *_: None) == "skipped"
