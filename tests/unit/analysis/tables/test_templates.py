"""The base under every template: a control row, and no column of the trained arms."""

from __future__ import annotations

from pathlib import Path

from analysis.study.contrasts import evaluated_tasks
from analysis.study.load import load_study
from analysis.tables.measures import templates_table
from harness.records import records
from tests.unit.analysis.conftest import evaluation, write_evaluation


def with_templates(study: Path) -> None:
    """The base's test split as the arms are trained, right 3 times in 10, and boxed, 8 times in 10."""
    base = study.parent / "bases" / "base-xs"
    for seed in range(3):
        own = evaluation(0.3, split="test", seed=seed, step=0, run_id=None, base=base.name)
        write_evaluation(base, own.model_copy(update={"template": "question"}))
        boxed = evaluation(0.8, split="test", seed=seed, step=0, run_id=None, base=base.name)
        changes = {
            "template": "boxed_answer",
            "task": "aime_gen_test_boxed_answer",
            "key": f"boxed{seed}",
            "checkpoint": f"base-boxed{seed}",
        }
        write_evaluation(base, boxed.model_copy(update=changes))
    for path in study.glob("*-xs-*/run.json"):
        run = records.read_run(path.parent)
        run.eval_keys = {"aime_gen_test_boxed_answer": f"boxed{run.config['seed']}"}
        records.write_record(path, run)


def test_the_base_stands_under_each_of_its_templates(make_study) -> None:
    study = make_study()
    assert templates_table(load_study(study)).cells == []
    before = evaluated_tasks(load_study(study))
    with_templates(study)
    loaded = load_study(study)
    table = templates_table(loaded)
    assert table.columns == ["base", "template", "test"]
    assert [row[:2] for row in table.cells] == [["base-xs", "boxed_answer"], ["base-xs", "question"]]
    boxed, own = table.raw["avg"]
    expected = [
        sum(map(sum, evaluation(rate, split="test", seed=s, step=0, run_id=None, base="b").correct)) / 80
        for rate in (0.3, 0.8)
        for s in range(3)
    ]
    assert abs(own - sum(expected[:3]) / 3) < 1e-12 and abs(boxed - sum(expected[3:]) / 3) < 1e-12
    assert evaluated_tasks(loaded) == before
