"""What the seeds of a study drew anew, and the interval that follows from it."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean

import numpy as np
import pytest
import scipy.stats as sps

from analysis.report.build import build_report
from analysis.stats.intervals import paired_t, welch_t
from analysis.study.contrasts import arm_results, final_rows, primary_of
from analysis.study.draws import drawn_anew, limits_text, what_varies
from analysis.study.headlines import headlines
from analysis.study.load import load_study
from analysis.tables.path_of_arms import path_table
from analysis.tables.secondary import finding_table
from harness.records import records


def declare(folder: Path, **values: object) -> None:
    plan = records.read_study(folder)
    records.write_record(folder / "study.json", plan.model_copy(update=values))


def change_runs(folder: Path, data: dict | None = None, benchmarks: list | None = None) -> None:
    """Give the runs' configs generated data; `{seed}` stands for the run's own."""
    for path in folder.glob("*/run.json"):
        run = records.read_run(path.parent)
        seed = run.config["seed"]
        run.config["data"] = {"dataset": "aime_gen", "data_seed": 0} | {
            k: seed if v == "{seed}" else v for k, v in (data or {}).items()
        }
        run.config["eval"] = {"benchmarks": benchmarks or []}
        records.write_record(path, run)


def test_the_unpaired_interval_is_welchs() -> None:
    rng = np.random.default_rng(1)
    for n, m in ((3, 3), (5, 4), (10, 6)):
        a, b = rng.normal(0.3, 0.02, n), rng.normal(0.28, 0.05, m)
        for level in (0.95, 0.9):
            found = welch_t(a, b, level=level)
            expected = sps.ttest_ind(a, b, equal_var=False)
            bounds = expected.confidence_interval(level)
            assert (found.low, found.high) == pytest.approx((bounds.low, bounds.high))
            assert (found.p_value, found.df) == pytest.approx((expected.pvalue, expected.df))
            assert found.estimate == pytest.approx(a.mean() - b.mean()) and found.n == min(n, m)
    assert "2 seeds: 3 are needed" in str(welch_t([0.1, 0.2], [0.1, 0.2, 0.3]).reason)
    assert "no spread" in str(welch_t([0.1] * 3, [0.2] * 3).reason)


def test_a_shared_base_is_compared_unpaired_where_the_launch_ruled_so(make_study) -> None:
    folder = make_study(seeds=4)
    study = load_study(folder)
    before = [r.difference for r in arm_results(study, primary_of(study)) if r.control]
    assert [d.method for d in before if d] == ["paired t"] * 2  # as studies from before the rule
    primary = {"factor": "objective", "path": ["sft_rejection", "grpo"]}
    declare(folder, declared={"pairing": "unpaired", "draws": "shared", "margin": 0.05}, primary=primary)
    study = load_study(folder)
    results, task = arm_results(study, primary_of(study)), "aime_gen_test"
    values = {
        r.label: np.array([row["avg"] for row in final_rows(study, r.label, task).values()]) for r in results
    }
    for r in (r for r in results if r.control):
        expected = sps.ttest_ind(values[r.label], values[str(r.control)], equal_var=False)
        assert r.difference is not None and r.difference.p_value == pytest.approx(expected.pvalue)
        assert r.difference.method == "Welch t" and r.gain is not None and r.gain.method == "paired t"
    # Averaged over the other factor: each side's mean over the sizes at a seed.
    sides = [
        np.mean([v for label, v in values.items() if f"={level} " in label], axis=0)
        for level in ("grpo", "sft_rejection")
    ]
    (headline,) = headlines(study, primary_of(study))
    expected = sps.ttest_ind(*sides, equal_var=False)
    assert headline.difference is not None
    assert headline.difference.p_value == pytest.approx(expected.pvalue)
    assert headline.difference.df == pytest.approx(expected.df)
    assert path_table(study, primary_of(study)).raw["p_value"][0] == pytest.approx(expected.pvalue)
    # TOST by Welch as well: the larger of two one-sided p.
    row = finding_table(study, primary_of(study), results).raw.iloc[0]
    a, b = (values[label] for label in (row["arm"], results[0].label))
    one_sided = [
        sps.ttest_ind(a + 0.05, b, equal_var=False, alternative="greater").pvalue,
        sps.ttest_ind(a - 0.05, b, equal_var=False, alternative="less").pvalue,
    ]
    assert row["tost_p"] == pytest.approx(max(one_sided))
    report = build_report(study, figures=False)
    assert "Arms are compared unpaired (Welch)" in report.answers[-1]
    arms = next(t for t in report.tables if t.name == "arms")
    assert "differences to the control unpaired (Welch)" in arms.note


def test_an_arms_of_other_problems_is_in_no_unpaired_difference(make_study) -> None:
    folder = make_study(models=("xs",))
    declare(folder, declared={"pairing": "unpaired"})
    for path in folder.glob("grpo-*/eval/*/aime_gen_test.json"):
        made = records.read_eval(path)
        ids = [f"other-{i}" for i in range(20)]
        records.write_record(path, made.model_copy(update={"problem_ids": ids}))
    study = load_study(folder)
    assert [r.difference for r in arm_results(study, primary_of(study))] == [None, None]


def test_what_is_drawn_anew_is_read_from_the_runs(make_study) -> None:
    folder = make_study(models=("xs",))
    change_runs(folder)
    study = load_study(folder)
    assert drawn_anew(study) == []
    assert what_varies(study).startswith("training and rollout seeds only; problems are fixed, and so is")
    assert arm_results(study, primary_of(study))[1].crossed is not None
    declare(folder, shared_base=False)
    assert what_varies(load_study(folder)) == "seeds, each with a base of its own; problems are fixed"
    # Ids alone would not tell: a family and a level may have the same at every draw.
    change_runs(folder, {"data_seed": "{seed}"})
    study = load_study(folder)
    assert drawn_anew(study) == ["a base", "training problems", "test problems"]
    said = "seeds, each with a base, training problems and test problems of its own; families of problems"
    assert what_varies(study) == f"{said} are fixed"
    assert limits_text(study).startswith("They say nothing about other families of problems, nor about bases")
    _, grpo = arm_results(study, primary_of(study))
    assert grpo.crossed is None and grpo.difference is not None and grpo.difference.method == "paired t"
    task = "aime_gen_test"
    rows = [final_rows(study, r.label, task) for r in arm_results(study, primary_of(study))]
    d = [rows[1][s]["avg"] - rows[0][s]["avg"] for s in rows[0]]
    assert (
        grpo.difference.estimate == pytest.approx(mean(d)) and grpo.difference.p_value == paired_t(d).p_value
    )


def test_a_benchmark_is_the_same_for_every_draw(make_study) -> None:
    folder = make_study(models=("xs",))
    change_runs(folder, {"data_seed": "{seed}"}, [{"task": "aime_gen_mini", "name": "test"}])
    study = load_study(folder)
    assert drawn_anew(study) == ["training problems"]
    text = "seeds, each with training problems of its own; test problems and families of problems are fixed"
    assert what_varies(study) == f"{text}, and so is the shared base"
    assert arm_results(study, primary_of(study))[1].crossed is not None


def test_a_fixed_data_set_has_no_draws_and_arms_of_one_seed_share_theirs(make_study) -> None:
    folder = make_study(models=("xs",))
    change_runs(folder, {"dataset": "gsm8k", "data_seed": "{seed}"})
    assert drawn_anew(load_study(folder)) == []
    change_runs(folder, {"data_seed": "{seed}"})
    path = folder / "grpo-xs-s1-abcd" / "run.json"
    run = records.read_run(path.parent)
    run.config["data"]["data_seed"] = 7
    records.write_record(path, run)
    study = load_study(folder)
    _, grpo = arm_results(study, primary_of(study))
    assert grpo.difference is not None and grpo.difference.n == 2  # seed 1 has other problems in the two
    assert any(
        "under other problems than the first arm" in n for n in build_report(study, figures=False).notes
    )


def test_draws_of_ones_own_are_no_fault_of_the_design(make_study) -> None:
    folder = make_study(models=("xs",))
    change_runs(folder, {"data_seed": "{seed}"})
    for path in folder.glob("*/run.json"):
        run = records.read_run(path.parent)
        records.write_record(path, run.model_copy(update={"data_hash": f"d{run.config['seed']}"}))
    told = [n for n in build_report(load_study(folder), figures=False).notes if "data" in n]
    assert len(told) == 3 and "data versions" in told[0] and "differ among themselves" in told[1]
    declare(folder, declared=json.loads('{"draws": "per_seed"}'))
    assert [n for n in build_report(load_study(folder), figures=False).notes if "data" in n] == []
