"""best_of_k in the report: a column of its own where a reward model chose among the samples."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.report.build import build_report
from analysis.study.load import load_study
from harness.records import records


def measures(folder: Path):
    return next(t for t in build_report(load_study(folder), figures=False).tables if t.name == "measures")


def test_the_best_of_k_stands_beside_the_vote_with_both_errors(make_study: Callable[..., Path]) -> None:
    study = make_study()
    assert not [c for c in measures(study).columns if "best" in c]
    for path in study.glob("*/eval/step_*/aime_gen_test.json"):
        record = records.read_eval(path)
        # The model prefers the second sample; in every second problem it cannot tell the first two apart.
        scores = [[0.5 if i % 2 else 0.1, 0.5, 0.2, 0.3] for i in range(record.n_problems)]
        made = record.model_copy(update={"rerank_scores": {"process": scores}})
        records.write_record(path, made)
    table = measures(study)
    names = [c for c in table.columns if "best" in c]
    assert names == [f"best of 4, process model{end}" for end in ("", ": SE sampling", ": SE problems")]
    loaded = load_study(study)
    for row in table.raw.to_dict("records"):
        values = []
        for run in loaded.finished[loaded.finished["arm"] == row["arm"]]["run_id"]:
            record = records.read_eval(next((study / run).glob("eval/step_*/aime_gen_test.json")))
            pairs = [(c[0], c[1]) for c in record.correct]
            values.append(sum((a + b) / 2 if i % 2 else b for i, (a, b) in enumerate(pairs)) / len(pairs))
        assert row["best_process"] == pytest.approx(sum(values) / len(values))
        assert row["best_process_se_problems"] > 0 and row["best_process_se_sampling"] > 0
