"""Ratios of gains on untrained to trained families, against the records of a study on disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from analysis.report.build import build_report
from analysis.stats.intervals import paired_t
from analysis.stats.ratio import ratio_of_means
from analysis.study.contrasts import primary_of
from analysis.study.load import load_study
from analysis.study.transfer import Transfer, transfers
from analysis.tables.transfer import transfer_answers
from harness.records import records


def rewritten(folder: Path) -> dict[str, list[tuple[float, float]]]:
    """Give every seed other gains; label -> (gain on test, gain on heldout) of each seed, by plain sums."""
    found: dict[str, list[tuple[float, float]]] = {}
    for name in ("sft_rejection", "grpo"):
        for seed in range(3):
            means = {}
            for split in ("test", "heldout"):
                (base,) = folder.parent.glob(f"bases/*/eval/base-key{seed}/aime_gen_{split}.json")
                (arm,) = folder.glob(f"{name}-*-s{seed}-*/eval/*/aime_gen_{split}.json")
                record = records.read_eval(arm)
                for row in record.correct[: 2 * seed + 3 * (split == "test")]:
                    row[:] = [1, 1, 1, 1]
                record.answers = [["right" if c else "wrong" for c in row] for row in record.correct]
                records.write_record(arm, record)
                before, after = (np.mean(records.read_eval(path).correct) for path in (base, arm))
                means[split] = float(after - before)
            found.setdefault(name, []).append((means["test"], means["heldout"]))
    return found


def test_transfer_is_the_ratio_of_gains_over_the_base(make_study: Callable[..., Path]) -> None:
    folder = make_study(models=("xs",))
    by_hand = rewritten(folder)
    study = load_study(folder)
    found = {
        (row.label.split("=")[1].split()[0], row.measure): row for row in transfers(study, primary_of(study))
    }
    assert {measure for _, measure in found} == {"avg", "greedy"}  # sampled at one temperature alone
    for name, pairs in by_hand.items():
        row = found[name, "avg"]
        trained, untrained = np.array(pairs).T
        wanted = ratio_of_means(untrained, trained)
        assert row.trained.estimate == pytest.approx(trained.mean())
        assert row.untrained.estimate == pytest.approx(untrained.mean())
        assert wanted is not None and row.ratio is not None
        assert (row.ratio.estimate, row.ratio.low) == pytest.approx((wanted.estimate, wanted.low))
    (table,) = [t for t in build_report(study, figures=False).tables if t.name == "transfer"]
    assert len(table.cells) == 4 and table.columns[-2:] == ["transfer", "the gain"]


def test_without_such_a_split_there_is_none(make_study: Callable[..., Path]) -> None:
    folder = make_study(models=("xs",))
    for path in [*folder.glob("*/eval/*/*heldout*"), *folder.parent.glob("bases/*/eval/*/*heldout*")]:
        path.unlink()
    study = load_study(folder)
    assert transfers(study, primary_of(study)) == []


def test_losses_have_no_ratio(make_study: Callable[..., Path]) -> None:
    folder = make_study(models=("xs",))
    rewritten(folder)
    for path in folder.glob("grpo-*/eval/*/aime_gen_*.json"):
        record = records.read_eval(path)
        record.correct = [[0] * len(row) for row in record.correct]
        record.answers = [["wrong"] * len(row) for row in record.correct]
        records.write_record(path, record)
    study = load_study(folder)
    lost = [row for row in transfers(study, primary_of(study)) if row.label.startswith("objective=grpo")]
    avg = next(row for row in lost if row.measure == "avg")
    assert avg.trained.estimate < 0 and avg.untrained.estimate < 0 and avg.ratio is None
    (table,) = [t for t in build_report(study, figures=False).tables if t.name == "transfer"]
    assert next(row[-2] for row in table.cells if row[0].startswith("objective=grpo")) == "—"


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (0.05, 0.2, "stays"),
        (0.55, 0.8, "carries over"),
        (0.3, 0.45, "undecided"),
        (0.2, 0.6, "undecided"),
        (None, None, None),
    ],
)
def test_a_gain_stays_or_carries_over_by_the_whole_interval(
    low: float | None, high: float | None, word: str | None
) -> None:
    trained = paired_t([0.05, 0.06, 0.07])
    ratio = replace(paired_t([0.4, 0.5, 0.6]), low=low, high=high)
    assert Transfer("grpo", "avg", trained, trained, ratio).word == word
    unclear = paired_t([-0.05, 0.06, 0.01])  # its interval holds 0
    assert Transfer("grpo", "avg", unclear, trained, ratio).word is None


def test_untrained_families_can_be_the_primary_split_and_the_answer_has_the_ratio(
    make_study: Callable[..., Path],
) -> None:
    folder = make_study(models=("xs",))
    rewritten(folder)
    before = {(t.label, t.measure): t.ratio for t in _transfers(folder)}
    plan = records.read_study(folder)
    plan.primary = {"factor": "objective", "criterion": "gain", "split": "heldout", "metric": "avg"}
    plan.declared = {**plan.declared, "family": ["grpo"]}
    records.write_record(folder / "study.json", plan)
    assert {(t.label, t.measure): t.ratio for t in _transfers(folder)} == before
    found = [t for t in _transfers(folder) if t.claimed is not None]
    study = load_study(folder)
    lines = [
        line for line in build_report(study, figures=False).answers if line.startswith("Share of the gain")
    ]
    assert found and len(lines) == len({t.label for t in found})
    assert f"{found[0].ratio.estimate:.2f}" in lines[0]


def _transfers(folder: Path) -> list[Transfer]:
    study = load_study(folder)
    return transfers(study, primary_of(study))


def test_arms_that_trained_what_the_other_leaves_out_are_crossed(make_study: Callable[..., Path]) -> None:
    folder = make_study(models=("xs",))
    by_hand = rewritten(folder)
    assert not any(row.of for row in _transfers(folder))  # both arms trained the same families
    for name, topics in (("sft_rejection", ("gcd", "divisors")), ("grpo", ("divisors", "gcd"))):
        for split, topic in zip(("test", "heldout"), topics, strict=True):
            for path in folder.glob(f"{name}-*/eval/*/aime_gen_{split}.json"):
                record = records.read_eval(path)
                record.problem_ids = [f"gen/{topic}/{i}" for i in range(len(record.problem_ids))]
                record.topics = [topic] * len(record.problem_ids)
                records.write_record(path, record)
    found = _transfers(folder)
    (row,) = [row for row in found if row.of and row.measure == "avg"]
    assert row.label == "xs, crossed" and len(row.of) == 2
    trained, untrained = np.array([np.mean(pairs, axis=0) for pairs in zip(*by_hand.values(), strict=True)]).T
    wanted = ratio_of_means(untrained, trained)
    assert wanted is not None and row.ratio is not None
    assert row.trained.estimate == pytest.approx(trained.mean())
    assert (row.ratio.estimate, row.ratio.low) == pytest.approx((wanted.estimate, wanted.low))
    report = build_report(load_study(folder), figures=False)
    gains = [replace(each, trained=paired_t([0.05, 0.06, 0.07])) for each in found]
    lines = transfer_answers(gains)  # of the crossed rows alone
    assert lines and all(line.startswith("Share of the gain of xs, crossed that") for line in lines)
    (table,) = [t for t in report.tables if t.name == "transfer"]
    assert "Crossed: two arms" in table.note
