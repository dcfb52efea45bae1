"""The table of splits, against numbers worked out here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from analysis.stats.intervals import paired_t
from analysis.study.contrasts import arm_results, primary_of
from analysis.study.load import load_study
from analysis.tables.measures import splits_table
from harness.records import records


def test_each_split_has_the_difference_to_the_control_paired_by_seed(make_study: Callable[..., Path]) -> None:
    folder = make_study(seeds=4, models=("xs",))
    study = load_study(folder)
    primary = primary_of(study)
    raw = splits_table(study, primary, arm_results(study, primary)).raw.set_index(["arm", "task"])

    def by_seed(objective: str, task: str) -> list[float]:
        paths = sorted(folder.glob(f"{objective}-xs-s*/eval/step_*/{task}.json"))
        return [float(np.array(records.read_eval(path).correct).mean()) for path in paths]

    tasks = {task for _, task in raw.index}
    assert len(tasks) > 1
    for task in tasks:
        name = task.removesuffix("_k")
        arm, control = (by_seed(objective, name) for objective in ("grpo", "sft_rejection"))
        assert len(arm) == 4, (name, tasks)
        wanted = paired_t(np.subtract(arm, control).tolist())
        row = raw.loc[("objective=grpo model=xs", task)]
        assert (row["difference"], row["difference_low"]) == pytest.approx((wanted.estimate, wanted.low))
        assert np.isnan(raw.loc[("objective=sft_rejection model=xs", task)]["difference"])
