"""Learning rates chosen inside each seed: the choice, what enters the tables, and the response curve."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import pytest
import scipy.stats as sps

from analysis.figures.values import seeds_text
from analysis.report.build import build_report, markdown
from analysis.report.reference import reference_files
from analysis.stats.margins import Margin, tost_share
from analysis.study.contrasts import arm_results, final_rows, primary_of, what_varies
from analysis.study.differences import config_differences
from analysis.study.load import Study, load_study
from analysis.study.response import area_effects, area_under, grid_values, responses, study_responses
from analysis.tables import rates
from analysis.tables.rates import area_effects_table, choices_table, response_table
from harness.records import records
from harness.records.records import Arm, StudyRecord
from tests.unit.analysis.conftest import evaluation, run_record, write_evaluation

RATES, SEEDS, ARMS = ("1e-05", "0.0001", "0.001"), (0, 1, 2, 3), ("sft", "grpo")
# Right samples of 80 on validation by arm and seed, at each rate. sft seed 1: a tie of the two larger rates.
VALIDATION = {
    "sft": [(10, 20, 30), (10, 30, 30), (10, 40, 30), (50, 40, 30)],
    "grpo": [(10, 20, 15), (10, 30, 20), (10, 40, 30), (10, 40, 30)],
}
CHOSEN = {"sft": ["0.001", "0.0001", "0.0001", "1e-05"], "grpo": ["0.0001"] * 4}
# On test another order, so that a choice by test would show.
TEST = {
    "sft": [(60, 42, 33), (58, 41, 36), (61, 44, 30), (59, 40, 31)],
    "grpo": [(40, 52, 45), (38, 55, 49), (41, 50, 43), (37, 53, 47)],
}
BASE = 36


def scored(right: int, split: str, *, seed: int, step: int, run: str | None, base: str) -> records.EvalRecord:
    """An evaluation with `right` of 80 samples right."""
    made = evaluation(0.5, split=split, seed=seed, step=step, run_id=run, base=base)
    flat = [1] * right + [0] * (80 - right)
    random.Random(seed).shuffle(flat)
    rows = [flat[4 * i : 4 * i + 4] for i in range(20)]
    answers = [["right" if c else "wrong" for c in row] for row in rows]
    return made.model_copy(
        update={"correct": rows, "answers": answers, "greedy_correct": [r[0] for r in rows]}
    )


def name_of(arm: str, rate: str, seed: int) -> str:
    return f"{arm}-xs-s{seed}-{RATES.index(rate)}"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("grid") / "outputs"
    study, arms = root / "toy", []
    for seed in SEEDS:
        for split in ("test", "validation"):
            write_evaluation(
                root / "bases" / f"base{seed}",
                scored(BASE, split, seed=seed, step=0, run=None, base=f"base{seed}"),
            )
    for arm in ARMS:
        rates: dict[str, dict[str, str]] = {}
        for i, rate in enumerate(RATES):
            for seed in SEEDS:
                rates.setdefault(rate, {})[str(seed)] = name = name_of(arm, rate, seed)
                record = run_record(name, arm, "xs", seed, base_id=f"base{seed}")
                record.config["trainer"]["lr"] = float(rate)
                record.config["base_seed"] = seed
                records.write_record(study / name / "run.json", record)
                for split, table in (("test", TEST), ("validation", VALIDATION)):
                    right = table[arm][seed][i]
                    made = scored(right, split, seed=seed, step=6, run=name, base=f"base{seed}")
                    write_evaluation(study / name, made)
        arms.append(Arm(label=arm, levels={"arm": arm}, overrides=[f"objective={arm}"], rates=rates))
    plan = StudyRecord(
        study="toy",
        question="Is GRPO better than SFT?",
        factors={"arm": list(ARMS)},
        seeds=list(SEEDS),
        control={"arm": "sft"},
        arms=arms,
        shared_base=False,
        declared={"lr_grid": {"rates": [float(r) for r in RATES], "select": "per_seed"}},
        command="python -m harness ablation=toy",
    )
    records.write_record(study / "study.json", plan)
    return root


@pytest.fixture
def folder(tmp_path: Path, template: Path) -> Path:
    import shutil

    return shutil.copytree(template, tmp_path / "outputs") / "toy"


def test_each_seed_takes_its_best_rate_on_validation_and_the_smaller_of_equal_ones(folder: Path) -> None:
    study = load_study(folder)
    assert {a: [c.chosen for c in study.choices if c.arm == a] for a in ARMS} == CHOSEN
    assert [c.edge for c in study.choices if c.arm == "sft"] == [True, False, False, True]
    for arm in study.record.arms:
        expected = {str(s): name_of(arm.label, CHOSEN[arm.label][s], s) for s in SEEDS}
        assert arm.runs == expected
        assert set(study.runs.loc[study.runs["arm"] == arm.label, "run_id"]) == set(expected.values())
    assert len(study.runs) == 24 and study.runs["chosen"].sum() == 8
    assert (study.runs.groupby("tried_by")["lr"].count() == 12).all()
    assert study.runs["lr"].dtype == float and study.runs["chosen"].dtype == bool


def test_only_chosen_runs_enter_the_results(folder: Path) -> None:
    study = load_study(folder)
    sft, grpo = arm_results(study, primary_of(study))
    ours = {a: [TEST[a][s][RATES.index(CHOSEN[a][s])] / 80 for s in SEEDS] for a in ARMS}
    assert sft.estimate is not None and sft.estimate.estimate == pytest.approx(mean(ours["sft"]))
    d = [g - s for g, s in zip(ours["grpo"], ours["sft"], strict=True)]
    half = sps.t.ppf(0.975, 3) * stdev(d) / 2
    assert grpo.difference is not None
    assert (grpo.difference.low, grpo.difference.high) == pytest.approx((mean(d) - half, mean(d) + half))
    assert grpo.gain is not None and grpo.gain.estimate == pytest.approx(mean(ours["grpo"]) - BASE / 80)
    assert len(sft.run_ids) == 4 and "each seed chose its learning rate" in grpo.difference.varies


def spoil(folder: Path, name: str, how: str) -> None:
    if how == "failed":
        record = records.read_run(folder / name)
        records.write_record(folder / name / "run.json", record.model_copy(update={"status": "failed"}))
    elif how == "unevaluated":
        (folder / name / "eval" / "step_000006-key2" / "aime_gen_validation.json").unlink()
    else:
        plan = records.read_study(folder)
        del plan.arms[1].rates["0.001"]["2"]
        records.write_record(folder / "study.json", plan)


@pytest.mark.parametrize("how", ["failed", "unevaluated", "unplanned"])
def test_a_seed_that_lacks_a_rate_is_left_out_and_named(how: str, folder: Path) -> None:
    spoil(folder, name_of("grpo", "0.001", 2), how)
    study = load_study(folder)
    (gap,) = [c for c in study.choices if c.missing]
    assert (gap.arm, gap.seed, gap.missing, gap.chosen) == ("grpo", "2", ["0.001"], None)
    assert list(final_rows(study, "grpo", "aime_gen_test")) == ["0", "1", "3"]
    report = build_report(study, figures=False)
    said = [note for note in report.notes if "left out" in note and "seed 2" in note]
    assert len(said) == 1 and said[0].startswith("grpo: seed 2 is left out: trainer.lr=0.001 has no finished")
    assert not any("no finished run for seed" in note for note in report.notes)


def test_arms_that_lack_different_seeds_are_compared_at_one_that_they_share(folder: Path) -> None:
    """Each seed has data of its own here, which is no difference between the arms."""
    for path in folder.glob("*/run.json"):
        data = json.loads(path.read_text())
        data["config"]["data"] = {"data_seed": data["config"]["base_seed"]}
        data.pop("checksum", None)
        path.write_text(json.dumps(data))
    spoil(folder, name_of("sft", "0.001", 0), "failed")
    study = load_study(folder)
    assert {arm.label: min(arm.runs) for arm in study.record.arms} == {"sft": "1", "grpo": "0"}
    assert [list(d.values) for d in config_differences(study)] == [["objective.name"]]
    assert seeds_text(study) == "3 to 4 seeds"


def test_the_notes_and_the_status_line_count_what_was_not_chosen(folder: Path) -> None:
    report = build_report(load_study(folder), figures=False)
    assert report.status.startswith("8 runs, 8 finished; 16 more at learning rates that their seed did not")
    assert "no arm of the study" not in report.status
    notes = [note for note in report.notes if "metrics.jsonl" not in note]
    assert notes == [
        "sft: 2 of 4 seeds chose a learning rate at the edge of the grid (0.001, 1e-05), so that a better "
        "one may lie beyond"
    ]
    text = markdown(report)
    assert "sft, lr=0.0001 (not chosen)" in text and "grpo, lr=0.0001 |" in text


def test_an_area_is_the_mean_accuracy_over_the_logarithm_of_the_rate() -> None:
    # log10: -5, -4, -3; (0.2 + 0.4) / 2 + (0.4 + 0.1) / 2 = 0.55 over 2 decades.
    assert area_under({1e-5: 0.2, 1e-3: 0.1, 1e-4: 0.4}) == pytest.approx(0.275)
    rng = random.Random(1)
    values = {rate: rng.random() for rate in (1e-5, 3e-5, 1e-4, 3e-3)}
    x = np.log10(list(values))
    assert area_under(values) == pytest.approx(np.trapezoid(list(values.values()), x) / np.ptp(x))
    with pytest.raises(ValueError, match="an area needs two"):
        area_under({1e-4: 0.5})


def test_the_response_is_over_seeds_at_each_rate_and_paired_against_the_control(folder: Path) -> None:
    study = load_study(folder)
    sft, grpo = study_responses(study, primary_of(study))
    for response in (sft, grpo):
        for i, rate in enumerate(RATES):
            values = [TEST[response.arm][s][i] / 80 for s in SEEDS]
            cell, half = response.cells[float(rate)], sps.t.ppf(0.975, 3) * stdev(values) / 2
            assert (cell.estimate, cell.high) == pytest.approx((mean(values), mean(values) + half))
            gain = response.gains[float(rate)]
            assert gain.low == pytest.approx(mean(values) - half - BASE / 80)
    # Equal decades: the area is (a / 2 + b + c / 2) / 2.
    areas = {a: [(x / 2 + y + z / 2) / 160 for x, y, z in TEST[a]] for a in ARMS}
    assert list(sft.areas.values()) == pytest.approx(areas["sft"])
    d = [g - s for g, s in zip(areas["grpo"], areas["sft"], strict=True)]
    assert grpo.difference is not None and grpo.difference.estimate == pytest.approx(mean(d))
    assert grpo.difference.p_value == pytest.approx(sps.ttest_1samp(d, 0).pvalue)
    # Gains above 36: sft at 1e-5 and 1e-4 alone; grpo 39 at 1e-5 with an sd of 1.8: [36.1, 41.9].
    assert sft.usable == [1e-5, 1e-4] and grpo.usable == [1e-5, 1e-4, 1e-3]
    table = response_table(study, primary_of(study))
    assert table.columns == ["arm", "1e-05", "0.0001", "0.001", "area", "area − control's", "usable"]
    assert table.cells[0][-2:] == ["control", "2 of 3 (1e-05, 0.0001)"]
    assert len(table.raw) == 8 and table.raw["lr"].isna().sum() == 2
    assert choices_table(study).cells == [
        ["sft", "1e-05 (1), 0.0001 (2), 0.001 (1)", "2", "none"],
        ["grpo", "0.0001 (4)", "0", "none"],
    ]


def test_arms_with_other_grids_have_no_difference_of_areas() -> None:
    values = {"a": {1e-4: {"0": 0.1, "1": 0.2}, 1e-3: {"0": 0.3, "1": 0.4}}, "b": {1e-4: {"0": 0.1}}}
    values["c"] = {1e-4: {"0": 0.2, "1": 0.2}, 1e-3: {"0": 0.2}}
    found = {r.arm: r for r in responses(values, {}, {"a": None, "b": "a", "c": "a"}, level=0.95, varies="")}
    assert found["b"].difference is None and found["b"].area is None and found["b"].usable is None
    # Seed 1 of c lacks a rate: it is in no area.
    assert found["c"].areas == pytest.approx({"0": 0.2}) and found["c"].difference is not None
    assert found["c"].difference.estimate == pytest.approx(0.0) and found["c"].difference.n == 1


def test_areas_differ_by_factor_in_each_setting_of_the_others_and_on_average() -> None:
    """Clip adds 0.3 and 0.5 (seeds 0 and 1) where kl is off, and 0.1 and 0.1 where it is on."""
    areas = {
        "plain": {"0": 0.1, "1": 0.2, "2": 0.9},
        "clip": {"0": 0.4, "1": 0.7},
        "kl": {"0": 0.3, "1": 0.4},
        "both": {"0": 0.4, "1": 0.5},
    }
    arms = {
        "plain": {"clip": "no", "kl": "no", "one": "x"},
        "clip": {"clip": "yes", "kl": "no", "one": "x"},
        "kl": {"clip": "no", "kl": "yes", "one": "x"},
        "both": {"clip": "yes", "kl": "yes", "one": "x"},
    }
    control = {"clip": "no", "kl": "no", "one": "x"}
    found = area_effects(areas, arms, control, level=0.95, varies="")
    shown = {(e.factor, e.where): (e.difference.estimate, e.difference.n) for e in found}
    assert {(e.level, e.against) for e in found} == {("yes", "no")}
    assert {key: (round(mean, 9), n) for key, (mean, n) in shown.items()} == {
        ("clip", "kl=no"): (0.4, 2),
        ("clip", "kl=yes"): (0.1, 2),
        ("clip", ""): (0.25, 2),
        ("kl", "clip=no"): (0.2, 2),
        ("kl", "clip=yes"): (-0.1, 2),  # 0.4 − 0.4 and 0.5 − 0.7
        ("kl", ""): (0.05, 2),
    }
    assert {e.within_p for e in found} == {None}
    one = {name: {"clip": levels["clip"]} for name, levels in arms.items() if name in ("plain", "clip")}
    assert area_effects(areas, one, {"clip": "no"}, level=0.95, varies="") == []


def test_the_table_of_areas_takes_the_gains_of_chosen_runs_by_seed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(rates, "area_effects", lambda areas, *_, **settings: given.update(settings) or [])
    study = load_study(folder)
    area_effects_table(study, primary_of(study))
    results = {r.label: r for r in arm_results(study, primary_of(study))}
    for arm in ARMS:
        assert set(given["gains"][arm]) == {str(seed) for seed in SEEDS}
        assert results[arm].gain is not None
        assert mean(given["gains"][arm].values()) == pytest.approx(results[arm].gain.estimate)


def test_an_area_is_equivalent_within_a_share_of_the_gain_of_its_own_control() -> None:
    """In short runs the control gains 0.4, in long ones it loses: there no share of a gain is a margin."""
    seeds = ("0", "1", "2", "3")
    areas = {
        "plain, short": dict(zip(seeds, (0.30, 0.32, 0.31, 0.29), strict=True)),
        "clip, short": dict(zip(seeds, (0.32, 0.33, 0.32, 0.31), strict=True)),
        "plain, long": dict(zip(seeds, (0.10, 0.12, 0.11, 0.09), strict=True)),
        "clip, long": dict(zip(seeds, (0.12, 0.13, 0.12, 0.11), strict=True)),
    }
    arms = {name: dict(zip(("clip", "steps"), name.split(", "), strict=True)) for name in areas}
    control = {"clip": "plain", "steps": "short"}
    gains = {name: dict.fromkeys(seeds, 0.4 if "short" in name else -0.1) for name in areas}
    for name in ("plain, short", "plain, long"):
        gains[name] |= {"0": gains[name]["0"] + 0.02}
    share = Margin(0.25, of_gain=True)
    found = area_effects(areas, arms, control, level=0.95, varies="", margin=share, gains=gains)
    of_clip = {e.where: e.within_p for e in found if e.factor == "clip"}
    wanted = tost_share([0.02, 0.01, 0.01, 0.02], [0.42, 0.4, 0.4, 0.4], share=0.25)
    assert wanted is not None and wanted < 0.05
    assert of_clip["steps=short"] == pytest.approx(wanted) and of_clip["steps=long"] is None
    both = tost_share([0.02, 0.01, 0.01, 0.02], [0.17, 0.15, 0.15, 0.15], share=0.25)
    assert of_clip[""] == pytest.approx(both)


def test_a_pilot_has_a_response_on_validation_and_its_caution_beside_every_interval(folder: Path) -> None:
    data = json.loads((folder / "study.json").read_text())
    for arm in data["arms"]:
        arm["runs"] = arm.pop("rates")["0.0001"]
    tried = {"1e-05": {"100": 0.1, "101": 0.2}, "0.0001": {"100": 0.3, "101": 0.5}, "0.001": {}}
    data["pilot"] = [{"arm": "arm=grpo", "tried": tried, "chosen": 1e-4, "edge": True}]
    data.pop("checksum")
    (folder / "study.json").write_text(json.dumps(data))
    study = load_study(folder)
    (response,) = study_responses(study, primary_of(study))
    assert response.arm == "grpo" and response.areas == pytest.approx({"100": 0.2, "101": 0.35})
    assert response.usable is None and response.difference is None and response.area is not None
    caution = "; the choice of the learning rate, made once for all seeds, is left out"
    assert what_varies(study).endswith(caution)
    report = build_report(study, figures=False)
    cautioned = [t.name for t in report.tables if caution in t.note]
    assert "arms" in cautioned and any(caution in line for s in report.sections for line in s.text)
    assert "rate_choices" not in [t.name for t in report.tables]


def test_a_report_in_another_measure_works_its_response_out_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = json.loads((folder / "study.json").read_text())
    data.pop("checksum")
    (folder / "study.json").write_text(json.dumps(data | {"primary": {"factor": "arm", "metric": "greedy"}}))
    asked = []

    def counted(*arguments: Any) -> Any:
        asked.append(arguments[-1])
        return grid_values(*arguments)

    monkeypatch.setattr("analysis.study.response.grid_values", counted)
    build_report(load_study(folder))
    assert asked == ["greedy"]


def test_the_figure_has_a_curve_an_arm_with_a_band_over_seeds(folder: Path) -> None:
    from analysis.figures.training import learning_rates

    study = load_study(folder)
    figure = learning_rates(study, primary_of(study))
    assert figure is not None
    assert figure.title.startswith("Accuracy (avg@4) on test by learning rate, 4 seeds; grey: the untrained")
    assert '"title": "avg@4, points"' in json.dumps(figure.spec)
    assert "over the study's seeds" in figure.caption
    assert figure.svg


def test_a_reference_holds_every_run_of_the_grid_and_reads_back(folder: Path, tmp_path: Path) -> None:
    from analysis.report.committed import Committed

    files = reference_files(build_report(load_study(folder), figures=False))
    place = tmp_path / "ref"
    place.mkdir()
    for name, content in files.items():
        (place / name).write_bytes(content)
    committed = Committed.read(place)
    assert {a: list(e.after["avg"]) for a, e in committed.accuracy.items()} == {
        a: [pytest.approx(TEST[a][s][RATES.index(CHOSEN[a][s])] / 80) for s in SEEDS] for a in ARMS
    }
    assert len(gzip.decompress(files["runs.jsonl.gz"]).splitlines()) == 24
    frame = committed.table("evaluations")
    assert set(frame.loc[frame["step"] > 0, "lr"]) == {1e-5, 1e-4, 1e-3}


def test_a_study_without_a_grid_is_as_before(make_study: Callable[..., Path]) -> None:
    study: Study = load_study(make_study(models=("xs",)))
    assert study.choices == [] and "chosen" not in study.runs and "tried_by" not in study.evaluations
