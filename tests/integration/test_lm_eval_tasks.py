"""Tasks of lm-eval as evaluations of a run: on the base and the checkpoint, and once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("lm_eval")

from lm_eval.tasks import TaskManager

from analysis.report.build import build_report
from analysis.study.load import load_study
from harness.evaluation import lm_eval_tasks
from harness.identity import base_folder, run_folder
from harness.launch.execute import execute
from harness.launch.status import decide
from harness.records.lm_eval import lm_eval_paths, read_lm_eval
from harness.records.records import read_run
from harness.schema.run_config import RunConfig
from tests.integration.test_resume import config_at, quiet

NUMBERS = range(1, 7)
COMMON = """
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
doc_to_text: "{{{{question}}}}"
metadata: {{version: 2.0}}
"""
CHOICE = """
task: own_choice
output_type: multiple_choice
doc_to_target: "{{right}}"
doc_to_choice: "{{choices}}"
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
"""
WRITTEN = """
task: own_written
output_type: generate_until
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 6}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
"""
GROUP = """
group: own_group
task: [own_choice]
aggregate_metric_list: [{metric: acc, weight_by_size: true}]
"""


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of tasks of one's own; lm-eval's whole index takes longer to read than the test."""

    def manager(include_path: str | None) -> TaskManager:
        return TaskManager(include_path=include_path, include_defaults=False)

    monkeypatch.setattr(lm_eval_tasks, "_manager", manager)
    folder = tmp_path / "tasks"
    folder.mkdir()
    rows = [
        {"question": f"{n}+{n}=", "answer": str(2 * n), "choices": ["1", str(2 * n)], "right": 1}
        for n in NUMBERS
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    common = COMMON.format(file=folder / "rows.jsonl")
    (folder / "choice.yaml").write_text(CHOICE + common)
    (folder / "written.yaml").write_text(WRITTEN + common)
    (folder / "group.yaml").write_text(GROUP)
    return folder


def config_with(folder: Path, tasks: Path, *names: str) -> RunConfig:
    asked = ",".join(f"{{task: {name}, include_path: {tasks}}}" for name in names)
    small = ("trainer.steps=1", "eval.splits=[test]", "eval.k=1", "eval.greedy=false", "study=kept")
    return config_at(folder, *small, f"eval.lm_eval=[{asked}]")


@pytest.mark.timeout(300)
def test_a_run_has_tasks_of_lm_eval_before_and_after(tmp_path: Path, tasks: Path) -> None:
    first = config_with(tmp_path / "out", tasks, "own_choice", "own_written")
    assert execute(first, overrides=[], report=quiet) == "finished"
    folder, base = run_folder(first), base_folder(first)
    found = {record.task: record for record in map(read_lm_eval, lm_eval_paths(folder))}
    assert found.keys() == {"own_choice", "own_written"} and {r.step for r in found.values()} == {1}
    choice = found["own_choice"]
    assert choice.results["own_choice"].keys() == {"acc,none", "acc_norm,none"}
    scores = choice.scores["own_choice"]["acc,none"]
    assert len(scores) == len(NUMBERS) == choice.num_documents["own_choice"]
    assert choice.results["own_choice"]["acc,none"] == pytest.approx(sum(scores) / len(scores))
    assert choice.higher_is_better["own_choice"]["acc"] and choice.versions["own_choice"] == "2.0"
    before = {record.task: record for record in map(read_lm_eval, lm_eval_paths(base))}
    assert {r.step for r in before.values()} == {0} and before["own_choice"].documents == choice.documents
    assert read_run(folder).eval_keys["lm_eval/own_choice"] == choice.key
    assert decide(first)[0] == "skip"

    more = config_with(tmp_path / "out", tasks, "own_choice", "own_group")
    assert run_folder(more) == folder and decide(more)[0] == "evaluate"
    stamps = {path: path.stat().st_mtime_ns for path in lm_eval_paths(folder)}
    assert execute(more, overrides=[], report=quiet) == "finished"
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps  # what was there is not done again
    (group,) = [read_lm_eval(p) for p in lm_eval_paths(folder) if p.name == "own_group.json"]
    assert group.results["own_group"]["acc,none"] == choice.results["own_choice"]["acc,none"]
    assert decide(more)[0] == "skip"
    (path,) = [path for path in stamps if path.name == "own_choice.json"]
    path.write_text("{")
    assert decide(more)[0] == "evaluate"

    report = build_report(load_study(folder.parent), figures=False)
    (table,) = [table for table in report.tables if table.name == "lm_eval"]
    rows = {(row["task"], row["metric"]): row for row in table.raw.to_dict("records")}
    value = group.results["own_group"]["acc,none"]
    assert rows["own_group", "acc,none"]["after"] == value
    assert rows["own_group", "acc,none"]["change"] == pytest.approx(
        value - before["own_choice"].results["own_choice"]["acc,none"]
    )
    assert any("own_choice.json" in note for note in report.notes)  # the damaged one is named
