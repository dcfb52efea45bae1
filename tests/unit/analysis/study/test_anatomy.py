"""The anatomy of a gain in a study on disk, against numbers worked out from its records by other means."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats as sps

from analysis.__main__ import main
from analysis.figures.anatomy import anatomy as anatomy_figure
from analysis.figures.theme import BASE, BASE_BEST
from analysis.report.build import build_report
from analysis.report.committed import Committed
from analysis.stats.intervals import paired_t
from analysis.stats.ratio import ratio_of_means
from analysis.study.anatomy import ASK, NO_TRAINING, ArmAnatomy, anatomy, own_best, validation_task
from analysis.study.contrasts import final_rows, primary_of
from analysis.study.load import load_study
from analysis.tables.anatomy import sampling_text, share_text
from harness.records import records
from tests.unit.analysis.conftest import evaluation
from tests.unit.analysis.stats.test_coverage import by_all_splits

SFT, GRPO = "objective=sft_rejection model=xs", "objective=grpo model=xs"
# Share of right samples by (model, split) at temperatures 1 and 0.3.
RATES = {
    ("base", "validation"): (0.3, 0.6),
    ("base", "test"): (0.3, 0.5),
    ("sft_rejection", "validation"): (0.4, 0.7),
    ("sft_rejection", "test"): (0.4, 0.55),
    ("grpo", "validation"): (0.9, 0.1),  # its own best is the main sampling, whatever the test says
    ("grpo", "test"): (0.7, 0.9),
}


def add_samplings(study: Path) -> None:
    """Give every base and run of `make_study` a validation split, and both splits at temperature 0.3."""
    folders = [*study.parent.glob("bases/*"), *(p.parent for p in study.glob("*/run.json"))]
    for folder in folders:
        is_base = folder.parent.name == "bases"
        name = "base" if is_base else folder.name.split("-")[0]
        for seed in range(3) if is_base else [int(folder.name.split("-s")[1][0])]:
            for split in ("validation", "test"):
                for temperature, rate in zip((1.0, 0.3), RATES[name, split], strict=True):
                    if (split, temperature) != ("test", 1.0):
                        _write(folder, split, seed, rate, temperature, is_base=is_base)
        if not is_base:
            record = records.read_run(folder)
            tasks = ("train", "perturbed", "test", "heldout", "validation")
            record.eval_keys = {f"aime_gen_{split}": f"key{seed}" for split in tasks}
            record.sampling_keys = {"0.3, 1": f"cold{seed}"}
            records.write_record(folder / "run.json", record)


def _write(folder: Path, split: str, seed: int, rate: float, temperature: float, *, is_base: bool) -> None:
    step, run = (0, None) if is_base else (6, folder.name)
    # Another name than at temperature 1, so that the draws differ.
    made = evaluation(rate, split=split, seed=seed, step=step, run_id=f"{run} {temperature}", base="base-xs")
    key = f"cold{seed}" if temperature != 1 else f"key{seed}"
    checkpoint = f"{'base' if is_base else 'step_000006'}-{key}"
    about = {"key": key, "temperature": temperature, "checkpoint": checkpoint, "run_id": run}
    record = made.model_copy(update={**about, **({"greedy_correct": None} if temperature != 1 else {})})
    records.write_record(folder / "eval" / checkpoint / f"aime_gen_{split}.json", record)


@pytest.fixture
def folder(make_study: Callable[..., Path]) -> Path:
    study = make_study(seeds=3, models=("xs",))
    add_samplings(study)
    return study


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def avg(study: Path, arm: str, seed: int, *, cold: bool, split: str = "test") -> float:
    """Straight from the file; `base` is the base."""
    key = f"{'cold' if cold else 'key'}{seed}"
    owner = study.parent / "bases" / "base-xs" if arm == "base" else study / f"{arm}-xs-s{seed}-abcd"
    place = f"base-{key}" if arm == "base" else f"step_000006-{key}"
    return float(np.mean(read(owner / "eval" / place / f"aime_gen_{split}.json")["correct"]))


def test_further_samplings_are_rows_of_their_own(folder: Path) -> None:
    study = load_study(folder)
    assert set(study.evaluations["temperature"]) == {1.0} and study.evaluations["main"].all()
    assert set(study.samplings["temperature"]) == {0.3} and not study.samplings["main"].any()
    # 6 runs, each with two splits of its own and of its base
    assert len(study.samplings) == 6 * 2 * 2
    for label in (SFT, GRPO):
        for base in (False, True):
            rows = final_rows(study, label, "aime_gen_test", base=base)
            assert {row["temperature"] for row in rows.values()} == {1.0} and list(rows) == ["0", "1", "2"]
            cold = study.sampled_rows[label, "aime_gen_test", base, (0.3, 1.0)]
            assert list(cold) == list(rows)
    assert study.sampled_rows[SFT, "aime_gen_test", True, (0.3, 1.0)]["1"]["avg"] == pytest.approx(
        avg(folder, "base", 1, cold=True)
    )


def test_own_best_is_chosen_on_validation_inside_each_seed(folder: Path) -> None:
    study = load_study(folder)
    assert validation_task(study) == "aime_gen_validation"
    best = own_best(study, SFT, "aime_gen_test", base=False)
    assert {s: row["temperature"] for s, row in best.items()} == {"0": 0.3, "1": 0.3, "2": 0.3}
    # GRPO is worse on validation at 0.3 and better on test: the test does not choose.
    best = own_best(study, GRPO, "aime_gen_test", base=False)
    assert {row["temperature"] for row in best.values()} == {1.0}
    assert best["2"]["avg"] == pytest.approx(avg(folder, "grpo", 2, cold=False))
    assert own_best(study, SFT, "aime_gen_validation", base=False) == {}
    # One seed in which validation prefers the main sampling, another with a tie.
    for seed in (0, 1):
        cold, main = (
            folder / f"sft_rejection-xs-s{seed}-abcd/eval/step_000006-{key}{seed}/aime_gen_validation.json"
            for key in ("cold", "key")
        )
        record = records.read_eval(cold)
        same = records.read_eval(main).correct
        lists = {"correct": same if seed else [[0] * 4 for _ in same]}
        lists["answers"] = [["right" if c else None for c in row] for row in lists["correct"]]
        records.write_record(cold, record.model_copy(update=lists))
    best = own_best(load_study(folder), SFT, "aime_gen_test", base=False)
    assert {s: row["temperature"] for s, row in best.items()} == {"0": 1.0, "1": 1.0, "2": 0.3}


def test_gains_are_over_the_base_at_its_own_best(folder: Path) -> None:
    study = load_study(folder)
    rows = {row.label: row for row in anatomy(study, primary_of(study))}
    assert list(rows) == [NO_TRAINING, SFT, GRPO]
    base, sft = rows[NO_TRAINING], rows[SFT]
    at = {
        (arm, cold): np.array([avg(folder, arm, s, cold=cold) for s in range(3)])
        for arm in ("base", "sft_rejection")
        for cold in (False, True)
    }
    main, best = (at["sft_rejection", cold] - at["base", cold] for cold in (False, True))
    assert base.is_base and base.chosen == ((0.3, 1.0),) * 3 and not base.gains
    assert base.rise is not None and base.values["avg"] is not None and base.values["best"] is not None
    assert base.rise.estimate == pytest.approx((at["base", True] - at["base", False]).mean())
    assert base.values["best"].estimate == pytest.approx(at["base", True].mean())
    assert sft.gains["avg"] is not None and sft.gains["best"] is not None
    assert sft.gains["avg"].estimate == pytest.approx(main.mean())
    test = sps.ttest_1samp(best, 0).confidence_interval()
    assert (sft.gains["best"].low, sft.gains["best"].high) == pytest.approx((test.low, test.high))
    assert sft.sharpening == ratio_of_means(main - best, main, varies=sft.gains["avg"].varies)


def test_crossing_and_coverage_are_of_the_same_seeds(folder: Path) -> None:
    study = load_study(folder)
    sft = {row.label: row for row in anatomy(study, primary_of(study))}[SFT]
    grids: dict[str, list[np.ndarray]] = {"base": [], "sft_rejection": []}
    for arm, found in grids.items():
        for seed in range(3):
            owner = folder.parent / "bases/base-xs" if arm == "base" else folder / f"{arm}-xs-s{seed}-abcd"
            place = "base" if arm == "base" else "step_000006"
            found.append(np.array(read(owner / f"eval/{place}-key{seed}/aime_gen_test.json")["correct"]))
    base, arm_rows = grids["base"], grids["sft_rejection"]
    subsets = [list(combinations(range(4), k)) for k in range(1, 5)]
    curves = [
        [np.mean([grid[:, s].any(axis=1) for grid in found for s in sets]) for sets in subsets]
        for found in (base, arm_rows)
    ]
    expected = next((k + 1 for k in range(4) if curves[0][k] >= curves[1][k]), None)
    assert sft.crossing is not None and (sft.crossing.k, sft.crossing.n) == (expected, 4)
    assert sft.covered is not None and sft.lost is not None and sft.chance is not None
    chance = np.mean([by_all_splits(b, b) for b in base])
    assert sft.chance == pytest.approx(chance)
    pairs = list(zip(base, arm_rows, strict=True))
    assert sft.covered.estimate == pytest.approx(np.mean([by_all_splits(b, a) for b, a in pairs]) - chance)
    assert sft.lost.estimate == pytest.approx(np.mean([by_all_splits(a, b) for b, a in pairs]) - chance)


def test_derivations_are_compared_within_cells_and_lengths_where_both_solve(folder: Path) -> None:
    """Half of the problems are of level 1, where half of the derivations are valid, the others all are."""
    for path in [*folder.glob("*/eval/*/aime_gen_test.json"), *folder.parent.glob("bases/*/eval/*/*.json")]:
        record = records.read_eval(path)
        levels = [1 if i < 10 else 2 for i in range(20)]
        is_base = path.parent.name.startswith("base")
        unsourced = [[0 if is_base else 1] * 4 for _ in range(20)]
        lengths = [[10 if is_base else 10 + i] * 4 for i in range(20)]
        wrong = [[j % 2 if level == 1 else 0 for j in range(4)] for level in levels]
        correct = [[1] * 4 if level == 1 or not is_base else [0, 0, 1, 1] for level in levels]
        if not is_base:
            correct[0] = [0] * 4  # never solved after training: its length counts in neither
        about = {"levels": levels, "num_wrong_steps": wrong, "lengths": lengths, "correct": correct}
        about |= {"answers": [["r" if c else "w" for c in row] for row in correct]}
        records.write_record(path, record.model_copy(update={**about, "num_unsourced_steps": unsourced}))
    study = load_study(folder)
    sft = {row.label: row for row in anatomy(study, primary_of(study))}[SFT]
    valid, sourced, tokens = (sft.changes[name] for name in ("valid", "sourced", "tokens"))
    # The base has 40 right derived answers of level 1 and 20 of level 2: (40/2 + 20) / 60 before and after,
    # though the pooled share rises from 40/60 to (36/2 + 40) / 76.
    assert (valid.before, valid.after) == pytest.approx((40 / 60, 40 / 60))
    assert (sourced.before, sourced.after) == (1.0, 0.0)
    assert (tokens.before, tokens.after) == pytest.approx((10.0, 10 + np.mean(range(1, 20))))
    for path in folder.glob("*/eval/*/aime_gen_test.json"):  # a record of an earlier version
        records.write_record(path, records.read_eval(path).model_copy(update={"num_unsourced_steps": None}))
    study = load_study(folder)
    assert set(anatomy(study, primary_of(study))[1].changes) == {"valid", "tokens"}


def test_the_report_begins_with_it(folder: Path) -> None:
    report = build_report(load_study(folder))
    section = report.sections[0]
    assert [t.name for t in section.tables] == ["anatomy", "anatomy_problems"]
    assert [f.name for f in section.figures] == ["anatomy"]
    table, base_first = section.tables[0], section.tables[0].cells[0]
    columns = dict(zip(table.columns, zip(*table.cells, strict=True), strict=True))
    assert base_first[0] == NO_TRAINING and columns["own best T"] == ("0.3", "0.3", "1")
    mean = 100 * np.mean([avg(folder, "base", s, cold=True) for s in range(3)])
    assert columns["avg@4, own best"][0] == f"{mean:.1f}"
    assert columns["avg@4, T = 1"][1].count("(") == 1 and "[" in columns["pass@4"][2]
    assert section.text[0].startswith("Not declared")
    assert section.text[1].startswith("No training: sampled at its own best temperature (0.3)")
    assert section.text[2].startswith("The best temperature is the lowest that was tried, 0.3, in most seeds")
    assert f"{NO_TRAINING}, {SFT}:" in section.text[2] and len(section.text) == 3  # GRPO's is the main one
    row = table.raw.set_index("arm").loc[GRPO]
    assert row["best_gain"] == pytest.approx(
        np.mean([avg(folder, "grpo", s, cold=False) - avg(folder, "base", s, cold=True) for s in range(3)])
    )


def test_the_figure_has_the_base_twice_and_greedy_answers_as_crosses(folder: Path) -> None:
    study = load_study(folder)
    primary = primary_of(study)
    figure = anatomy_figure(study, primary)
    assert figure is not None
    for series, rows in (
        (GRPO, final_rows(study, GRPO, primary.task)),
        (BASE, final_rows(study, GRPO, primary.task, base=True)),
        (BASE_BEST, own_best(study, GRPO, primary.task, base=True)),
    ):
        own = [row for row in figure.rows if row["series"] == series]
        curve = [row for row in own if not row.get("cross")]
        assert [row["x"] for row in curve] == [1.0, 2.0, 4.0]
        assert curve[0]["value"] == pytest.approx(100 * np.mean([r["avg"] for r in rows.values()]))
        assert curve[-1]["value"] == pytest.approx(100 * np.mean([r["pass"] for r in rows.values()]))
        crosses = [row["value"] for row in own if row.get("cross")]
        greedy = [r["greedy"] for r in rows.values() if r["greedy"] == r["greedy"]]
        assert crosses == ([] if series == BASE_BEST else [pytest.approx(100 * np.mean(greedy))])


def test_without_further_samplings_the_table_says_what_to_set(make_study: Callable[..., Path]) -> None:
    study = load_study(make_study(seeds=3, models=("xs", "s")))
    table = build_report(study, figures=False).tables[0]
    columns = dict(zip(table.columns, zip(*table.cells, strict=True), strict=True))
    assert set(columns["avg@4, own best"]) == {ASK} and set(columns["sharpening"]) == {"—"}
    assert table.cells[0][0] == "no training, model=xs" and table.cells[1][0] == "no training, model=s"
    assert "over the untrained base" in table.note


def test_a_committed_study_keeps_both_and_reads_the_main_ones(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "reference"
    assert main(["report", str(folder), "--out", str(tmp_path / "r"), "--reference", str(out)]) == 0
    frame = Committed.read(out).table("evaluations")
    assert set(frame.loc[~frame["main"], "temperature"]) == {0.3} and frame["main"].sum() > 0
    before = Committed.read(out).accuracy[SFT].before
    assert before.loc[1, "avg"] == pytest.approx(avg(folder, "base", 1, cold=False), abs=1e-5)


def test_samplings_are_named_as_people_say_them() -> None:
    assert sampling_text([(0.3, 1.0), (0.3, 1.0)]) == "0.3"
    assert sampling_text([(0.5, 1.0), (0.3, 1.0), (0.3, 1.0)]) == "0.3 ×2; 0.5 ×1"
    assert sampling_text([(0.6, 0.95)]) == "0.6, top-p 0.95" and sampling_text([]) == "—"


def test_a_share_is_shown_where_there_is_a_gain_to_share_out() -> None:
    def shown(gains: list[float], left: list[float]) -> str:
        share = ratio_of_means(np.subtract(gains, left), gains)
        return share_text(ArmAnatomy("a", False, {}, {"avg": paired_t(gains)}, sharpening=share))

    # 5.0, 6.0, 7.0 of which 2.5, 2.0 and 4.5 are left: 9 / 18 is gone.
    assert shown([5.0, 6.0, 7.0], [2.5, 2.0, 4.5]).startswith("50 % [")
    assert shown([-5.0, -6.0, -7.0], [-2.5, -2.0, -4.5]) == "—"  # a loss has no such share
    assert shown([5.0, -6.0, 7.0], [2.5, 2.0, 4.5]) == "—"  # nor has a gain that is not told from 0
    assert shown([5.0, 7.0], [2.5, 3.5]) == "50 %"  # two seeds: the estimate alone
