"""Self-evolution in a study on disk, against numbers worked out from its records by other means."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats as sps

from analysis.figures.discovery import discovery as discovery_figure
from analysis.figures.values import named
from analysis.report.build import build_report
from analysis.report.content import ReportSection
from analysis.report.reference import reference_files
from analysis.stats.ratio import ratio_of_means
from analysis.study.contrasts import arm_results, primary_of
from analysis.study.discovery import Discovery, discoveries
from analysis.study.load import load_study
from analysis.study.verdicts import contrast_verdicts
from analysis.tables.discovery import discovery_table
from harness.records import records
from harness.records.records import EvalRecord

SFT, GRPO = "objective=sft_rejection", "objective=grpo"
K = 4


def rewrite(path: Path, chance: float) -> None:
    """Give a record chains: of its right samples a share `chance`, in three ways; log p by the way."""
    record = records.read_eval(path)
    rng = random.Random(str(path.relative_to(path.parents[3])))
    valid = [[int(c and rng.random() < chance) for c in row] for row in record.correct]
    ways = ["a", "b"] if record.step == 0 else ["a", "b", "c"]
    record.valid_chains = valid
    record.topics = [("sums", "gcd", "gcd")[i % 3] for i in range(record.n_problems)]
    record.templates = [[rng.choice(ways) if rng.random() < 0.8 or v else None for v in row] for row in valid]
    record.base_logprobs = [
        [-1.0 - "abc".index(t) if v and t else None for v, t in zip(row, names, strict=True)]
        for row, names in zip(valid, record.templates, strict=True)
    ]
    records.write_record(path, record)


@pytest.fixture
def folder(make_study: Callable[..., Path]) -> Path:
    found = make_study(models=("xs",))
    chances = {"bases": 0.3, "sft_rejection": 0.6, "grpo": 0.9}
    for path in [
        *found.parent.glob("bases/*/eval/*/aime_gen_test.json"),
        *found.glob("*/eval/*/aime_gen_test.json"),
    ]:
        name = "bases" if "bases" in path.parts else path.relative_to(found).parts[0].split("-")[0]
        rewrite(path, chances[name])
    study = records.read_study(found)
    study.declared = {**study.declared, "ceiling": "sft_rejection"}
    study.primary = {**study.primary, "factor": "objective"}
    records.write_record(found / "study.json", study)
    return found


def records_of(folder: Path, objective: str) -> list[tuple[EvalRecord, EvalRecord]]:
    """(base, checkpoint) of each seed."""
    pairs = []
    for seed in range(3):
        (base,) = folder.parent.glob(f"bases/*/eval/base-key{seed}/aime_gen_test.json")
        (arm,) = folder.glob(f"{objective}-*-s{seed}*/eval/*/aime_gen_test.json")
        pairs.append((records.read_eval(base), records.read_eval(arm)))
    return pairs


def found_in(folder: Path, label: str) -> Discovery:
    study = load_study(folder)
    rows = discoveries(study, primary_of(study))
    assert {row.task for row in rows} == {"aime_gen_test"}  # no other split has chains
    return next(row for row in rows if row.label.startswith(label))


def chain_shares(pairs: list[tuple[EvalRecord, EvalRecord]]) -> np.ndarray:
    return np.array([[np.mean(r.valid_chains) for r in pair] for pair in pairs])


def test_gain_in_valid_chains_is_a_paired_t(folder: Path) -> None:
    shares = chain_shares(records_of(folder, "grpo"))
    row = found_in(folder, GRPO)
    test = sps.ttest_rel(shares[:, 1], shares[:, 0])
    low, high = test.confidence_interval(0.95)
    assert row.gain is not None and row.value is not None
    assert (row.gain.estimate, row.gain.low, row.gain.high) == pytest.approx(
        (shares[:, 1].mean() - shares[:, 0].mean(), low, high)
    )
    assert row.value.estimate == pytest.approx(shares[:, 1].mean()) and row.base == pytest.approx(
        shares[:, 0].mean()
    )


def test_problems_beyond_the_base_are_those_that_it_never_solves(folder: Path) -> None:
    row = found_in(folder, GRPO)
    for name, field in (("beyond", "valid_chains"), ("beyond_right", "correct")):
        by_seed, passes = [], []
        for base, arm in records_of(folder, "grpo"):
            marks = list(zip(getattr(base, field), getattr(arm, field), strict=True))
            passes.append(np.mean([any(b) for b, _ in marks]))  # of all of its samples
            by_seed.append(np.mean([np.mean(a) > passes[-1] and not any(b) for b, a in marks]))
        interval = getattr(row, name)
        if name == "beyond":
            assert row.base_pass is not None and row.base_pass.estimate == pytest.approx(np.mean(passes))
        assert row.k == K and interval.estimate == pytest.approx(np.mean(by_seed))
    assert row.chance is not None and row.chance_right is not None and 0 < row.chance < 0.5


def test_what_the_base_reaches_is_known_by_family(folder: Path) -> None:
    families = found_in(folder, GRPO).base_pass_by_family
    assert list(families) == ["gcd", "sums"]
    passes: dict[str, list[float]] = {}
    for base, _ in records_of(folder, "grpo"):
        hits: dict[str, list[bool]] = {}
        for family, marks in zip(base.topics or [], base.valid_chains or [], strict=True):
            hits.setdefault(str(family), []).append(any(marks))
        for name, own in hits.items():
            passes.setdefault(name, []).append(float(np.mean(own)))
    assert families == pytest.approx({name: np.mean(own) for name, own in passes.items()})
    study = load_study(folder)
    row = discovery_table(study, discoveries(study, primary_of(study))).raw.iloc[0]
    listed = "; ".join(f"{name}={share:.4f}" for name, share in families.items())
    assert row["base_pass_by_family"] == listed


def test_new_templates_and_what_the_base_thinks_of_them(folder: Path) -> None:
    row = found_in(folder, GRPO)
    shares, unseen, means = [], [], []
    for base, arm in records_of(folder, "grpo"):
        total, new, logprobs, nowhere = 0, 0, [], 0
        for i, marks in enumerate(arm.valid_chains or []):
            for j, mark in enumerate(marks):
                if not mark:
                    continue
                total += 1
                name = arm.templates[i][j]
                if name not in base.templates[i]:
                    new += 1
                    nowhere += name == "c"  # which the base never writes
                    logprobs.append(arm.base_logprobs[i][j])
        shares.append(new / total)
        unseen.append(nowhere / total)
        means.append(np.mean(logprobs))
    assert (
        row.new is not None and row.unseen is not None and row.logprob is not None and row.rarer is not None
    )
    assert row.new.estimate == pytest.approx(np.mean(shares)) and 0 < np.mean(unseen) < np.mean(shares)
    assert row.unseen.estimate == pytest.approx(np.mean(unseen))
    assert row.logprob.estimate == pytest.approx(np.mean(means))


def test_the_share_of_the_ceiling_is_a_ratio_of_gains(folder: Path) -> None:
    ours, most = (chain_shares(records_of(folder, name)) for name in ("grpo", "sft_rejection"))
    wanted = ratio_of_means(ours[:, 1] - ours[:, 0], most[:, 1] - most[:, 0])
    row = found_in(folder, GRPO)
    assert wanted is not None and row.of_ceiling is not None
    assert (row.of_ceiling.estimate, row.of_ceiling.low) == pytest.approx((wanted.estimate, wanted.low))
    assert found_in(folder, SFT).of_ceiling is None  # it is the ceiling


def test_the_report_has_the_table_and_the_figure_and_others_have_neither(
    folder: Path, make_study: Callable[..., Path]
) -> None:
    study = load_study(folder)
    primary = primary_of(study)
    report = build_report(study, figures=False)
    (table,) = [t for t in report.tables if t.name == "discovery"]
    assert [row[1] for row in table.cells] == [a.label for a in study.record.arms]
    assert set(table.raw["task"]) == {"aime_gen_test"} and len(table.columns) == len(table.cells[0])
    figure = discovery_figure(study, primary)
    assert figure is not None and figure.title.startswith("Valid chains on test by objective")
    curve = {row["x"]: row for row in figure.rows if row["series"].startswith(GRPO)}
    pairs = records_of(folder, "grpo")
    ones = chain_shares(pairs)[:, 1]
    low, high = sps.ttest_1samp(ones, 0).confidence_interval(0.95)
    found = [curve[1.0][name] / 100 for name in ("value", "low", "high")]
    assert found == pytest.approx([ones.mean(), low, high]) and list(curve) == [1, 2, 4]
    among = [np.mean([any(row) for row in arm.valid_chains or []]) for _, arm in pairs]
    assert curve[4.0]["value"] == pytest.approx(100 * np.mean(among))
    drawn = replace(report, sections=[ReportSection("Discovery", figures=[figure])])
    assert "figures/discovery.png" in reference_files(drawn)  # without being asked for


def test_a_study_of_other_problems_has_neither(make_study: Callable[..., Path]) -> None:
    study = load_study(make_study(models=("xs",)))
    primary = primary_of(study)
    assert discoveries(study, primary) == [] and discovery_figure(study, primary) is None
    assert discovery_table(study, []).cells == []


def test_chains_can_be_the_primary_measure(folder: Path) -> None:
    study = records.read_study(folder)
    study.primary = {"factor": "objective", "contrast": "grpo", "split": "test", "metric": "chain"}
    study.control = {"objective": "sft_rejection"}
    records.write_record(folder / "study.json", study)
    loaded = load_study(folder)
    assert primary_of(loaded).metric == "chain"
    assert named(loaded, primary_of(loaded)) == "Valid chains@4 on test"  # and no accuracy
    report = build_report(loaded, figures=False)
    assert any("valid chains@4" in line for line in report.answers)


@pytest.mark.parametrize("metric", ["chain", "chain_pass"])
def test_the_floor_of_valid_chains_is_none_and_not_a_constant_answer(folder: Path, metric: str) -> None:
    """A constant answer that is right on every problem has no step, and so no valid chain."""
    for path in folder.glob("*/eval/*/aime_gen_test.json"):
        record = records.read_eval(path)
        record.best_constant = 1.0
        records.write_record(path, record)
    study = records.read_study(folder)
    study.primary = {"factor": "objective", "contrast": "grpo", "split": "test", "metric": metric}
    study.control = {"objective": "sft_rejection"}
    records.write_record(folder / "study.json", study)
    loaded = load_study(folder)
    primary = primary_of(loaded)
    results = arm_results(loaded, primary)
    assert all("not above the best constant answer" not in r.flags for r in results)
    (verdict,) = contrast_verdicts(loaded, primary, results)
    assert not verdict.primary.evidence.at_floor
    by_hand = [
        np.mean([(any(row) if metric == "chain_pass" else np.mean(row)) for row in arm.valid_chains or []])
        for _, arm in records_of(folder, "grpo")
    ]
    grpo = next(r for r in results if "grpo" in r.label)
    assert grpo.estimate is not None and grpo.estimate.estimate == pytest.approx(np.mean(by_hand))

    for path in folder.glob("*/eval/*/aime_gen_test.json"):
        record = records.read_eval(path)
        record.valid_chains = [[0] * len(row) for row in record.correct]
        records.write_record(path, record)
    loaded = load_study(folder)
    results = arm_results(loaded, primary)
    assert all("no valid chain" in r.flags for r in results)
    (verdict,) = contrast_verdicts(loaded, primary, results)
    assert verdict.primary.evidence.at_floor


def test_lists_of_another_length_are_refused(folder: Path) -> None:
    path = next(folder.glob("grpo*/eval/*/aime_gen_test.json"))
    record = records.read_eval(path)
    record.templates = (record.templates or [])[:-1]
    records.write_record(path, record)
    assert any("templates" in line for line in load_study(folder).damaged)
