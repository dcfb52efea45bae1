"""Slopes over ordered factors, each recomputed from the files by polyfit and scipy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.stats as sps

from analysis.figures.accuracy import ordered
from analysis.study.contrasts import arm_results, primary_of
from analysis.study.load import load_study
from analysis.tables.table import Table
from analysis.tables.trends import trend_sentences, trend_table
from harness.records import records
from tests.unit.analysis.conftest import COMMIT, evaluation, run_record, write_evaluation, write_run

SIZES = {"xs": 10**5, "s": 10**6, "m": 10**7}
BASES = {"xs": 0.1, "s": 0.3, "m": 0.5}  # a larger base is a better one
GAINS = {"sft_rejection": 0.2, "grpo": 0.3}


def trends(folder: Path) -> Table:
    study = load_study(folder)
    primary = primary_of(study)
    return trend_table(study, primary, arm_results(study, primary))


@pytest.fixture
def sizes(tmp_path: Path) -> Path:
    """Three sizes whose bases differ, and an objective of which each size has both levels."""
    root = tmp_path / "outputs"
    folder, arms = root / "sizes", []
    for model, size in SIZES.items():
        base = root / "bases" / f"base-{model}"
        records.write_record(
            base / "base.json",
            records.BaseRecord(
                base_id=base.name,
                identity={},
                num_parameters=size,
                tokens=1,
                flops=1.0,
                seconds=1.0,
                num_non_embedding_parameters=size,
                final_loss=0.5,
                code=COMMIT,
            ),
        )
        for seed in range(3):
            write_evaluation(
                base, evaluation(BASES[model], split="test", seed=seed, step=0, run_id=None, base=base.name)
            )
        for objective, gain in GAINS.items():
            runs = {str(seed): f"{objective}-{model}-s{seed}-abcd" for seed in range(3)}
            for seed, name in runs.items():
                write_run(folder, run_record(name, objective, model, int(seed)), BASES[model] + gain)
            levels = {"objective": objective, "model": model}
            overrides = [f"objective={objective}", f"model={model}"]
            label = f"{objective}, {model}"
            arms.append(records.Arm(label=label, levels=levels, overrides=overrides, runs=runs))
    records.write_record(
        folder / "study.json",
        records.StudyRecord(
            study="sizes",
            question="?",
            factors={"objective": list(GAINS), "model": list(SIZES)},
            seeds=[0, 1, 2],
            control={"objective": "sft_rejection", "model": "xs"},
            arms=arms,
            shared_base=True,
            command="",
        ),
    )
    return folder


def test_a_slope_over_sizes_is_told_of_the_gain_and_not_of_the_bases(sizes: Path) -> None:
    """Bases rise by 0.2 a factor of ten and gains do not: accuracy's slope must not pass for the gain's."""
    table = trends(sizes)
    raw = table.raw.set_index(["of", "at"])
    after = {
        o: np.array([[_accuracy(sizes, f"{o}-{m}-s{s}-abcd", 6) for m in SIZES] for s in range(3)])
        for o in GAINS
    }
    before = np.array([[_base(sizes, m, s) for m in SIZES] for s in range(3)])
    wanted = {
        ("avg@k", "grpo"): after["grpo"],
        ("gain over the base", "grpo"): after["grpo"] - before,
        ("difference to the control", "grpo"): after["grpo"] - after["sft_rejection"],
        ("gain over the base", "sft_rejection"): after["sft_rejection"] - before,
    }
    for place, scores in wanted.items():
        slopes = [np.polyfit([5, 6, 7], row, 1)[0] for row in scores]
        assert raw.loc[place, "slope"] == pytest.approx(np.mean(slopes)), place
        assert raw.loc[place, "p_value"] == pytest.approx(sps.ttest_1samp(slopes, 0).pvalue), place
    assert ("difference to the control", "sft_rejection") not in raw.index
    assert raw.loc[("avg@k", "grpo"), "slope"] > 0.15 > raw.loc[("gain over the base", "grpo"), "slope"]
    told = "; ".join(trend_sentences(table))
    assert "avg@k" not in told
    assert (
        "trend of gain over the base over model (parameters), points per factor of ten: sft_rejection "
        in told
    )
    assert table.cells[0][3] == "100k, 1M, 10M"
    study = load_study(sizes)
    figure = ordered(study, primary_of(study), arm_results(study, primary_of(study)))
    assert figure is not None and figure.title.startswith("Accuracy (avg@4) on test by model size, 3 seeds")
    for series in (*GAINS, "untrained base"):  # each at every size, side by side
        xs = [row["x"] for row in figure.rows if row["series"] == series]
        assert xs == pytest.approx(list(SIZES.values()), rel=0.1)


def test_a_seed_that_a_level_lacks_is_left_out_of_its_slope(sizes: Path) -> None:
    """Seed 0 has no base at one size: the gain is of seeds 1 and 2, each with its own base."""
    (sizes.parent / "bases" / "base-s" / "eval" / "base-key0" / "aime_gen_test.json").unlink()
    raw = trends(sizes).raw.set_index(["of", "at"])
    assert raw.loc[("gain over the base", "grpo"), "seeds"] == 2 and raw.loc[("avg@k", "grpo"), "seeds"] == 3
    gains = [[_accuracy(sizes, f"grpo-{m}-s{s}-abcd", 6) - _base(sizes, m, s) for m in SIZES] for s in (1, 2)]
    slopes = [np.polyfit([5, 6, 7], row, 1)[0] for row in gains]
    assert raw.loc[("gain over the base", "grpo"), "slope"] == pytest.approx(np.mean(slopes))


def test_trends_over_a_numeric_factor_and_over_checkpoints(tmp_path: Path) -> None:
    """Accuracy is set to rise with lr and with step; slopes are recomputed from the files by polyfit."""
    folder = tmp_path / "outputs" / "trend"
    arms, rates = [], ("0.0001", "0.001", "0.01")
    for i, lr in enumerate(rates):
        runs = {}
        for seed in range(3):
            name = runs[str(seed)] = f"lr{i}-s{seed}"
            record = run_record(name, "grpo", "xs", seed)
            write_run(folder, record, 0.3 + 0.2 * i)
            for step in (2, 4):
                write_evaluation(
                    folder / name,
                    evaluation(0.1 * step, split="test", seed=seed, step=step, run_id=name, base="b"),
                )
        arms.append(
            records.Arm(label=f"lr={lr}", levels={"lr": lr}, overrides=[f"trainer.lr={lr}"], runs=runs)
        )
    records.write_record(
        folder / "study.json",
        records.StudyRecord(
            study="trend",
            question="?",
            factors={"lr": list(rates)},
            seeds=[0, 1, 2],
            control={"lr": rates[0]},
            arms=arms,
            shared_base=True,
            command="",
        ),
    )
    table = trends(folder)
    told = trend_sentences(table)[0]  # there is no other factor to name a setting of
    assert told.startswith("trend of avg@k over lr, points per factor of ten: +")
    raw = table.raw.set_index(["factor", "of", "at"])
    last = np.array([[_accuracy(folder, f"lr{i}-s{s}", 6) for i in range(3)] for s in range(3)])
    slopes = [np.polyfit(np.log10([float(r) for r in rates]), row, 1)[0] for row in last]
    assert raw.loc[("lr", "avg@k", "—"), "slope"] == pytest.approx(np.mean(slopes))
    assert raw.loc[("lr", "avg@k", "—"), "p_value"] == pytest.approx(sps.ttest_1samp(slopes, 0).pvalue)
    study = load_study(folder)
    figure = ordered(study, primary_of(study), arm_results(study, primary_of(study)))
    assert figure is not None and figure.title.startswith("Accuracy (avg@4) on test by lr")
    line = [row for row in figure.rows if row["series"] == "trained"]
    assert [row["x"] for row in line] == pytest.approx([float(r) for r in rates], rel=0.05)
    assert [row["value"] for row in line] == pytest.approx(list(100 * last.mean(axis=0)))
    steps = [[_accuracy(folder, f"lr0-s{s}", t) for t in (2, 4, 6)] for s in range(3)]
    slopes = [np.polyfit(np.log10([2, 4, 6]), row, 1)[0] for row in steps]
    assert raw.loc[("steps (checkpoints)", "avg@k", "lr=0.0001"), "slope"] == pytest.approx(np.mean(slopes))
    # A seed whose problems are not the control's is in no difference.
    place = ("steps (checkpoints)", "difference to the control", "lr=0.001")
    assert raw.loc[place, "seeds"] == 3
    (path,) = (folder / "lr1-s2").glob("eval/step_000006-*/aime_gen_test.json")
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"problem_ids": ["another", *record["problem_ids"][1:]]}))
    found = trends(folder).raw.set_index(["factor", "of", "at"])
    assert found.loc[place, "seeds"] == 2


def _accuracy(folder: Path, run: str, step: int) -> float:
    (path,) = (folder / run).glob(f"eval/step_{step:06d}-*/aime_gen_test.json")
    return _mean(path)


def _base(folder: Path, model: str, seed: int) -> float:
    return _mean(
        folder.parent / "bases" / f"base-{model}" / "eval" / f"base-key{seed}" / "aime_gen_test.json"
    )


def _mean(path: Path) -> float:
    return float(np.mean(json.loads(path.read_text())["correct"]))
