"""The report of pipelines: accuracy by stage, what each stage added, costs summed over shared stages."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis.figures.stages import stages as stages_figure
from analysis.report.build import build_report, notes_of
from analysis.stats.intervals import paired_t
from analysis.study.contrasts import arm_results, primary_of
from analysis.study.differences import config_differences
from analysis.study.load import load_study
from analysis.study.rates import SeedChoice
from analysis.study.stages import (
    chain,
    earlier_stages,
    lineage,
    stage_rate_notes,
    stages_of,
    total,
    unchosen_stages,
    unchosen_text,
)
from analysis.study.verdicts import contrast_verdicts
from analysis.tables.spent import spent
from analysis.tables.stages import stages_table
from harness.records import records
from harness.records.lines import MetricsWriter
from harness.records.records import Arm, BaseRecord, EvalRecord, RunRecord, StudyRecord
from tests.unit.analysis.conftest import COMMIT, evaluation, run_record, write_evaluation

SEEDS = (0, 1, 2)
# Right samples of 80 by stage and seed; the base has 8, 12 and 10.
BASE = {0: 8, 1: 12, 2: 10}
RIGHT = {
    "cold_start": {0: 20, 1: 22, 2: 24},
    "rl": {0: 30, 1: 40, 2: 32},
    "again": {0: 31, 1: 38, 2: 39},
    "sft": {0: 28, 1: 26, 2: 27},
}
# Of each run: tokens sampled, from a teacher, trained on; FLOPs; seconds.
COST = {
    "cold_start": (0, 700, 100, 1e9, 5.0),
    "rl": (1000, 0, 900, 7e9, 20.0),
    "again": (500, 0, 450, 3e9, 9.0),
    "sft": (0, 0, 2000, 9e9, 11.0),
}
BEFORE = {"cold_start": None, "rl": "cold_start", "again": "rl", "sft": "cold_start"}
INDEX = {"cold_start": 1, "rl": 2, "again": 3, "sft": 2}


def exactly(right: int, *, seed: int, step: int, run: str | None) -> EvalRecord:
    """20 problems of 4 samples, the first `right` of all samples right."""
    made = evaluation(0.5, split="test", seed=seed, step=step, run_id=run, base="base")
    flat = [int(i < right) for i in range(80)]
    rows = [flat[4 * i : 4 * i + 4] for i in range(20)]
    answers = [["right" if c else "wrong" for c in row] for row in rows]
    greedy = [row[0] for row in rows]
    return made.model_copy(update={"correct": rows, "answers": answers, "greedy_correct": greedy})


def record(stage: str, seed: int) -> RunRecord:
    sampled, teacher, trained, flops, seconds = COST[stage]
    before = BEFORE[stage]
    made = run_record(f"{stage}-s{seed}", stage, "xs", seed)
    config: dict[str, Any] = copy.deepcopy(made.config)
    config["stage"] = {
        "pipeline": "sft" if stage == "sft" else "three",
        "name": stage,
        "index": INDEX[stage],
        "start": None if before is None else f"{before}-s{seed}",
        "data": None,
    }
    return made.model_copy(
        update={
            "config": config,
            "base_id": "base",
            "teacher_id": "teacher" if stage == "cold_start" else None,
            "tokens": {"sampled": sampled, "teacher": teacher, "trained": trained},
            "flops": {"train": flops},
            "seconds": {"train": seconds},
            "overrides": [f"pipeline={'sft' if stage == 'sft' else 'three'}", f"seed={seed}"],
        }
    )


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Two pipelines that share their cold start, of three seeds."""
    root = tmp_path / "outputs"
    for name in ("base", "teacher"):
        made = {"num_parameters": 9, "num_non_embedding_parameters": 8, "tokens": 1, "flops": 4e12}
        more = {"identity": {}, "seconds": 1.0, "final_loss": 0.5, "code": COMMIT}
        records.write_record(root / "bases" / name / "base.json", BaseRecord(base_id=name, **made, **more))
    for seed in SEEDS:
        write_evaluation(root / "bases" / "base", exactly(BASE[seed], seed=seed, step=0, run=None))
        for stage in RIGHT:
            folder = root / "s" / f"{stage}-s{seed}"
            records.write_record(folder / "run.json", record(stage, seed))
            writer = MetricsWriter(folder / "metrics.jsonl")
            for step in range(1, 7):
                writer.append({"step": step, "updates": 2.0, "reward": 0.5})
            write_evaluation(folder, exactly(RIGHT[stage][seed], seed=seed, step=6, run=folder.name))
    arms = [
        Arm(
            label=label,
            levels={"pipeline": label},
            overrides=[f"pipeline={label}"],
            runs={str(seed): f"{last}-s{seed}" for seed in SEEDS},
        )
        for label, last in (("three", "again"), ("sft", "sft"))
    ]
    plan = StudyRecord(
        study="s",
        question="Which?",
        factors={"pipeline": ["three", "sft"]},
        seeds=list(SEEDS),
        control={"pipeline": "sft"},
        arms=arms,
        shared_base=True,
        command="",
    )
    records.write_record(root / "s" / "study.json", plan)
    return root / "s"


def test_an_arms_runs_are_followed_back_to_the_first_stage(study: Path) -> None:
    found = load_study(study)
    assert found.damaged == []
    assert chain(found, "again-s1") == ["cold_start-s1", "rl-s1", "again-s1"]
    assert [(s.index, s.name, s.runs["2"]) for s in stages_of(found, "three")] == [
        (1, "cold_start", "cold_start-s2"),
        (2, "rl", "rl-s2"),
        (3, "again", "again-s2"),
    ]
    assert earlier_stages(found) == {f"{name}-s{seed}" for name in ("cold_start", "rl") for seed in SEEDS}
    assert total(found, "again-s0", "flops") == 11e9 and total(found, "again-s0", "trained_tokens") == 1450
    # What is in no arm but is a stage of one is as planned; an other folder still is not.
    assert not any("in no arm" in note for note in notes_of(found))
    records.write_record(study / "odd" / "run.json", record("rl", 0).model_copy(update={"run_id": "odd"}))
    assert any("in no arm of the study" in note and "odd" in note for note in notes_of(load_study(study)))


def test_the_table_has_each_stages_accuracy_gain_and_cost(study: Path) -> None:
    found = load_study(study)
    primary = primary_of(found)
    table = stages_table(found, primary, arm_results(found, primary))
    raw = {(row["arm"], row["stage"]): row for row in table.raw.to_dict("records")}
    assert [key[1] for key in raw if key[0] == "three"] == ["untrained base", *list(RIGHT)[:3], "all stages"]
    assert raw["three", "rl"]["avg"] == pytest.approx((30 + 40 + 32) / 240)
    # Greedy answers are the first samples: 30, 40 and 32 of 80 right fill 8, 10 and 8 of 20 problems.
    assert raw["three", "rl"]["greedy"] == pytest.approx((8 + 10 + 8) / 60)
    assert raw["three", "rl"]["pass"] == pytest.approx((8 + 10 + 8) / 60)
    added = [(RIGHT["rl"][s] - RIGHT["cold_start"][s]) / 80 for s in SEEDS]
    expected = paired_t(added)
    assert raw["three", "rl"]["added"] == pytest.approx(expected.estimate)
    assert raw["three", "rl"]["added_low"] == pytest.approx(expected.low)
    gain = paired_t([(RIGHT["rl"][s] - BASE[s]) / 80 for s in SEEDS])
    assert raw["three", "rl"]["gain_high"] == pytest.approx(gain.high)
    whole = paired_t([(RIGHT["again"][s] - BASE[s]) / 80 for s in SEEDS])
    assert raw["three", "all stages"]["gain_low"] == pytest.approx(whole.low)
    costs = ("sampled_tokens", "teacher_tokens", "trained_tokens", "flops", "seconds")
    assert [raw["three", "all stages"][name] for name in costs] == [1500, 700, 1450, 11e9, 34.0]
    assert [raw["sft", "all stages"][name] for name in costs] == [0, 700, 2100, 10e9, 16.0]
    assert "Pretraining the teachers took 4T FLOPs." in table.note  # one teacher, however many runs


def test_a_stage_at_another_rate_than_the_one_chosen_for_it_is_said(study: Path) -> None:
    plan = records.read_study(study)
    rl = Arm(label="rl", levels={"pipeline": "rl"}, overrides=[], runs={str(s): f"rl-s{s}" for s in SEEDS})
    records.write_record(study / "study.json", plan.model_copy(update={"arms": [*plan.arms, rl]}))
    found = load_study(study)
    ran = float(found.configs["rl-s0"]["trainer.lr"])
    rates = {"0": ran, "1": 3 * ran, "2": 3 * ran}
    chose = [SeedChoice("rl", seed, {}, [], str(rate), False) for seed, rate in rates.items()]
    assert stage_rate_notes(replace(found, choices=[])) == []
    assert stage_rate_notes(replace(found, choices=chose[:1])) == []
    assert stage_rate_notes(replace(found, choices=chose)) == [
        f"three: its stage rl ran at trainer.lr={ran:g}, where by itself 2 of 3 seeds chose {3 * ran:g}: "
        "what is said of three is of that rate, too"
    ]
    assert "where by itself" in "".join(notes_of(replace(found, choices=chose)))


def test_a_pipeline_with_a_stage_that_is_not_the_chosen_one_gets_no_verdict(study: Path) -> None:
    def runs(rate: str, *seeds: int) -> list[str]:
        return [f"rl-{rate}-{seed}" for seed in seeds]

    stages = {
        "rl": [("cold", ["c0", "c1", "c2"]), ("rl", runs("low", 0, 1, 2))],
        "same": [("cold", ["c0", "c1", "c2"]), ("rl", runs("low", 0, 1, 2)), ("end", ["e"])],
        "one": [("rl", [*runs("high", 0), *runs("low", 1, 2)]), ("end of one", ["e"])],
        "most": [("rl", [*runs("high", 0, 1), *runs("low", 2)]), ("end of most", ["e"])],
        "none": [],
    }
    assert unchosen_stages(stages, {}, None) == {"most": ["rl"]}
    # As good within the margin, by seeds: 2, 1 and 0 points lower than those that were chosen.
    right = {"rl-low-0": 0.50, "rl-low-1": 0.60, "rl-low-2": 0.70, "rl-high-0": 0.48, "rl-high-1": 0.59}
    scores = {run: (run[-1], value) for run, value in right.items()}
    interval = paired_t([-0.02, -0.01, 0.0], level=0.9)
    assert unchosen_stages(stages, scores, -interval.low + 1e-6) == {}
    assert unchosen_stages(stages, scores, -interval.low - 1e-6) == {"most": ["rl"]}
    assert unchosen_stages(stages, scores, 0.0) == unchosen_stages(stages, scores, None) == {"most": ["rl"]}
    alone = {run: scores[run] for run in ("rl-low-0", "rl-low-1", "rl-high-0")}
    assert unchosen_stages(stages, alone, 0.5) == {"most": ["rl"]}
    said = "stage rl of most ran at a rate that its own seeds do not choose"
    assert unchosen_text({"most": ["rl"]}, ["one", "most"]) == said
    assert unchosen_text({"most": ["rl"]}, ["one", "same"]) is None
    # An arm that ends with the stage, at other runs than those that the pipeline took.
    found = load_study(study)
    primary = primary_of(found)
    (contrast,) = contrast_verdicts(found, primary, arm_results(found, primary))
    assert contrast.primary.evidence.confounded is None
    plan = records.read_study(study)
    for seed in SEEDS:
        other = record("rl", seed).model_copy(update={"run_id": f"other-s{seed}"})
        records.write_record(study / f"other-s{seed}" / "run.json", other)
    rl = Arm(label="rl", levels={"pipeline": "rl"}, overrides=[], runs={str(s): f"other-s{s}" for s in SEEDS})
    records.write_record(study / "study.json", plan.model_copy(update={"arms": [*plan.arms, rl]}))
    found = load_study(study)
    (contrast, *_) = contrast_verdicts(found, primary, arm_results(found, primary))
    assert contrast.primary.evidence.confounded == said.replace("most", "three")


def test_an_arm_costs_what_its_stages_do(study: Path) -> None:
    found = load_study(study)
    by = {r.label: r for r in arm_results(found, primary_of(found))}
    assert by["three"].means["flops"] == 11e9 and by["sft"].means["seconds"] == 16.0
    assert by["three"].base == pytest.approx(30 / 240)  # the untrained base, not the stage before
    of_three = spent(found, by["three"])
    assert of_three.updates == 3 * 6 * 2 and of_three.steps == 18 and of_three.flops == 11e9


def test_a_stage_by_another_protocol_is_left_out_and_said(study: Path) -> None:
    for seed in SEEDS:
        for path in (study / f"rl-s{seed}" / "eval").glob("*/*.json"):
            made = records.read_eval(path).model_copy(update={"key": "other"})
            records.write_record(path, made)
    found = load_study(study)
    primary = primary_of(found)
    table = stages_table(found, primary, arm_results(found, primary))
    rows = {(row["arm"], row["stage"]): row for row in table.raw.to_dict("records")}
    assert rows["three", "rl"]["seeds"] == 0 and rows["three", "again"]["seeds"] == 3
    assert rows["three", "again"]["added"] != rows["three", "again"]["added"]  # NaN: nothing to take it from
    assert "evaluated by another protocol" in table.note


def test_stages_differ_as_declared(study: Path) -> None:
    found = config_differences(load_study(study))
    assert found and all(d.values and d.undeclared == [] for d in found)


def test_without_a_plan_an_arm_is_the_last_stage(study: Path) -> None:
    (study / "study.json").unlink()
    found = load_study(study)
    assert sorted(run for arm in found.record.arms for run in arm.runs.values()) == sorted(
        f"{last}-s{seed}" for last in ("again", "sft") for seed in SEEDS
    )


def test_the_report_and_the_figure_have_them(study: Path) -> None:
    found = load_study(study)
    primary = primary_of(found)
    figure = stages_figure(found, primary, arm_results(found, primary))
    assert figure is not None
    drawn = [row for row in figure.rows if row["panel"] == "avg@k"]
    places = [row["x"] for row in drawn]
    assert len(set(places)) == len(places)  # no point hides another
    points = {(row["series"], round(row["x"])): row["value"] for row in drawn}
    assert points["three", 0.0] == pytest.approx(12.5) and points["three", 2.0] == pytest.approx(42.5)
    assert ("three", 3.0) in points and ("sft", 3.0) not in points
    report = build_report(found, figures=False)
    assert any(section.title == "Stage by stage" for section in report.sections)


def test_a_study_without_pipelines_has_no_such_table(make_study) -> None:
    found = load_study(make_study())
    primary = primary_of(found)
    results = arm_results(found, primary)
    assert (
        stages_table(found, primary, results).cells == [] and stages_figure(found, primary, results) is None
    )


@pytest.fixture
def taught(study: Path) -> Path:
    """Two arms of which `sft` begins from the base and was taught by the last checkpoint of `rl`."""
    for seed in SEEDS:
        place = study / f"sft-s{seed}" / "run.json"
        made = record("sft", seed)
        made.config["stage"] |= {"start": None, "index": 1, "teacher": f"rl-s{seed}"}
        records.write_record(place, made)
    return study


def test_a_teachers_stages_count_in_the_cost_and_not_in_the_gain(taught: Path) -> None:
    found = load_study(taught)
    assert chain(found, "sft-s1") == ["sft-s1"]
    assert lineage(found, "sft-s1") == ["cold_start-s1", "rl-s1", "sft-s1"]
    assert "rl-s1" in earlier_stages(found) and "sft-s1" not in earlier_stages(found)
    # 1e9 of the teacher's cold start, 7e9 of its RL, 9e9 of the pupil's SFT.
    assert total(found, "sft-s0", "flops") == 17e9
    by = {r.label: r for r in arm_results(found, primary_of(found))}
    assert (spent(found, by["sft"]).updates, spent(found, by["sft"]).steps) == (3 * 6 * 2, 18)
    assert [(s.index, s.name, s.is_teachers) for s in stages_of(found, "sft")] == [
        (1, "cold_start", True),
        (2, "rl", True),
        (3, "sft", False),
    ]
    primary = primary_of(found)
    table = stages_table(found, primary, arm_results(found, primary))
    raw = table.raw[table.raw["arm"] == "sft"].set_index("stage")
    # The pupil: (28 + 26 + 27) / 3 of 80 right, its base (8 + 12 + 10) / 3; both gains are over the base.
    assert raw.loc["sft", "gain"] == pytest.approx((27 - 10) / 80) == raw.loc["sft", "added"]
    assert raw.loc["rl", "avg"] == pytest.approx((30 + 40 + 32) / 3 / 80)
    assert raw.loc[["cold_start", "rl"], "gain"].isna().all()
    # The teacher's own: its cold start over its base, its RL over the cold start.
    started = sum(RIGHT["cold_start"].values()) / 3
    assert raw.loc["cold_start", "added"] == pytest.approx((started - 10) / 80)
    assert raw.loc["rl", "added"] == pytest.approx(((30 + 40 + 32) / 3 - started) / 80)
    assert raw.loc["all stages", "flops"] == 17e9
    assert (
        "A teacher's stages have their own accuracy, and what they added to it, and no part in the gain."
        in table.note
    )
    assert [row[1] for row in table.cells if row[0] == "sft"][1:4] == [
        "1 cold_start, the teacher",
        "2 rl, the teacher",
        "3 sft",
    ]
    figure = stages_figure(found, primary, arm_results(found, primary))
    assert figure is not None  # 0: the base, 1: the pupil's only stage
    assert {round(row["x"]) for row in figure.rows if row["series"] == "sft"} == {0, 1}
