"""Accuracy by level, subject and family, against numbers worked out here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from analysis.report.build import build_report
from analysis.study.contrasts import primary_of
from analysis.study.load import load_study
from analysis.tables import groups
from analysis.tables.groups import group_tables
from analysis.tables.table import Table
from harness.records import records

ARM = "objective=grpo model=xs"


def regroup(study: Path, **fields: Any) -> None:
    """Give every evaluation's problems these levels, topics or ids; numbers are cut to the 20 problems."""
    for path in [*study.glob("*/eval/*/*.json"), *study.parent.glob("bases/*/eval/*/*.json")]:
        record = records.read_eval(path)
        for name, values in fields.items():
            setattr(record, name, list(values))
        records.write_record(path, record)


def tables(study: Path) -> dict[str, Table]:
    loaded = load_study(study)
    return {table.name: table for table in group_tables(loaded, primary_of(loaded))}


def test_accuracies_by_level_are_means_over_seeds_with_their_t(make_study: Callable[..., Path]) -> None:
    study = make_study(seeds=3, models=("xs",))
    levels = [2] * 5 + [10] * 12 + [None] * 3
    regroup(study, levels=levels)
    table = tables(study)["by_level"]
    assert table.columns == ["arm", "level 2 (n = 5)", "level 10 (n = 12)"]  # by number, not as texts
    paths = sorted(study.glob("grpo-xs-s*/eval/step_*/aime_gen_test.json"))
    per_seed = [np.array(records.read_eval(path).correct)[5:17].mean() for path in paths]
    mean, half = np.mean(per_seed), stats.t.ppf(0.975, 2) * np.std(per_seed, ddof=1) / 3**0.5
    raw = table.raw.set_index(["arm", "level"]).loc[(ARM, "10")]
    assert (raw["estimate"], raw["low"], raw["high"]) == pytest.approx((mean, mean - half, mean + half))
    assert (raw["problems"], raw["n"]) == (12, 3)
    row = next(cells for cells in table.cells if cells[0] == ARM)
    assert row[2].startswith(f"{100 * mean:.1f} [")
    assert table.cells[0][0] == "base" and len(table.cells) == 3  # the base once, and two arms


def test_families_that_are_the_subjects_are_shown_once(make_study: Callable[..., Path]) -> None:
    study = make_study(seeds=3, models=("xs",))
    regroup(study, topics=["algebra"] * 8 + ["geometry"] * 12)
    assert set(tables(study)) == {"by_subject"}
    ids = [f"aime_gen/test/{i:06d}-{'gcd' if i < 5 else 'digit_sum'}-L1" for i in range(20)]
    regroup(study, problem_ids=ids)
    found = tables(study)
    assert set(found) == {"by_subject", "by_family"}
    assert found["by_family"].columns == ["arm", "family digit_sum (n = 15)", "family gcd (n = 5)"]


def test_one_group_is_no_table(make_study: Callable[..., Path]) -> None:
    study = make_study(seeds=3, models=("xs",))
    assert tables(study) == {}
    regroup(study, levels=[1] * 20)
    assert tables(study) == {}


def test_too_many_groups_are_cut_on_the_page_and_whole_in_the_csv(
    make_study: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "WIDEST", 3)
    study = make_study(seeds=3, models=("xs",))
    regroup(study, levels=[i % 5 for i in range(20)])
    table = tables(study)["by_level"]
    assert len(table.columns) == 4 and "first 3 of 5" in table.note and table.raw["level"].nunique() == 5


def test_the_report_shows_them(make_study: Callable[..., Path]) -> None:
    study = make_study(seeds=3, models=("xs",))
    regroup(study, levels=[1, 2] * 10)
    report = build_report(load_study(study), figures=False)
    assert "by_level" in {table.name for table in report.tables}
