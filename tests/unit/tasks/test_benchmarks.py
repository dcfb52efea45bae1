"""The benchmark tasks: the folder's files, the hub's columns, R1's protocol. No problem text is kept here."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

pytest.importorskip("lm_eval")

from lm_eval.tasks import TaskManager

from harness.data.load import PUBLISHED
from harness.schema.eval_config import BenchmarkConfig
from tasks.benchmarks import documents

TASKS = Path(__file__).resolve().parents[3] / "tasks"
NAMES = ("aime24", "aime25", "amc23", "math500", "gsm8k")
needs_data = pytest.mark.skipif("MATH_DATA_DIR" not in os.environ, reason="MATH_DATA_DIR is not set")


@needs_data
@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_loads_whole_with_its_prompt(name: str) -> None:
    rows = documents.benchmark(name)["test"]
    assert len(rows) == PUBLISHED[name].SOURCES["test"].num_problems == len(set(rows["id"]))
    assert all("\\boxed{}" in prompt and prompt.endswith("\n") for prompt in rows["prompt"])
    if name.startswith("aime"):
        assert all(str(int(answer)) == answer and 0 <= int(answer) <= 999 for answer in rows["answer"])


@needs_data
def test_the_tasks_follow_r1s_protocol() -> None:
    manager = TaskManager(include_path=str(TASKS), include_defaults=False)
    tasks = manager.load([f"{name}_{v}" for name in NAMES for v in ("k", "greedy")])["tasks"]
    for name, k in zip(NAMES, (64, 64, 64, 4, 4), strict=True):
        config = tasks[f"{name}_k"].config
        options = config.generation_kwargs
        assert config.repeats == k and (options["temperature"], options["top_p"]) == (0.6, 0.95)
        assert options["max_gen_toks"] == 32768
        assert tasks[f"{name}_greedy"].config.generation_kwargs["do_sample"] is False


SETS = {
    "aime26": 30,
    "hmmt_feb25": 30,
    "hmmt_nov25": 30,
    "hmmt_feb26": 33,
    "olympiadbench": 5,
    "minerva": 272,
}


@pytest.mark.parametrize("name", SETS)
def test_a_file_of_each_newer_set_is_read_whole(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made-up rows, since the folder may lack these; OlympiadBench alone has copies of several sizes."""
    monkeypatch.setenv("MATH_DATA_DIR", str(tmp_path))
    rows = [json.dumps({"problem": f"What is {i} + 1?", "answer": i + 1}) for i in range(SETS[name])]
    (tmp_path / f"{name}.jsonl").write_text("\n".join(rows) + "\n")
    found = documents.benchmark(name)["test"]
    assert found["answer"] == [str(i + 1) for i in range(SETS[name])] and "\\boxed{}" in found["prompt"][0]
    tasks = TaskManager(include_path=str(TASKS), include_defaults=False).load([f"{name}_k", f"{name}_greedy"])
    repeats = tasks["tasks"][f"{name}_k"].config.repeats
    assert repeats == (4 if name in ("olympiadbench", "minerva") else 64)
    assert BenchmarkConfig.model_validate(name).k == repeats
    (tmp_path / f"{name}.jsonl").write_text("\n".join(rows[:4]) + "\n")
    if name != "olympiadbench":
        with pytest.raises(ValueError, match=f"4 problems where {SETS[name]} are expected"):
            documents.benchmark(name)


def test_a_wrong_folder_template_or_count_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MATH_DATA_DIR", str(tmp_path))
    with pytest.raises(ValueError, match=r"no aime24\.jsonl there"):
        documents.benchmark("aime24")
    with pytest.raises(ValueError, match="template=haiku: not one of boxed_answer"):
        documents.benchmark("aime24", template="haiku")
    (tmp_path / "aime24.jsonl").write_text(json.dumps({"problem": "q", "answer": "25"}) + "\n")
    with pytest.raises(ValueError, match="1 problems where 30 are expected"):
        documents.benchmark("aime24")
    (tmp_path / "aime24.jsonl").write_text(json.dumps({"problem": "q", "answer": "2.5"}) + "\n")
    with pytest.raises(ValueError, match=r"line 1: answer='2\.5'"):
        documents.benchmark("aime24")
