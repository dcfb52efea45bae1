"""Problems against their twins with other numbers, for whatever tasks hold both, against scipy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.stats as sps

from analysis.report.build import build_report
from analysis.study.load import load_study
from analysis.tables.memorisation import memorisation_table, twin_tasks

ARM = "objective=grpo model=xs"


def rates(folder: Path, pattern: str) -> np.ndarray:
    """[seeds, problems], straight from the JSON."""
    paths = sorted(folder.glob(pattern))
    return np.array([np.mean(json.loads(path.read_text())["correct"], axis=1) for path in paths])


def test_the_gap_its_base_and_the_change_are_paired_by_problem_and_seed(make_study) -> None:
    folder = make_study(seeds=4, models=("xs",))
    after = [rates(folder, f"grpo-xs-s*/eval/*/aime_gen_{s}.json") for s in ("train", "perturbed")]
    before = [rates(folder.parent, f"bases/base-xs/eval/*/aime_gen_{s}.json") for s in ("train", "perturbed")]
    gaps, base = ((a - b).mean(axis=1) for a, b in (after, before))
    row = memorisation_table(load_study(folder)).raw.set_index("arm").loc[ARM]
    assert (row["problems"], row["twins"]) == ("aime_gen_train", "aime_gen_perturbed")
    for name, d in (("gap", gaps), ("base", base), ("change", gaps - base)):
        found = sps.ttest_1samp(d, 0)
        assert row[name] == pytest.approx(d.mean()) and row[f"{name}_p_value"] == pytest.approx(found.pvalue)
        low, high = found.confidence_interval()
        assert (row[f"{name}_low"], row[f"{name}_high"]) == pytest.approx((low, high))
    one = sps.ttest_rel(after[0][0], after[1][0])
    assert row["one_run_p_value"] == pytest.approx(one.pvalue)


def test_twins_of_test_problems_in_a_benchmark_are_found(make_study) -> None:
    """As gsm8k_perturbed is to gsm8k: a task of its own whose pairs are the test's."""
    folder = make_study(models=("xs",))
    for path in [*folder.parent.glob("*/*/eval/*/aime_gen_perturbed.json")]:
        record = json.loads(path.read_text())
        record |= {"task": "gsm8k_perturbed", "split": "gsm8k_perturbed"}
        record["pair_ids"] = [f"test-{i}" if i < 15 else None for i in range(20)]
        path.with_name("gsm8k_perturbed.json").write_text(json.dumps(record))
        path.unlink()
    study = load_study(folder)
    assert twin_tasks(study) == [("aime_gen_test", "gsm8k_perturbed")]
    row = memorisation_table(study).raw.set_index("arm").loc[ARM]
    test, twins = (rates(folder, f"grpo-xs-s*/eval/*/{t}.json") for t in ("aime_gen_test", "gsm8k_perturbed"))
    assert row["gap"] == pytest.approx((test[:, :15] - twins[:, :15]).mean())


def test_without_twins_it_is_said(make_study) -> None:
    folder = make_study(models=("xs",))
    for path in folder.parent.glob("*/*/eval/*/aime_gen_perturbed.json"):
        path.unlink()
    said = [line for s in build_report(load_study(folder), figures=False).sections for line in s.text]
    assert any("No memorisation gap" in line for line in said)
