"""Distillation: whose outputs are trained on, in whose tokens, and which teachers are refused beforehand."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from harness.identity import base_folder, run_id, teacher_folder
from harness.launch.execute import execute
from harness.launch.expand import expand
from harness.model.files.hub import load_pretrained, save_pretrained
from harness.model.files.tokenizer import EOS_ID, build_ladder_tokenizer
from harness.model.policy import init_policy
from harness.schema.run_config import ConfigError
from harness.training.advantages import build_batch
from harness.training.experience import problems_at, sample
from harness.training.models import Models
from harness.training.offline import Offline
from harness.training.optim import adamw
from harness.training.setup import setup
from harness.training.teacher import Teacher
from harness.training.update import update
from harness.types import Rollout
from tests.unit.harness.tiny import DIMS, configure, run_on_untrained_base, untrained_base
from tests.unit.harness.training.one_step import EQUAL, MIXED

DISTILL = ("objective=distill", "objective.advantage.threshold=-1", "objective.offline.batch_size=4")


def foreign_model(folder: Path) -> Path:
    """A model whose tokens are the 256 bytes and an end token, with other ids than the ladder's."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {letter: i for i, letter in enumerate([*letters, "<end>"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<end>"])
    dims = replace(DIMS, vocab_size=len(vocab), max_position_embeddings=512)
    save_pretrained(init_policy(dims, 1), folder, eos_token_ids=(vocab["<end>"],))
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def test_a_teacher_that_is_the_base_gives_the_bases_samples(tmp_path: Path) -> None:
    teacher = untrained_base(tmp_path / "t") / "model"
    run = run_on_untrained_base(tmp_path, *DISTILL, f"objective.teacher.path={teacher}")
    problems = problems_at(run, 3)
    found = Teacher(run).sample(problems, 3)
    assert [r.completion_ids for r in found] == [r.completion_ids for r in sample(run, problems, 3)]
    assert all(r.sampler_logprobs is None for r in found)
    assert run.counters.tokens["teacher"] == run.counters.tokens["sampled"] > 0


def test_another_vocabularys_outputs_are_encoded_anew(tmp_path: Path) -> None:
    teacher = foreign_model(tmp_path / "t")
    run = run_on_untrained_base(tmp_path, *DISTILL, f"objective.teacher.path={teacher}")
    found = Teacher(run).sample(problems_at(run, 0), 0)
    tokenizer = build_ladder_tokenizer()
    for rollout in found:
        ends = rollout.completion_ids[-1:] == (EOS_ID,)
        assert ends == (rollout.finish_reason == "stop")
        assert tokenizer.decode(list(rollout.completion_ids)) == rollout.text
    assert len({r.text for r in found}) > 4


def test_what_is_too_long_in_the_students_tokens_is_cut_at_its_limit(tmp_path: Path) -> None:
    lines = (*DISTILL, "rollout.max_new_tokens=6", f"objective.teacher.path={foreign_model(tmp_path / 't')}")
    run = run_on_untrained_base(tmp_path, *lines)
    teacher, seven = Teacher(run), run.encode("7")
    assert run.encode("777777") == 6 * seven  # so with the end token 7 tokens
    texts = {"77777": "77777", "777777": "777777", "7777777": "777777"}
    found = {
        text: teacher._translated(Rollout(run.problems[0].id, 0, (1,), text, None, "stop")) for text in texts
    }
    assert found["77777"].completion_ids == (*5 * seven, EOS_ID)
    assert found["777777"].completion_ids == found["7777777"].completion_ids == (*6 * seven,)
    assert {text: r.text for text, r in found.items()} == texts
    assert [r.finish_reason for r in found.values()] == ["stop", "length", "length"]


def test_what_is_trained_on_is_the_teachers(tmp_path: Path) -> None:
    teacher = foreign_model(tmp_path / "t")
    lines = (*DISTILL, "objective.selection.dedupe=false", f"objective.teacher.path={teacher}")
    run = run_on_untrained_base(tmp_path, *lines)
    offline = Offline(run, lambda *_: None)
    expected = [r for step in range(4) for r in Teacher(run).sample(problems_at(run, step), step)]
    assert [g.rollouts[0].completion_ids for g in offline.rows] == [r.completion_ids for r in expected]
    assert "sampled" not in run.counters.tokens and "entropy" not in offline.summary


def test_the_graded_filter_leaves_nothing_of_an_untrained_teacher(tmp_path: Path) -> None:
    teacher = untrained_base(tmp_path / "t") / "model"
    run = run_on_untrained_base(tmp_path, "objective=distill", f"objective.teacher.path={teacher}")
    with pytest.raises(ValueError, match="no sample of the teacher was accepted"):
        Offline(run, lambda *_: None)


def test_on_policy_the_student_goes_to_its_teacher() -> None:
    config = configure("objective=distill_on_policy", "objective.teacher.path=/a", "trainer.lr=1e-2")
    student, teacher = init_policy(DIMS, 0), init_policy(DIMS, 5)
    with torch.no_grad():
        for p in teacher.parameters():
            p.mul_(3.0 if p.ndim > 1 else 1.0)
    optimizer = adamw(student, lr=1e-2, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0)
    found = []
    for index in range(60):
        result = update(
            Models(student, teacher),
            optimizer,
            build_batch([MIXED, EQUAL], config.objective),
            config=config,
            order=torch.Generator(),
            num_updates_done=10 + index,
            num_updates_total=1000,
        )
        found.append(result.metrics["loss"])
    assert found[0] > 0.1 and found[-1] < 0.5 * found[0]


def test_the_reference_is_the_teacher(tmp_path: Path) -> None:
    teacher = untrained_base(tmp_path / "t") / "model"
    moved = load_pretrained(teacher, dtype=torch.float32, device="cpu")
    with torch.no_grad():
        moved.model.norm.weight.fill_(2.0)
    save_pretrained(moved, teacher, eos_token_ids=(EOS_ID,))
    config = configure("objective=distill_on_policy", f"objective.teacher.path={teacher}")
    base = untrained_base(tmp_path / "base")
    run = setup(config, base=base, folder=tmp_path / "run", device="cpu")
    assert run.models.reference is not None
    assert torch.equal(run.models.reference.model.norm.weight, moved.model.norm.weight)
    assert not torch.equal(run.retention.base.model.norm.weight, moved.model.norm.weight)


LONGER = ("objective.teacher.path=null", "objective.teacher.pretrain_steps=3")


@pytest.mark.parametrize("name", ["distill", "distill_on_policy"])
def test_a_teacher_that_is_the_own_model_pretrained_longer(name: str, tmp_path: Path) -> None:
    lines = (f"output_dir={tmp_path}", f"objective={name}", *LONGER)
    more = ("trainer.steps=1", "model.pretrain.steps=1", "objective.advantage.threshold=-1")
    config = configure(*lines, *more[: 3 if name == "distill" else 2])
    other = configure(*lines, *more[: 3 if name == "distill" else 2], "objective.teacher.pretrain_steps=4")
    assert run_id(config) != run_id(other)
    assert execute(config, overrides=[], report=lambda *_: None) == "finished"
    bases = {base_folder(config), teacher_folder(config).parent}
    assert set((tmp_path / "bases").iterdir()) == bases and len(bases) == 2
    assert teacher_folder(config) == base_folder(configure(*lines, "model.pretrain.steps=3")) / "model"


def message(*overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        expand(["experiment=smoke", *overrides], multirun=False)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    path = f"objective.teacher.path={tmp_path}"
    assert "no such folder" in message("objective=distill", f"{path}/none")
    assert f"{tmp_path} holds no config.json" in message("objective=distill", path)
    model = foreign_model(tmp_path / "t")
    for name in ("model.safetensors", "tokenizer.json"):
        shutil.move(model / name, tmp_path / name)
        assert f"{tmp_path}/t holds no {name}" in message("objective=distill", f"{path}/t")
        shutil.move(tmp_path / name, model / name)
    assert expand(["objective=distill", f"{path}/t"], multirun=False).jobs


def test_another_vocabulary_is_refused_on_policy(tmp_path: Path) -> None:
    model = foreign_model(tmp_path / "t")
    text = message("objective=distill_on_policy", f"objective.teacher.path={model}")
    assert "its vocabulary is not the student's" in text and "objective=distill" in text
    ours = untrained_base(tmp_path / "u") / "model"
    assert expand(["objective=distill_on_policy", f"objective.teacher.path={ours}"], multirun=False).jobs


def test_a_teacher_counts_by_its_content(tmp_path: Path) -> None:
    one = foreign_model(tmp_path / "one")
    shutil.copytree(one, tmp_path / "copy")

    def name(folder: Path) -> str:
        return run_id(configure("objective=distill", f"objective.teacher.path={folder}"))

    assert name(one) == name(tmp_path / "copy")
    before = name(one)
    model = load_pretrained(one, dtype=torch.float32, device="cpu")
    with torch.no_grad():
        model.model.norm.weight.mul_(2.0)
    save_pretrained(model, one, eos_token_ids=(256,))
    assert name(one) != before
