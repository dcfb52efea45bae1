"""Stored completions scored anew: what the grader says now replaces what was recorded, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.evaluation.eval_tasks import eval_tasks
from harness.evaluation.evaluate import eval_record, sample_rows, scored
from harness.evaluation.regrade import main
from harness.identity import run_folder
from harness.launch.expand import expand
from harness.records.lines import read_samples, write_samples
from harness.records.records import EvalRecord, read_eval, write_record
from harness.schema.run_config import RunConfig
from harness.types import Problem, Rollout
from tests.unit.harness.stubs import record as write_run

SETTINGS = ["model=ladder_xs", "study=s", "eval.splits=[test]", "eval.k=2", "data.num_test=2"]


def rollouts(problem: Problem, k: int) -> list[Rollout]:
    texts = [f"So \\boxed{{{problem.answer}}}", "2 + 2 = 5, so \\boxed{-1}"][:k]
    return [Rollout(problem.id, i, (7,) * (5 + i), text, None, "stop") for i, text in enumerate(texts)]


@pytest.fixture
def study(tmp_path: Path) -> tuple[Path, Path, EvalRecord]:
    """Its run says that a right sample is wrong. (folder, path of the record, the record as it ought)."""
    (job,) = expand([*SETTINGS, f"output_dir={tmp_path}"], multirun=False).jobs
    config: RunConfig = job.config
    write_run(config, "finished")
    (task,) = eval_tasks(config)
    sampled, greedy = ([scored(task, p, rollouts(p, k)) for p in task.problems()] for k in (2, 1))
    about = {"step": 1, "run_id": "r", "base_id": "b", "eval_sampling_seed": 3, "seconds": 4.0}
    path = run_folder(config) / "eval" / f"step_000001-{task.key}" / f"{task.task_name()}.json"
    ought = eval_record(task, sampled, greedy, checkpoint=path.parent.name, **about)
    was = ought.model_copy(deep=True, update={"lm_eval_version": "0", "task_version": 1.0})
    was.correct[0][0], was.metrics["avg_at_k"] = 0, 0.25
    rows = list(sample_rows(sampled, greedy))
    rows[0]["correct"] = False
    path.parent.mkdir(parents=True)
    write_record(path, was)
    write_samples(path.with_suffix(".samples.jsonl.gz"), rows)
    now = {"lm_eval_version": "0"}
    now["samples_sha256"] = write_samples(tmp_path / "ought.jsonl.gz", sample_rows(sampled, greedy))
    return tmp_path / "s", path, ought.model_copy(update=now)


def test_changes_are_named_and_written_only_when_asked(study, capsys) -> None:
    folder, path, ought = study
    before = path.read_bytes()
    assert main([str(folder)]) == 0
    said = capsys.readouterr().out
    assert (
        f"1 of 6 verdicts change, 1 to right: {ought.problem_ids[0]}/0" in said and "nothing written" in said
    )
    assert path.read_bytes() == before

    assert main([str(folder), "--write"]) == 0
    assert read_eval(path) == ought
    stored = list(read_samples(path.with_suffix(".samples.jsonl.gz")))
    assert [row["correct"] for row in stored] == [True, False, True, False, True, True]
    assert [row["length"] for row in stored] == [5, 6, 5, 6, 5, 5]
    capsys.readouterr()
    assert main([str(folder)]) == 0
    assert capsys.readouterr().out.startswith("0 of 6 verdicts change in 1 evaluations")


def test_a_damaged_run_is_named_and_the_others_are_done(study, capsys) -> None:
    folder, path, ought = study
    (folder / "a-damaged-run").mkdir()
    (folder / "a-damaged-run" / "run.json").write_text("{")
    assert main([str(folder), "--write"]) == 2
    said = capsys.readouterr()
    assert "a-damaged-run" in said.err and len(said.err.splitlines()) == 1
    assert "1 of 6 verdicts change" in said.out and read_eval(path) == ought


def test_other_problems_and_missing_completions_are_said(study, capsys, tmp_path: Path) -> None:
    folder, path, ought = study
    write_record(path, ought.model_copy(update={"problem_ids": ["p", "q"]}))
    assert main([str(folder), "--write"]) == 2
    assert "its problems are not those that data=aime_gen_mini gives now" in capsys.readouterr().err
    samples = path.with_suffix(".samples.jsonl.gz")
    write_record(path, ought)
    write_samples(samples, list(read_samples(samples))[:-1])
    assert main([str(folder)]) == 2
    assert f"5 completions, not those of {path.name}" in capsys.readouterr().err
    samples.write_bytes(samples.read_bytes()[:40])
    assert main([str(folder)]) == 2
    assert "damaged completions (" in capsys.readouterr().err
    samples.unlink()
    assert main([str(folder)]) == 2
    assert "no completions to score; evaluate the run again" in capsys.readouterr().err
    assert main([str(tmp_path / "nothing")]) == 2
    assert "no runs; name a study's folder" in capsys.readouterr().err
