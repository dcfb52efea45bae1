"""The simulation of studies: its tests are those of stats, its variances those that were put in."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from analysis.__main__ import main
from analysis.calibration import aa as calibration
from analysis.calibration.aa import Variances, aa_variances, calibrate, draw, outside, paired
from analysis.stats.crossed import crossed_t
from analysis.stats.inference import holm
from analysis.stats.intervals import paired_t
from analysis.study.load import load_study

KNOWN = Variances(
    problems=np.linspace(0.1, 0.9, 40),
    k=4,
    arm_seed=0.0004,
    arm_seed_bound=0.001,
    arm_problem=0.004,
    arm_problem_bound=0.006,
    rest=0.01,
    num_arms=5,
    num_seeds=10,
    num_problems=40,
)


def test_vectorised_tests_are_those_of_stats() -> None:
    rng = np.random.default_rng(0)
    d = rng.normal(size=(50, 4, 9)) + rng.normal(size=(50, 4, 1)) * rng.integers(0, 2, (50, 1, 1))
    tests = [(paired, lambda x: paired_t(x.mean(axis=1))), (calibration.crossed, crossed_t)]
    for ours, one in tests:
        p = ours(d)
        for i in range(len(d)):
            expected = one(d[i])
            assert p[i] == pytest.approx(expected.p_value)
            assert (p[i] > 0.05) == (expected.low < 0 < expected.high)
    p_values = rng.uniform(size=(3, 20)) ** 2
    smallest = [min(holm(list(column))) for column in p_values.T]
    assert calibration.holm_smallest(p_values) == pytest.approx(smallest)


def test_variances_are_recovered_from_drawn_studies() -> None:
    """Mean squares of drawn [arms, seeds, problems], averaged, give back the variances that drew them."""
    rng = np.random.default_rng(1)
    y = draw(KNOWN, rng, 400, 6, KNOWN.arm_seed, KNOWN.arm_problem, fixed=False)
    found = np.mean([calibration._mean_squares(study) for study in y], axis=0)
    sampling = float((KNOWN.problems * (1 - KNOWN.problems)).mean()) / KNOWN.k
    error = KNOWN.rest + sampling
    expected = [error + 40 * KNOWN.arm_seed, error + 6 * KNOWN.arm_problem, error]
    assert found == pytest.approx(expected, rel=0.03)


def test_variances_of_a_study_by_statsmodels(make_study) -> None:
    pd, smf = pytest.importorskip("pandas"), pytest.importorskip("statsmodels.formula.api")
    from statsmodels.stats.anova import anova_lm

    folder = make_study(seeds=3, models=("xs",))
    y = np.array(
        [
            [
                np.mean(
                    json.loads(
                        next(folder.glob(f"{o}-xs-s{s}-*/eval/step_*/aime_gen_test.json")).read_text()
                    )["correct"],
                    axis=1,
                )
                for s in range(3)
            ]
            for o in ("sft_rejection", "grpo")
        ]
    )
    frame = pd.DataFrame(
        [(a, s, p, y[a, s, p]) for a in range(2) for s in range(3) for p in range(20)],
        columns=["a", "s", "p", "y"],
    )
    model = smf.ols("y ~ C(a) + C(s) + C(p) + C(a):C(s) + C(a):C(p) + C(s):C(p)", frame).fit()
    ms = anova_lm(model)["mean_sq"]
    v = aa_variances(load_study(folder))
    assert v.arm_seed == pytest.approx(max(0, (ms["C(a):C(s)"] - ms["Residual"]) / 20), abs=1e-12)
    assert v.arm_problem == pytest.approx(max(0, (ms["C(a):C(p)"] - ms["Residual"]) / 3), abs=1e-12)
    assert v.problems == pytest.approx(y.mean(axis=(0, 1))) and v.k == 4


def test_a_wrong_interval_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    for row in calibrate(KNOWN, studies=1000)["rows"]:  # standard errors: family-wise 0.007, power 0.013
        # With much arm × problem variance the crossed interval is somewhat wide at 3 seeds.
        assert 0.93 <= row["coverage"] <= (0.97 if "paired" in row["scenario"] else 0.99)
        assert row["fwer"] < 0.072 and abs(row.get("power", 0.8) - 0.8) < 0.04
    monkeypatch.setattr(calibration, "paired", lambda d: 0.5 * paired(d))  # half as often wrong as it says
    bad = calibrate(KNOWN, studies=1000)
    assert sum("paired" in line for line in outside(bad)) == 9


def test_the_command_writes_its_rows(make_study, tmp_path: Path, capsys) -> None:
    folder, out = make_study(seeds=3, models=("xs",)), tmp_path / "calibration.json"
    assert main(["calibrate", str(folder), "--out", str(out)]) == 2
    assert (
        "grpo model=xs differs from objective=sft_rejection model=xs in objective.name"
        in capsys.readouterr().err
    )
    for path in folder.glob("grpo-*/run.json"):
        record = json.loads(path.read_text())
        record["config"]["objective"]["name"] = "sft_rejection"
        path.write_text(json.dumps(record))
    assert main(["calibrate", str(folder), "--studies", "200", "--out", str(out)]) in (0, 1)
    rows = json.loads(out.read_text())["rows"]
    assert {row["seeds"] for row in rows} == {3, 5, 10}
    assert all({"seeds", "scenario", "coverage", "fwer", "n"} <= set(row) for row in rows)
    assert "coverage" in capsys.readouterr().out


def test_too_small_a_study_is_said(make_study) -> None:
    study = load_study(make_study(seeds=1, models=("xs",)))
    with pytest.raises(ValueError, match="2 arms share 1 seeds; calibration needs two of each"):
        aa_variances(study)
