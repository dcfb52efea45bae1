"""Secondary views, and the tables that show them: against scipy, rliable or numbers by construction."""

from __future__ import annotations

import json
from math import sqrt
from pathlib import Path

import numpy as np
import pytest
import scipy.stats as sps

from analysis.report.build import build_report
from analysis.stats.bootstrap import crossed_bootstrap, two_sample_bootstrap
from analysis.stats.inference import power, tost, variance_components
from analysis.stats.intervals import interquartile_mean, probability_of_improvement
from analysis.stats.text import interval_text
from analysis.study.contrasts import arm_results, primary_of
from analysis.study.load import load_study
from analysis.tables.secondary import finding_table, pilot_table, variance_table, views_table

RNG = np.random.default_rng(11)


def test_rliable_agrees() -> None:
    metrics = pytest.importorskip("rliable.metrics")
    a, b = RNG.normal(size=(7, 5)), RNG.normal(size=(6, 5))
    assert interquartile_mean(a) == pytest.approx(metrics.aggregate_iqm(a))
    assert probability_of_improvement(a, b) == pytest.approx(metrics.probability_of_improvement(a, b))


def test_two_sample_bootstrap_agrees_with_scipy() -> None:
    a, b = RNG.normal(0.5, 1, 20), RNG.normal(0, 2, 25)
    difference = lambda x, y, axis=None: np.mean(x, axis=axis) - np.mean(y, axis=axis)  # noqa: E731
    ours = two_sample_bootstrap(a, b, statistic=difference, seed=1, num_resamples=20_000)
    theirs = sps.bootstrap((a, b), difference, method="percentile", n_resamples=20_000, random_state=2)
    low, high = theirs.confidence_interval
    assert ours.estimate == pytest.approx(a.mean() - b.mean())
    assert (ours.low, ours.high) == pytest.approx((low, high), abs=0.05)


def test_stratified_bootstrap_draws_each_task_on_its_own() -> None:
    # Two tasks, a's runs 0 and 1 in each against b = 0. P(improvement) over both tasks takes 0.5 + k/n, with
    # tasks drawn apart: the mean of two independent halves of 3 runs, so its variance is half of one task's.
    a = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 1.0], [1.0, 1.0]])
    b = np.zeros((4, 2))
    one = two_sample_bootstrap(
        a[:, :1], b[:, :1], statistic=probability_of_improvement, seed=3, num_resamples=20_000
    )
    both = two_sample_bootstrap(a, b, statistic=probability_of_improvement, seed=3, num_resamples=20_000)
    # One task: (1 + share of ones) / 2, and the share's variance is 1/4 / 4: sd 0.125.
    assert one.se == pytest.approx(0.125, rel=0.03)
    assert both.se == pytest.approx(0.125 / sqrt(2), rel=0.03)


def test_pigeonhole_bootstrap_by_brute_force() -> None:
    d = RNG.normal(size=(4, 6)) + RNG.normal(size=(4, 1)) + RNG.normal(size=(1, 6))
    result = crossed_bootstrap(d, seed=1, num_resamples=20_000)
    rng = np.random.default_rng(5)
    draws = [d[rng.integers(4, size=4)][:, rng.integers(6, size=6)].mean() for _ in range(20_000)]
    assert result.se == pytest.approx(np.std(draws), rel=0.03)
    assert (result.low, result.high) == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])), abs=0.05)
    assert "3 of each" in crossed_bootstrap(d[:2], seed=1).reason


def load(folder: Path):
    study = load_study(folder)
    primary = primary_of(study)
    return study, primary, arm_results(study, primary)


def declare(folder: Path, **values: object) -> None:
    path = folder / "study.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_equivalence_uses_the_declared_margin_and_power_its_size(make_study) -> None:
    folder = make_study(seeds=4, models=("xs",))
    table = finding_table(*load(folder))
    assert table.cells[0][-1] == "no margin declared" and "seeds for 3.0 points" in table.columns
    declare(folder, declared={"margin": 0.5, "family": [], "fixed": []})
    study, primary, results = load(folder)
    row = finding_table(study, primary, results).raw.iloc[0]
    treated = next(r for r in results if r.control)
    d = [
        a - b
        for a, b in zip(*(_accuracies(folder, o) for o in ("grpo", "sft_rejection")), strict=True)
    ]  # fmt: skip
    assert row["sd_of_differences"] == pytest.approx(np.std(d, ddof=1))
    expected = tost(d, margin=0.5)
    assert row["tost_p"] == pytest.approx(expected.p_value) and row["equivalent"] == expected.equivalent
    assert power(effect=row["smallest_detectable"], sd=np.std(d, ddof=1), num_seeds=4) == pytest.approx(0.8)
    assert treated.label == row["arm"]
    answer = build_report(study, figures=False).answers[0]
    word = "Equivalent within" if expected.equivalent else "Equivalence is not shown within"
    assert f"{word} the declared ±50.0 points" in answer


def test_a_declared_null_is_answered_for(make_study) -> None:
    folder = make_study()
    declare(folder, declared={"nulls": ["sft_rejection"]})
    study = load_study(folder)
    said = [a for a in build_report(study, figures=False).answers if "null control" in a]
    gains = {r.label: r.gain for r in arm_results(study, primary_of(study)) if "sft" in r.label}
    assert said == [
        f"{label} is a null control, whose gain over the base ought to be 0: "
        f"{interval_text(gain, signed=True)} points."
        for label, gain in gains.items()
    ]


def test_the_declared_contrast_is_answered_first(make_study) -> None:
    folder = make_study(seeds=3, models=("xs",))
    record = json.loads((folder / "study.json").read_text())
    record["factors"]["objective"] = ["sft_rejection", "other", "grpo"]
    record["arms"].append(
        {**record["arms"][1], "label": "other", "levels": {"objective": "other", "model": "xs"}}
    )
    declare(folder, **record)
    assert "objective=other" in build_report(load_study(folder), figures=False).answers[0]
    declare(folder, primary={"factor": "objective", "contrast": "grpo"})
    assert "objective=grpo" in build_report(load_study(folder), figures=False).answers[0]


def _accuracies(folder: Path, objective: str) -> list[float]:
    paths = sorted(folder.glob(f"{objective}-xs-s*/eval/step_*/aime_gen_test.json"))
    return [float(np.mean(json.loads(path.read_text())["correct"])) for path in paths]


def test_views_hold_the_same_estimate(make_study) -> None:
    table = views_table(*load(make_study(seeds=4)))
    raw = table.raw.set_index(["arm", "view"])["estimate"]
    for arm in table.raw["arm"].unique():
        for view in ("crossed t", "bootstrap", "crossed bootstrap"):
            assert raw[arm, view] == pytest.approx(raw[arm, "paired t"])
        assert 0.5 <= raw[arm, "P(improvement)"] <= 1  # the fixture's treated arms are better by far


def test_variance_table_splits_one_runs_variance(make_study) -> None:
    folder = make_study(seeds=4, models=("xs",))
    row = variance_table(*load(folder)).raw.iloc[0]
    grid = np.array([
        np.mean(json.loads(path.read_text())["correct"], axis=1)
        for path in sorted(folder.glob("sft_rejection-xs-s*/eval/step_*/aime_gen_test.json"))
    ])  # fmt: skip
    found = variance_components(grid[None], num_samples=4)
    assert row["samples"] == pytest.approx(sqrt(found.sampling / 20))
    assert row["seeds"] == pytest.approx(sqrt(found.seeds)) and np.isnan(row["bases"] or np.nan)


def test_family_is_the_declared_one(make_study) -> None:
    folder = make_study(seeds=4)
    both = [r.p_holm for r in load(folder)[2] if r.control]
    declare(folder, declared={"family": ["nothing of the sort"]})
    assert [r.p_holm for r in load(folder)[2] if r.control] == [None, None]
    assert all(p is not None for p in both)


def test_an_arm_has_one_label_in_every_table(make_study) -> None:
    """A factor that is called `arm`, in a study written when its label still repeated that."""
    folder = make_study(seeds=3, models=("xs",))
    record = json.loads((folder / "study.json").read_text())
    names = {}
    for arm in record["arms"]:
        level = names[arm["label"]] = arm["levels"]["objective"]
        arm |= {"label": f"arm={level}", "levels": {"arm": level}}
    control = {"arm": record["control"]["objective"]}
    pilot = [{"arm": f"arm={x}", "chosen": 1e-3, "tried": {"1e-3": {"100": 0.2}}} for x in names.values()]
    declare(folder, arms=record["arms"], factors={"arm": list(names.values())}, control=control, pilot=pilot)
    tables = build_report(load_study(folder), figures=False).tables
    found = {t.name: set(t.raw["arm"]) for t in tables if "arm" in t.raw}
    assert {"arms", "measures", "learning_rates", "variance"} <= set(found)
    assert all(labels <= set(names.values()) for labels in found.values()), found
    (arms,) = (t for t in tables if t.name == "arms")
    assert set(arms.raw["control"].dropna()) == set(control.values())


def test_learning_rates_tried_are_shown(make_study) -> None:
    folder = make_study(seeds=3, models=("xs",))
    assert pilot_table(load_study(folder)).cells == []
    tried = {"1e-4": {"100": 0.2}, "1e-3": {"100": 0.25, "101": 0.35}}
    declare(folder, pilot=[{"arm": "objective=grpo", "chosen": 1e-3, "edge": True, "tried": tried}])
    report = build_report(load_study(folder), figures=False)
    (table,) = (t for t in report.tables if t.name == "learning_rates")
    assert table.cells == [["objective=grpo", "0.001 (edge of the grid)", "20.0", "30.0"]]
    assert "so that a better one may lie beyond: objective=grpo (0.001)" in "\n".join(report.notes)
