"""Arms that share weights and are evaluated on other problems: each has the base of its own problems."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.figures.anatomy import anatomy as anatomy_figure
from analysis.figures.theme import BASE
from analysis.report.build import build_report
from analysis.report.committed import Committed
from analysis.report.committed_verdicts import families_of, right_by_family
from analysis.report.reference import write_reference
from analysis.stats.text import points
from analysis.study.anatomy import anatomy
from analysis.study.bases import base_names, named_groups, untrained_bases
from analysis.study.contrasts import arm_results, primary_of
from analysis.study.load import Study, load_study
from analysis.tables.groups import group_tables
from analysis.tables.measures import splits_table
from harness.records import records
from tests.unit.analysis.conftest import SPLITS

SFT, GRPO = "objective=sft_rejection model=xs", "objective=grpo model=xs"
RIGHT = (12, 14, 16)  # of 20 problems, what the base solves of the second half's at seeds 0, 1, 2


@pytest.fixture
def study(make_study: Callable[..., Path]) -> Study:
    """Two arms of one base a seed; GRPO's problems are others, of which the base solves RIGHT."""
    folder = make_study(seeds=3, models=("xs",))
    for seed in range(3):
        base = folder.parent / "bases" / "base-xs" / "eval"
        for split in SPLITS:
            for path, step in (
                (base / f"base-key{seed}" / f"aime_gen_{split}.json", 0),
                (folder / f"grpo-xs-s{seed}-abcd/eval/step_000006-key{seed}/aime_gen_{split}.json", 6),
            ):
                record = records.read_eval(path)
                record.key = f"other{seed}"
                record.problem_ids = [f"other-{name}" for name in record.problem_ids]
                record.best_constant = 0.2 + seed / 10
                record.levels = [3, 4] * 10
                record.topics = ["gcd"] * 20
                if step == 0:
                    record.correct = [[int(i < RIGHT[seed])] * 4 for i in range(20)]
                    record.answers = [["right" if c else "wrong" for c in row] for row in record.correct]
                else:
                    path.unlink()
                checkpoint = record.checkpoint.replace("key", "other")
                record.checkpoint = checkpoint
                records.write_record(path.parents[1] / checkpoint / path.name, record)
    return load_study(folder)


def first_half(study: Study) -> float:
    """The base's mean accuracy on the first half's problems, straight from its files."""
    paths = sorted((study.folder.parent / "bases").glob("base-xs/eval/base-key*/aime_gen_test.json"))
    rates = [sum(map(sum, records.read_eval(path).correct)) / 80 for path in paths]
    assert len(rates) == 3
    return sum(rates) / 3


def test_a_base_is_shared_where_problems_are_shared_too(study: Study) -> None:
    """RIGHT is 12, 14 and 16 of 20: 0.6, 0.7, 0.8, mean 0.7."""
    bases = untrained_bases(study, "aime_gen_test")
    assert [(base.label, base.arms) for base in bases] == [
        ("untrained base, objective=sft_rejection", [SFT]),
        ("untrained base, objective=grpo", [GRPO]),
    ]
    estimates = [base.estimate(study, "avg", 0.95) for base in bases]
    found = [interval.estimate for interval in estimates if interval is not None]
    assert found == pytest.approx([first_half(study), 0.7]) and abs(first_half(study) - 0.7) > 0.2
    assert base_names(study, "aime_gen_test") == {
        SFT: "base, objective=sft_rejection",
        GRPO: "base, objective=grpo",
    }


def test_one_seed_with_other_problems_is_enough(make_study: Callable[..., Path]) -> None:
    folder = make_study(seeds=3, models=("xs",))
    assert [base.arms for base in untrained_bases(load_study(folder), "aime_gen_test")] == [[SFT, GRPO]]
    base = folder.parent / "bases" / "base-xs" / "eval"
    for path in (base / "base-key1", folder / "grpo-xs-s1-abcd" / "eval" / "step_000006-key1"):
        record = records.read_eval(path / "aime_gen_test.json")
        record.key = record.checkpoint = "other1"
        record.problem_ids = ["another", *record.problem_ids[1:]]
        records.write_record(path.with_name("other1") / "aime_gen_test.json", record)
    for run in folder.glob("*-xs-s1-*"):
        made = records.read_run(run)
        made.eval_keys = {"aime_gen_test": "other1" if run.name.startswith("grpo") else "key1"}
        records.write_record(run / "run.json", made)
    bases = untrained_bases(load_study(folder), "aime_gen_test")
    assert [base.arms for base in bases] == [[SFT], [GRPO]]


def test_the_anatomy_has_a_row_and_a_curve_for_each_half(study: Study) -> None:
    primary = primary_of(study)
    rows = {row.label: row.values["avg"] for row in anatomy(study, primary) if row.is_base}
    assert list(rows) == ["no training, objective=sft_rejection", "no training, objective=grpo"]
    values = [interval.estimate for interval in rows.values() if interval is not None]
    assert values == pytest.approx([first_half(study), 0.7])
    figure = anatomy_figure(study, primary)
    assert figure is not None
    curves = [row for row in figure.rows if row["series"] == BASE and row["x"] == 1 and not row.get("cross")]
    assert [row["value"] for row in curves] == pytest.approx([100 * first_half(study), 70])


def test_tables_by_level_have_both_bases(study: Study) -> None:
    """The second half's problems are of levels 3 and 4, ten each, of which 6, 7 and 8 are solved."""
    (table,) = [table for table in group_tables(study, primary_of(study)) if table.name == "by_level"]
    rows = {cells[0]: cells[1:] for cells in table.cells}
    assert rows["base, objective=grpo"] == ["70.0 [45.2, 94.8]"] * 2  # sd 0.1: 4.303 · 0.1 / √3 = 0.248
    assert set(rows) == {"base, objective=grpo", GRPO}  # the first half's problems have no levels


def test_constants_are_means_over_seeds_of_each_half(study: Study) -> None:
    """0.2, 0.3 and 0.4 on the second half's problems, 0.1 at every seed on the first half's."""
    primary = primary_of(study)
    table = splits_table(study, primary, arm_results(study, primary))
    rows = {cells[0]: set(cells[1:]) for cells in table.cells if cells[0].startswith("best constant")}
    assert rows == {
        "best constant answer, objective=sft_rejection": {points(0.1)},
        "best constant answer, objective=grpo": {points(0.3)},
    }
    assert set(table.raw[table.raw["arm"] == GRPO]["best_constant"].round(9)) == {0.3}


def test_no_list_of_problems_is_written_that_holds_for_one_arm_alone(study: Study, tmp_path: Path) -> None:
    write_reference(build_report(study, figures=False), tmp_path / "reference")
    written = Committed.read(tmp_path / "reference")
    assert written.table("problem_list").empty and len(written.table("problems")) == 12
    assert families_of(written) == [] and right_by_family(written, GRPO) == {}


def test_arms_are_grouped_by_the_keys_that_they_share(study: Study) -> None:
    assert named_groups(study, {SFT: {0: "a", 1: "b"}, GRPO: {1: "b", 2: "c"}}) == [("", [SFT, GRPO])]
    apart = [("objective=sft_rejection", [SFT]), ("objective=grpo", [GRPO])]
    assert named_groups(study, {SFT: {0: "a", 1: "b"}, GRPO: {1: "c"}}) == apart
    assert named_groups(study, {SFT: {0: "a"}, GRPO: {1: "a"}}) == apart
