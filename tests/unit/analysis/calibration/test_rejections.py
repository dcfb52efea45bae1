"""A made A/A study with a grid of rates: which tests reject, by brute force."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import scipy.stats as sps

from analysis.__main__ import main
from analysis.calibration.aa import aa_variances, check_alike
from analysis.calibration.rejections import rejections, sound
from analysis.study.load import load_study
from harness.records import records
from harness.records.records import Arm, StudyRecord
from tests.unit.analysis.conftest import run_record, write_evaluation
from tests.unit.analysis.study.test_rates import scored

RATES, SEEDS, ARMS = ("1e-05", "0.0001", "0.001"), range(5), ("0", "1", "2")
RNG = np.random.default_rng(8)
# Right samples of 80 by arm, seed and rate; arm 2 is 8 better on the test, so that some tests reject.
VALIDATION = RNG.integers(20, 40, (3, 5, 3))
TEST = RNG.integers(30, 44, (3, 5, 3)) + np.array([0, 0, 8])[:, None, None]


def aa_study(folder: Path, *, own_problems: bool = True) -> Path:
    """Three arms, five seeds, three rates; each seed has a base and problems of its own."""
    study, arms = folder / "outputs" / "calibration", []
    for a, label in enumerate(ARMS):
        rates: dict[str, dict[str, str]] = {}
        for r, rate in enumerate(RATES):
            for seed in SEEDS:
                rates.setdefault(rate, {})[str(seed)] = name = f"grpo-xs-s{seed}-{a}{r}"
                record = run_record(name, "grpo", "xs", seed, base_id=f"base{seed}")
                record.config["trainer"]["lr"] = float(rate)
                record.config |= {"base_seed": seed, "replicate": a}
                record.config["data"] = {"dataset": "aime_gen", "data_seed": seed if own_problems else 0}
                records.write_record(study / name / "run.json", record)
                for split, table in (("test", TEST), ("validation", VALIDATION)):
                    right = int(table[a, seed, r])
                    made = scored(right, split, seed=seed, step=6, run=name, base=f"base{seed}")
                    write_evaluation(study / name, made)
        arms.append(
            Arm(label=label, levels={"replicate": label}, overrides=[f"replicate={label}"], rates=rates)
        )
    plan = StudyRecord(
        study="calibration",
        question="Do alike arms look different?",
        factors={"replicate": list(ARMS)},
        seeds=list(SEEDS),
        control={"replicate": "0"},
        arms=arms,
        shared_base=False,
        declared={"lr_grid": {"rates": [float(r) for r in RATES], "select": "per_seed"}, "pairing": "paired"},
        command="python -m harness ablation=calibration",
    )
    records.write_record(study / "study.json", plan)
    return study


def rejected(values: list[np.ndarray], seeds: list[int], size: int) -> list[bool]:
    """Paired t tests of every pair of arms on every subset of seeds, by scipy."""
    return [
        bool(sps.ttest_rel(b[list(own)], a[list(own)]).pvalue <= 0.05)
        for a, b in combinations(values, 2)
        for own in combinations(seeds, size)
    ]


def test_every_pair_and_subset_is_tested_at_the_rate_of_each_seed(tmp_path: Path) -> None:
    study = load_study(aa_study(tmp_path))
    check_alike(study)  # the rates that seeds chose are no other treatment
    three, five, pooled = rejections(study)
    best = VALIDATION.argmax(axis=2)  # the smaller rate of equal ones comes first
    chosen = [TEST[a, np.arange(5), best[a]] / 80 for a in range(3)]
    for row, size in ((three, 3), (five, 5)):
        expected = rejected(chosen, list(SEEDS), size)
        assert (row["what"], row["seeds"]) == ("rate chosen by each seed", size)
        assert row["tests"] == len(expected) and row["rejected"] == pytest.approx(np.mean(expected))
    assert three["tests"] == 3 * 10 and five["tests"] == 3 and three["rejected"] > 0
    # Each two seeds as the pilot of the other three.
    expected = []
    for pilot in combinations(SEEDS, 2):
        rate = VALIDATION[:, list(pilot)].mean(axis=1).argmax(axis=1)
        others = [s for s in SEEDS if s not in pilot]
        expected += rejected([TEST[a, :, rate[a]] / 80 for a in range(3)], others, 3)
    assert pooled["what"] == "rate chosen by two seeds for the others" and pooled["tests"] == 30
    assert pooled["rejected"] == pytest.approx(np.mean(expected)) and len(expected) == 30


def test_a_pilots_rate_is_no_other_treatment_and_another_setting_is(tmp_path: Path) -> None:
    folder = aa_study(tmp_path)
    plan = records.read_study(folder)
    fixed = [
        arm.model_copy(update={"runs": arm.rates[RATES[i]], "rates": {}}) for i, arm in enumerate(plan.arms)
    ]
    row = {"arm": "replicate=0", "tried": {}, "chosen": 1e-5, "edge": False}
    piloted = plan.model_copy(update={"arms": fixed, "pilot": [row], "declared": {}})
    records.write_record(folder / "study.json", piloted)
    study = load_study(folder)
    check_alike(study)
    assert [r["what"] for r in rejections(study)] == ["rate chosen once by each arm's pilot"] * 2
    expected = rejected([TEST[a, :, a] / 80 for a in range(3)], list(SEEDS), 3)
    assert rejections(study)[0]["rejected"] == pytest.approx(np.mean(expected))
    records.write_record(folder / "study.json", piloted.model_copy(update={"pilot": []}))
    with pytest.raises(ValueError, match=r"1 differs from 0 in trainer\.lr"):
        check_alike(load_study(folder))


def test_a_sound_test_scatters_about_its_level() -> None:
    assert 0.05 < sound(5, 10, 6) < 0.2
    assert sound(5, 10, 10) >= 0.1  # one subset: ten tests, of which 95 of 100 studies reject two or fewer
    assert sound(5, 10, 6) == sound(5, 10, 6)


def test_variances_within_seeds_of_problems_of_their_own(tmp_path: Path) -> None:
    """Arms × problems inside each seed by statsmodels; nothing is crossed over seeds."""
    pd, smf = pytest.importorskip("pandas"), pytest.importorskip("statsmodels.formula.api")
    from statsmodels.stats.anova import anova_lm

    study = load_study(aa_study(tmp_path))
    found = aa_variances(study)
    y = np.array(
        [
            [study.final_rows[label, "aime_gen_test", False][str(s)]["per_problem"] for s in SEEDS]
            for label in ARMS
        ]
    )
    squares = []
    for s in SEEDS:
        frame = pd.DataFrame(
            [(a, p, y[a, s, p]) for a in range(3) for p in range(20)], columns=["a", "p", "y"]
        )
        table = anova_lm(smf.ols("y ~ C(a) + C(p)", frame).fit())["mean_sq"]
        squares.append((table["C(a)"], table["Residual"]))
    ms_arm, error = np.mean(squares, axis=0)
    assert found.own_problems and (found.num_problems, len(found.problems)) == (20, 100)
    assert found.arm_seed == pytest.approx(max(0.0, (ms_arm - error) / 20), abs=1e-12)
    bound = (ms_arm * 10 / sps.chi2.ppf(0.05, 10) - error) / 20  # (3 − 1) · 5 degrees of freedom
    assert found.arm_seed_bound == pytest.approx(bound) and found.arm_problem_bound == 0
    shared = aa_variances(load_study(aa_study(tmp_path / "shared", own_problems=False)))
    assert not shared.own_problems and len(shared.problems) == 20


def test_the_command_tells_rejections(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = aa_study(tmp_path)
    assert main(["calibrate", str(folder), "--studies", "100"]) in (0, 1)
    found = json.loads((folder / "calibration.json").read_text())
    assert len(found["rejections"]) == 3 and not any("crossed" in row["scenario"] for row in found["rows"])
    assert "real runs, rate chosen by each seed, 3 seeds:" in capsys.readouterr().out
