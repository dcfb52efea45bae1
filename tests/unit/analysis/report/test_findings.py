"""finding.json says what a study found, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import scipy.stats as sps

from analysis.report.build import build_report
from analysis.report.findings import finding
from analysis.stats.text import interval_text, points
from analysis.study.contrasts import arm_results, primary_of
from analysis.study.headlines import headlines
from analysis.study.load import load_study
from analysis.tables.path_of_arms import main_effects_table
from analysis.tables.trends import trend_table
from tests.unit.analysis.conftest import evaluation, run_record, write_evaluation, write_run


def declare(folder: Path, **values: object) -> None:
    path = folder / "study.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def found(folder: Path) -> tuple[str, list]:
    study = load_study(folder)
    primary = primary_of(study)
    results = arm_results(study, primary)
    return finding(study, primary, results)["answer"], results


def test_a_difference_comes_with_its_interval_and_verdict(make_study) -> None:
    folder = make_study()
    study = load_study(folder)
    (headline,) = headlines(study, primary_of(study))
    answer, _ = found(folder)
    shown = interval_text(headline.difference, signed=True)
    assert answer.startswith(
        f"grpo − sft_rejection: {shown} points avg@4 on aime_gen_test (generated problems), mean of 2 "
        "settings of the other factors; this study cannot tell: three seeds; in greedy: this study "
    )
    # Holm over both main effects, as their table has it: twice the p of the objective where it is smaller.
    p, q = main_effects_table(study, primary_of(study)).raw["p_value"]
    row = finding(study, primary_of(study), arm_results(study, primary_of(study)))["verdicts"][0]
    assert row["p_value"] == pytest.approx(p) and row["p_holm"] == pytest.approx(
        2 * p if p < q else max(2 * q, p)
    )
    declare(folder, declared={"nulls": ["sft_rejection"]})
    answer, results = found(folder)
    for r in results:
        said = f"; gain of the null control {r.label}: {interval_text(r.gain, signed=True)}"
        assert (said in answer) == ("sft" in r.label)
    declare(folder, control={"objective": "grpo", "model": "xs"}, declared={})
    assert "sft_rejection − grpo: −" in found(folder)[0]


def test_a_contrast_of_a_family_shows_the_adjusted_p_as_well(make_study) -> None:
    """Two arms against the control: an interval above 0 and Holm's p may disagree, so both stand."""
    folder = make_study(seeds=4, models=("xs",))
    runs = {str(seed): f"rloo-xs-s{seed}" for seed in range(4)}
    for seed, name in runs.items():
        write_run(folder, run_record(name, "rloo", "xs", int(seed)), 0.65)
    record = json.loads((folder / "study.json").read_text())
    third = {"label": "rloo", "levels": {"objective": "rloo", "model": "xs"}, "overrides": [], "runs": runs}
    declare(
        folder,
        arms=[*record["arms"], third],
        primary={"factor": "objective", "contrast": "grpo"},
        factors={**record["factors"], "objective": ["sft_rejection", "grpo", "rloo"]},
    )
    answer, results = found(folder)
    grpo = next(r for r in results if r.levels["objective"] == "grpo")
    p = [r.difference.p_value for r in results if r.control]
    assert grpo.p_holm == pytest.approx(2 * p[0] if p[0] < p[1] else max(2 * p[1], p[0]))
    assert "; better; in greedy: " in answer
    study = load_study(folder)
    rows = finding(study, primary_of(study), results)["verdicts"]
    mine = next(row for row in rows if (row["level"], row["metric"]) == ("grpo", "avg"))
    assert mine["p_holm"] == grpo.p_holm and mine["verdict"] == "better"
    assert {row["metric"] for row in rows} == {"avg", "greedy", "pass"} and len(rows) == 6
    assert "objective=grpo is better than" in build_report(study, figures=False).answers[1]


def test_no_difference_and_no_interval_are_said(make_study) -> None:
    folder = make_study(models=("xs",))
    for path in folder.glob("*/eval/step_*/aime_gen_test.json"):
        seed = int(path.parts[-4].split("-s")[-1].split("-")[0])
        rate = (0.3, 0.5, 0.4)[seed if "grpo" in str(path) else (seed + 1) % 3]
        write_evaluation(
            path.parents[2], evaluation(rate, split="test", seed=seed, step=6, run_id="r", base="b")
        )
    assert "; this study cannot tell: three seeds; in greedy" in found(folder)[0]
    for path in folder.glob("*-s2-*"):
        path.rename(path.parent.parent / path.name)
    assert (
        "points avg@4 on aime_gen_test (generated problems); this study cannot tell: two seeds"
        in (found(folder)[0])
    )


def test_several_levels_without_a_contrast_are_counted(make_study) -> None:
    folder = make_study(models=("xs",))
    record = json.loads((folder / "study.json").read_text())
    record["factors"]["objective"].append("other")
    runs = {}
    for seed, name in record["arms"][1]["runs"].items():
        runs[seed] = name.replace("grpo", "other")
        write_run(folder, run_record(runs[seed], "other", "xs", int(seed)), 0.45)
    treated = {"label": "other", "levels": {"objective": "other", "model": "xs"}, "runs": runs}
    record["arms"].append({**record["arms"][1], **treated})
    declare(folder, **record)
    answer, results = found(folder)
    held = sum((r.p_holm or 1) <= 0.05 for r in results if r.control)
    assert answer.startswith(f"{held} of 2 differences found (Holm, 0.05); largest: grpo − sft_rejection: ")
    declare(folder, primary={"factor": "objective", "contrast": "other"})
    assert found(folder)[0].startswith("other − sft_rejection: ")


def test_gains_over_the_base_are_the_answer_where_the_study_says_so(make_study) -> None:
    # Two sizes: a level's gain of a seed is the mean over both of its score less the base's.
    folder = make_study()
    primary = {"factor": "objective", "criterion": "gain", "null_gain": 0.01}
    declare(folder, primary=primary, declared={"family": ["grpo"], "nulls": ["sft_rejection"]})
    study = load_study(folder)
    scores = study.evaluations[study.evaluations["task"] == "aime_gen_test"]
    last = scores[scores["step"] > 0].groupby(["arm", "seed"])["avg"].mean()
    base = scores[scores["step"] == 0].groupby(["arm", "seed"])["avg"].mean()
    gain = (last - base).reset_index()
    expected = {}
    for name in ("grpo", "sft_rejection"):
        mine = gain[gain["arm"].str.contains(name)].groupby("seed")["avg"].mean()
        mean, half = mine.mean(), sps.t.ppf(0.975, len(mine) - 1) * mine.std() / len(mine) ** 0.5
        shown = [points(v, signed=True) for v in (mean, mean - half, mean + half)]
        expected[name] = f"{name} {shown[0]} [{shown[1]}, {shown[2]}]"
    answer, _ = found(folder)
    null = f"{expected['sft_rejection']}, above the +1.0 that its mean may gain"
    assert answer == (
        "1 of 1 gain over the base in avg@4 on aime_gen_test (generated problems), by an interval above 0; "
        f"{expected['grpo']} points; null control {null}"
    )
    lines = build_report(study, figures=False).answers
    assert lines[1].startswith("1 of 1 levels of objective gain over the base: the 95 % interval of the gain")
    assert (
        expected["grpo"] in lines[2] and "not shown" not in lines[2] and lines[3] == f"Null control {null}."
    )
    for path in folder.glob("grpo-xs-s0-*"):  # two seeds left: no interval, so nothing is shown
        path.rename(path.parent.parent / path.name)
    declare(folder, primary=primary, declared={"family": ["grpo"]})
    answer, _ = found(folder)
    assert answer.startswith("0 of 1 gain over the base") and "; not shown: grpo +" in answer
    declare(folder, primary={"criterion": "gains"})
    with pytest.raises(ValueError, match="criterion 'gains' is not known; choose one of difference, gain"):
        found(folder)


def test_arms_whose_numbers_may_mean_nothing_are_named(make_study) -> None:
    folder = make_study(models=("xs",))
    assert "flagged" not in found(folder)[0]
    for path in folder.glob("grpo-*/run.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"flags": ["all_truncated"]}))
    assert found(folder)[0].endswith("; flagged: objective=grpo model=xs (everything truncated)")


def test_trends_over_checkpoints_are_told(make_study) -> None:
    folder = make_study(models=("xs",))
    for run in folder.glob("*-s*"):
        seed = int(run.name.split("-s")[-1].split("-")[0])
        for step in (2, 4):
            made = evaluation(step / 10, split="test", seed=seed, step=step, run_id=run.name, base="b")
            write_evaluation(run, made)
    study = load_study(folder)
    cells = trend_table(study, primary_of(study), arm_results(study, primary_of(study))).cells
    answer, _ = found(folder)
    slopes = [f"{c[2]} {c[4].removesuffix(' per factor of ten')}" for c in cells]
    told = "; trend of {} over steps (checkpoints), points per factor of ten: {}"
    assert told.format("avg@k", f"{slopes[0]}, {slopes[1]}") in answer
    assert answer.endswith(told.format("difference to the control", slopes[2]))
    assert [c[1] for c in cells] == ["avg@k", "avg@k", "difference to the control"]


def test_a_calibration_is_told(make_study) -> None:
    folder = make_study(models=("xs",))
    rows = [{"coverage": 0.951, "fwer": 0.02, "n": 10000}, {"coverage": 0.962, "fwer": 0.041, "n": 10000}]
    (folder / "calibration.json").write_text(json.dumps({"rows": rows}))
    assert found(folder)[0].endswith(
        "10,000 simulated studies a row with its variances: coverage 0.951 to 0.962, family-wise error "
        "at most 0.041"
    )
