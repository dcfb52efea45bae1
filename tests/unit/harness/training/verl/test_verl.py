"""What a run hands to verl and reads back is what it would have had itself; verl is not needed here."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet
import pytest
import torch

from harness.model.files.codec import Codec
from harness.records.records import write_text
from harness.seeds import derive
from harness.training.experience import problems_at, score
from harness.training.problem_order import problem_numbers
from harness.training.run_state import Run
from harness.training.verl.compile import save_every, warmup_batches
from harness.training.verl.export import export
from harness.training.verl.prompts import prompt_text, read_problems, write_prompts
from harness.training.verl.read_back import (
    attempts,
    drop_after,
    is_complete,
    outputs_of,
    step_of,
    verl_metrics,
)
from harness.training.verl.scoring import Scorer
from harness.types import Rollout
from tests.unit.harness.tiny import configure, run_on_untrained_base, untrained_base

REWARDS = (
    *("objective.reward.inverted=0", "objective.reward.accuracy=1", "objective.reward.format_answer=0.5"),
    *("objective.reward.soft_overlong=0.3", "objective.reward.length_penalty=0.2"),
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return run_on_untrained_base(tmp_path, "objective=grpo", *REWARDS, "trainer.steps=20", "rollout.keep=6")


def test_rows_are_the_problems_of_the_steps_in_the_runs_own_order(run: Run, tmp_path: Path) -> None:
    """20 steps of 4 problems of 32: two epochs and a half, so permutations change twice."""
    longest = write_prompts(
        run.config, run.problems, run.codec, seed=run.seeds["data_order"], folder=tmp_path
    )
    rows = pyarrow.parquet.read_table(tmp_path / "train.parquet").to_pylist()
    wanted = [problem for step in range(20) for problem in problems_at(run, step)]
    assert [row["extra_info"]["problem_id"] for row in rows] == [problem.id for problem in wanted]
    assert [row["extra_info"]["place"] for row in rows] == list(range(80))
    assert longest == max(len(run.prompts[problem.id].token_ids) for problem in wanted)
    for row, problem in zip(rows, wanted, strict=True):
        text = row["prompt"][0]["content"]
        assert tuple(run.codec.encode(text)) == run.prompts[problem.id].token_ids
    assert read_problems(tmp_path / "problems.json")[wanted[0].id] == wanted[0]


def test_the_order_is_a_permutation_an_epoch() -> None:
    found = problem_numbers(range(10), total=4, seed=3)
    assert sorted(found[:4]) == sorted(found[4:8]) == [0, 1, 2, 3] and len(found) == 10
    generator = torch.Generator().manual_seed(derive(3, "epoch", 1))
    assert found[4:8] == torch.randperm(4, generator=generator).tolist()
    assert problem_numbers([5, 1], total=4, seed=3) == [found[5], found[1]]


def test_a_prompt_that_is_no_text_is_refused(run: Run) -> None:
    prompt = run.prompts[run.problems[0].id]
    other = type(prompt)(prompt.problem_id, prompt.template, prompt.text, (*prompt.token_ids, 1))
    with pytest.raises(ValueError, match="is no text that this model's tokenizer reads back"):
        prompt_text(other, "question", run.codec)


def outputs(run: Run) -> list[tuple[list[int], str]]:
    """Tokens of four outputs and how they ended: right, wrong, cut, and cut at the limit after an answer."""
    problem = problems_at(run, 0)[0]
    boxed = run.codec.encode(rf"\boxed{{{problem.answer}}}")
    end = run.codec.eos_token_ids[0]
    wrong = run.codec.encode(rf"\boxed{{{problem.answer}1}}")
    return [
        ([*boxed, end], "stop"),
        ([*wrong, end], "stop"),
        (run.codec.encode("1" * 24), "length"),
        ([*boxed, *run.codec.encode("1" * 12)], "length"),
    ]


@pytest.mark.parametrize("truncated", [(), ("objective.truncated=fail", "objective.fail_reward=-1")])
def test_rewards_and_grades_are_the_runs_own(tmp_path: Path, truncated: tuple[str, ...]) -> None:
    run = run_on_untrained_base(tmp_path, "objective=grpo", *REWARDS, *truncated)
    problem, work = problems_at(run, 0)[0], tmp_path / "verl"
    rollouts = [
        Rollout(problem.id, i, tuple(ids), run.decode(ids[: len(ids) - (how == "stop")]), None, how)
        for i, (ids, how) in enumerate(outputs(run))
    ]
    (group,) = score(run, [problem], rollouts, group_size=4)
    work.mkdir()
    write_prompts(run.config, run.problems, run.codec, seed=run.seeds["data_order"], folder=work)
    scorer = Scorer(run.config, work, run.start)
    given = len(run.prompts[problem.id].token_ids)
    found = [scorer.score(problem.id, 0, list(r.completion_ids), given) for r in rollouts]
    assert found == list(group.rewards) and len(set(found)) >= 3
    lines = outputs_of(work, 1)
    assert [line["correct"] for line in lines] == [grade.correct for grade in group.grades]
    assert [line["extracted"] for line in lines] == [grade.extracted for grade in group.grades]
    assert [line["finish_reason"] for line in lines] == [r.finish_reason for r in rollouts]
    back = step_of(lines, run.config, run.models.policy.dims).groups[0]
    assert back.rewards == group.rewards and [len(r.completion_ids) for r in back.rollouts] == [
        len(r.completion_ids) for r in rollouts
    ]


def line(place: int, at: float, **fields: object) -> dict[str, object]:
    plain = {"problem_id": f"p{place}", "num_tokens": 3, "num_prompt_tokens": 5, "reward": 1.0}
    graded = {"correct": True, "extracted": "1", "finish_reason": "stop", "text": "t"}
    return {"place": place, "at": at, **plain, **graded, **fields}


def test_a_step_is_complete_when_every_sample_has_its_line() -> None:
    config = configure()  # 4 problems, 4 samples each
    rows = [line(place, at=i) for place in range(4, 8) for i in range(4)]
    assert is_complete(rows, config)
    assert not is_complete(rows[:-1], config) and not is_complete([], config)


def test_of_a_problem_that_was_sampled_again_the_latest_lines_count(tmp_path: Path) -> None:
    run = run_on_untrained_base(tmp_path)
    rows = [line(0, at=float(i), reward=float(i)) for i in (5, 4, 3, 2, 1, 0)]
    found = step_of(rows, run.config, run.models.policy.dims)
    assert found.groups[0].rewards == (2.0, 3.0, 4.0, 5.0)
    assert found.num_prompt_tokens == 4 * 5


def test_what_verl_does_again_is_forgotten(tmp_path: Path) -> None:
    """The first attempt got to step 3 and saved step 1; the second began at step 2."""
    rows = [json.dumps({"step": step, "data": {"a": step}}) + "\n" for step in (1, 2, 3)]
    write_text(tmp_path / "metrics-000.jsonl", "".join(rows))
    for step in (1, 2, 3):
        folder = tmp_path / "outputs" / f"step_{step:06d}"
        folder.mkdir(parents=True)
        (folder / "host-1.jsonl").write_text(json.dumps(line(0, at=0.0)) + "\n" + '{"cut')
    drop_after(tmp_path, 1)
    assert list(verl_metrics(tmp_path)) == [1]
    assert len(outputs_of(tmp_path, 1)) == 1 and outputs_of(tmp_path, 2) == []
    write_text(tmp_path / "metrics-001.jsonl", json.dumps({"step": 2, "data": {"a": 20}}) + "\n")
    assert verl_metrics(tmp_path) == {1: {"a": 1}, 2: {"a": 20}}
    assert len(attempts(tmp_path)) == 2


@pytest.mark.parametrize("every, at, found", [(20, "[10,30]", 10), (8, "[6,40]", 2), (8, "[]", 8)])
def test_checkpoints_fall_on_every_step_to_evaluate(every: int, at: str, found: int) -> None:
    lines = ("trainer.steps=40", f"trainer.checkpoint_every={every}", f"eval.at_steps={at}")
    assert save_every(configure(*lines)) == found


@pytest.mark.parametrize(
    "steps, minibatches, batches", [(0, 2, -1), (1, 2, 1), (4, 2, 2), (5, 2, 3), (3, 1, 3)]
)
def test_a_warm_up_is_counted_in_rollout_batches(steps: int, minibatches: int, batches: int) -> None:
    lines = (f"trainer.warmup_steps={steps}", f"objective.updates.minibatches={minibatches}")
    assert warmup_batches(configure(*lines)) == batches


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    start = untrained_base(tmp_path / "base") / "model"
    with pytest.raises(ValueError, match="verl left no weights of step 3"):
        export(tmp_path / "checkpoints", start=start, folder=tmp_path / "run", step=3)
    source = tmp_path / "checkpoints" / "global_step_3" / "actor" / "huggingface"
    source.mkdir(parents=True)
    from safetensors.torch import load_file, save_file

    weights = load_file(start / "model.safetensors")
    short = {name: x for name, x in weights.items() if "layers.0.mlp.up" not in name}
    save_file(short, source / "model.safetensors")
    with pytest.raises(ValueError, match="lack"):
        export(tmp_path / "checkpoints", start=start, folder=tmp_path / "run", step=3)
    save_file(weights, source / "model.safetensors")
    export(tmp_path / "checkpoints", start=start, folder=tmp_path / "run", step=3)
    made = tmp_path / "run" / "checkpoints" / "step_000003"
    assert Codec.from_folder(made).eos_token_ids == Codec.from_folder(start).eos_token_ids
