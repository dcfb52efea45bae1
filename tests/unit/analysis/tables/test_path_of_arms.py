"""Neighbours of the declared path and main effects of every factor, paired by seed, against scipy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.stats as sps

from analysis.report.build import build_report
from analysis.study.contrasts import final_rows, primary_of
from analysis.study.headlines import headlines
from analysis.study.load import load_study
from analysis.tables.path_of_arms import main_effects_table, path_table
from harness.records.records import read_study, write_record


@pytest.fixture
def study(make_study: Callable[..., Path]) -> Path:
    folder = make_study(seeds=5)
    record = read_study(folder)
    record.primary = {"factor": "objective", "path": ["sft_rejection", "grpo"], "contrast": "grpo"}
    record.declared = {"margin": 0.05}
    write_record(folder / "study.json", record)
    return folder


def test_a_step_is_the_paired_t_of_neighbours_averaged_over_the_other_factors(study: Path) -> None:
    loaded = load_study(study)
    primary = primary_of(loaded)
    table = path_table(loaded, primary)
    (row,) = table.raw.to_dict("records")
    d = []
    for seed in map(str, range(5)):
        pairs = [
            (final_rows(loaded, f"objective={o} model={m}", primary.task)[seed]["avg"])
            for m in ("xs", "s")
            for o in ("grpo", "sft_rejection")
        ]
        d.append(np.mean([pairs[0] - pairs[1], pairs[2] - pairs[3]]))
    found = sps.ttest_1samp(d, 0)
    low, high = found.confidence_interval(0.95)
    assert (row["step"], row["against"], row["seeds"]) == ("grpo", "sft_rejection", 5)
    assert row["difference"] == pytest.approx(np.mean(d))
    assert (row["low"], row["high"]) == pytest.approx((low, high))
    assert row["p_value"] == row["p_holm"] == pytest.approx(found.pvalue)
    above = sps.ttest_1samp(d, 0.05, alternative="less").pvalue
    below = sps.ttest_1samp(d, -0.05, alternative="greater").pvalue
    assert row["tost_p"] == pytest.approx(max(above, below))
    assert "path" in [t.name for t in build_report(loaded, figures=False).tables]


def test_the_steps_are_one_family(study: Path) -> None:
    record = read_study(study)
    record.primary["path"] = ["sft_rejection", "grpo", "sft_rejection", "grpo"]
    write_record(study / "study.json", record)
    loaded = load_study(study)
    raw = path_table(loaded, primary_of(loaded)).raw
    assert raw["p_holm"].tolist() == pytest.approx([min(1.0, 3 * p) for p in raw["p_value"]])
    assert raw["difference"][0] == pytest.approx(-raw["difference"][1])


def test_without_a_path_there_is_no_table_and_the_contrast_comes_first(study: Path) -> None:
    record = read_study(study)
    record.primary = {"factor": "objective", "contrast": "grpo"}
    record.factors["objective"] = ["sft_rejection", "grpo"]
    write_record(study / "study.json", record)
    loaded = load_study(study)
    assert path_table(loaded, primary_of(loaded)).cells == []
    assert headlines(loaded, primary_of(loaded))[0].level == "grpo"


def test_every_factor_has_its_main_effect(study: Path) -> None:
    loaded = load_study(study)
    primary = primary_of(loaded)
    avg = {
        (o, m): final_rows(loaded, f"objective={o} model={m}", primary.task)
        for o in ("grpo", "sft_rejection")
        for m in ("xs", "s")
    }
    cell = lambda o, m, seed: float(avg[o, m][str(seed)]["avg"])  # noqa: E731
    by_objective = [
        np.mean([cell("grpo", m, s) - cell("sft_rejection", m, s) for m in ("xs", "s")]) for s in range(5)
    ]
    by_model = [
        np.mean([cell(o, "s", s) - cell(o, "xs", s) for o in ("grpo", "sft_rejection")]) for s in range(5)
    ]
    rows = main_effects_table(loaded, primary).raw.set_index("factor")
    tests = {"objective": sps.ttest_1samp(by_objective, 0), "model": sps.ttest_1samp(by_model, 0)}
    for factor, found in tests.items():
        row = rows.loc[factor]
        assert row["p_value"] == pytest.approx(found.pvalue) and row["cells"] == 2
        assert (row["low"], row["high"]) == pytest.approx(tuple(found.confidence_interval(0.95)))
    p = sorted(found.pvalue for found in tests.values())
    assert sorted(rows["p_holm"]) == pytest.approx([min(1, 2 * p[0]), max(min(1, 2 * p[0]), p[1])])


def test_one_factor_has_no_table_of_main_effects(make_study: Callable[..., Path]) -> None:
    loaded = load_study(make_study(models=("xs",)))
    assert main_effects_table(loaded, primary_of(loaded)).cells == []
