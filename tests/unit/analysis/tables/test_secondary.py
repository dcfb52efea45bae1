"""Secondary views, and the tables that show them: against scipy, rliable or numbers by construction."""

from __future__ import annotations

import json
from math import sqrt
from pathlib import Path

import numpy as np
import pytest

from analysis.report.build import build_report
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
    assert table.cells[0][-1] == "no margin declared" and table.cells[0][4].endswith(" for 3.0")
    declare(folder, declared={"margin": 0.5, "family": [], "fixed": []})
    study, primary, results = load(folder)
    row = finding_table(study, primary, results).raw.iloc[0]
    treated = next(r for r in results if r.control)
    d = [a - b for a, b in zip(*(_accuracies(folder, o) for o in ("grpo", "sft_rejection")), strict=True)]
    assert row["sd_of_differences"] == pytest.approx(np.std(d, ddof=1))
    expected = tost(d, margin=0.5)
    assert row["tost_p"] == pytest.approx(expected.p_value) and expected.equivalent
    # 50 points hold the untrained base as well: the test passes, and shows nothing.
    assert row["equivalent"] == False and row["margin"] == 0.5  # noqa: E712
    assert power(effect=row["smallest_detectable"], sd=np.std(d, ddof=1), num_seeds=4) == pytest.approx(0.8)
    assert treated.label == row["arm"]
    declare(folder, declared={"margin": {"share": 0.25}})
    study, primary, results = load(folder)
    row = finding_table(study, primary, results).raw.iloc[0]
    control = next(r for r in results if r.control is None)
    assert row["margin"] == pytest.approx(0.25 * control.gain.estimate)
    answer = build_report(study, figures=False).answers[1]
    assert "objective=grpo is better than objective=sft_rejection: " in answer


def test_a_declared_null_is_answered_for(make_study) -> None:
    folder = make_study()
    declare(folder, declared={"nulls": ["sft_rejection"]})
    study = load_study(folder)
    said = [a for a in build_report(study, figures=False).answers if "null control" in a]
    gains = {r.label: r.gain for r in arm_results(study, primary_of(study)) if "sft" in r.label}
    assert said == [
        f"{label} is a null control, which ought not to gain over its base: "
        f"{interval_text(gain, signed=True)} points."
        for label, gain in gains.items()
    ]


def test_whether_training_helped_is_not_asked_of_a_null(make_study) -> None:
    folder = make_study()
    primary = {"factor": "objective", "contrast": "grpo"}
    declare(folder, primary=primary)
    assert (
        build_report(load_study(folder), figures=False)
        .answers[0]
        .startswith("Did training help? sft_rejection ")
    )
    declare(folder, primary=primary, declared={"nulls": ["sft_rejection"]})
    answers = build_report(load_study(folder), figures=False).answers
    assert answers[0].startswith("Did training help? grpo ")
    assert not any("gain of sft_rejection" in line for line in answers)


def test_the_declared_contrast_is_answered_first(make_study) -> None:
    folder = make_study(seeds=3, models=("xs",))
    record = json.loads((folder / "study.json").read_text())
    record["factors"]["objective"] = ["sft_rejection", "other", "grpo"]
    record["arms"].append(
        {**record["arms"][1], "label": "other", "levels": {"objective": "other", "model": "xs"}}
    )
    declare(folder, **record)
    assert "objective=other" in build_report(load_study(folder), figures=False).answers[1]
    declare(folder, primary={"factor": "objective", "contrast": "grpo"})
    assert "objective=grpo" in build_report(load_study(folder), figures=False).answers[1]


def _accuracies(folder: Path, objective: str) -> list[float]:
    paths = sorted(folder.glob(f"{objective}-xs-s*/eval/step_*/aime_gen_test.json"))
    return [float(np.mean(json.loads(path.read_text())["correct"])) for path in paths]


def test_views_show_rliables_measures_without_an_interval(make_study) -> None:
    folder = make_study(seeds=4, models=("xs",))
    table = views_table(*load(folder))
    raw = table.raw.set_index("view")
    grpo, sft = (_accuracies(folder, name) for name in ("grpo", "sft_rejection"))
    # IQM of four runs: the mean of the middle two.
    middle = [sum(sorted(x)[1:3]) / 2 for x in (grpo, sft)]
    assert raw.loc["IQM difference", "estimate"] == pytest.approx(middle[0] - middle[1])
    wins = [(a > b) + 0.5 * (a == b) for a in grpo for b in sft]
    assert raw.loc["P(improvement)", "estimate"] == pytest.approx(np.mean(wins))
    assert raw.loc["crossed t", "estimate"] == pytest.approx(raw.loc["paired t", "estimate"])
    assert raw.loc[["IQM difference", "P(improvement)"], ["low", "high"]].isna().all(axis=None)
    assert raw.loc[["paired t", "crossed t"], ["low", "high"]].notna().all(axis=None)
    assert "[" in table.cells[0][2] and "[" not in table.cells[0][3] + table.cells[0][4]


def test_variance_table_splits_one_runs_variance(make_study) -> None:
    folder = make_study(seeds=4, models=("xs",))
    row = variance_table(*load(folder)).raw.iloc[0]
    grid = np.array(
        [
            np.mean(json.loads(path.read_text())["correct"], axis=1)
            for path in sorted(folder.glob("sft_rejection-xs-s*/eval/step_*/aime_gen_test.json"))
        ]
    )
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
    found["anatomy"].remove("no training")  # the base, which is no arm of the plan
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
