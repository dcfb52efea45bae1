"""Differences of differences in each seed, against scipy; the levels of a third factor are averaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.stats as sps

from analysis.report.build import build_report
from analysis.study.contrasts import final_rows, primary_of
from analysis.study.interactions import interactions
from analysis.study.load import load_study
from analysis.tables.interactions import interactions_table
from harness.records.records import Arm, read_study, write_record

MODELS = ("xs", "s", "m", "l")


@pytest.fixture
def study(make_study: Callable[..., Path]) -> Path:
    """Two objectives by four models, the first of each the control, five seeds."""
    folder = make_study(seeds=5, models=MODELS)
    record = read_study(folder)
    record.primary = {"factor": "objective", "contrast": "grpo"}
    write_record(folder / "study.json", record)
    return folder


def effects(folder: Path) -> dict[str, np.ndarray]:
    """GRPO less SFT in each seed, by model."""
    loaded = load_study(folder)
    task = primary_of(loaded).task

    def accuracies(objective: str, model: str) -> list[float]:
        rows = final_rows(loaded, f"objective={objective} model={model}", task)
        return [float(rows[str(seed)]["avg"]) for seed in range(5)]

    return {m: np.subtract(accuracies("grpo", m), accuracies("sft_rejection", m)) for m in MODELS}


def test_an_interaction_is_a_difference_of_differences_in_each_seed(study: Path) -> None:
    effect, loaded = effects(study), load_study(study)
    primary = primary_of(loaded)
    rows = interactions_table(loaded, primary).raw.set_index("at")
    assert rows.index.tolist() == ["s", "m", "l"] and set(rows["against"]) == {"xs"}
    p = {}
    for m in ("s", "m", "l"):
        found = sps.ttest_1samp(effect[m] - effect["xs"], 0)
        row, p[m] = rows.loc[m], found.pvalue
        assert row["more"] == pytest.approx(np.mean(effect[m] - effect["xs"])) and row["seeds"] == 5
        assert (row["more_low"], row["more_high"]) == pytest.approx(tuple(found.confidence_interval(0.95)))
        assert row["p_value"] == pytest.approx(found.pvalue)
        assert (row["here"], row["there"]) == pytest.approx((effect[m].mean(), effect["xs"].mean()))
    low, middle, high = sorted(p.values())
    first = min(1.0, 3 * low)
    second = max(first, min(1.0, 2 * middle))
    assert sorted(rows["p_holm"]) == pytest.approx([first, second, max(second, high)])
    assert "interactions" in [t.name for t in build_report(loaded, figures=False).tables]


@pytest.mark.parametrize("whole", [True, False])
def test_settings_of_a_third_factor_are_averaged_where_both_sides_have_them(study: Path, whole: bool) -> None:
    """The runs of the four models as those of two corpora by two sizes.

    Of corpus b less corpus a at size small it is s less xs, at size large l less m; the mean counts.
    Without the control of corpus b at size large, which then has no effect, it is s less xs.
    """
    effect, record = effects(study), read_study(study)
    runs = {(a.levels["objective"], a.levels["model"]): a.runs for a in record.arms}
    cells = (("a", "small", "xs"), ("b", "small", "s"), ("a", "large", "m"), ("b", "large", "l"))
    record.arms = [
        Arm(
            label=f"{objective} {corpus} {size}",
            levels={"objective": objective, "corpus": corpus, "size": size},
            overrides=[],
            runs=runs[objective, model],
        )
        for objective in ("sft_rejection", "grpo")
        for corpus, size, model in cells
        if whole or (objective, corpus, size) != ("sft_rejection", "b", "large")
    ]
    factors = {"objective": ["sft_rejection", "grpo"], "corpus": ["a", "b"], "size": ["small", "large"]}
    record.factors, record.control = factors, {name: levels[0] for name, levels in factors.items()}
    write_record(study / "study.json", record)
    loaded = load_study(study)
    found = {x.other: x for x in interactions(loaded, primary_of(loaded))}
    corpus = found["corpus"]
    assert (corpus.at, corpus.settings) == ("b", 1 + whole)
    small, large = effect["s"] - effect["xs"], effect["l"] - effect["m"]
    expected = (small + large) / 2 if whole else small
    assert corpus.difference.estimate == pytest.approx(expected.mean())
    assert corpus.difference.se == pytest.approx(expected.std(ddof=1) / 5**0.5)


def test_one_factor_has_none(make_study: Callable[..., Path]) -> None:
    loaded = load_study(make_study(models=("xs",)))
    assert interactions_table(loaded, primary_of(loaded)).cells == []


def test_a_factor_without_a_control_level_has_none(study: Path) -> None:
    """As in a study that several launches made by hand."""
    record = read_study(study)
    record.control = {"objective": "sft_rejection"}
    write_record(study / "study.json", record)
    loaded = load_study(study)
    assert interactions(loaded, primary_of(loaded)) == []
