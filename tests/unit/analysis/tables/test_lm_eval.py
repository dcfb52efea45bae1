"""Tasks of lm-eval before and after training, on records written by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from analysis.study.contrasts import arm_results, primary_of
from analysis.study.load import load_study
from analysis.tables.lm_eval import lm_eval_table
from harness.records.lm_eval import LmEvalRecord, lm_eval_path
from harness.records.records import read_run, write_record

STEP, KEY = 4, "aaaa1111"


def write(folder: Path, step: int, value: float, documents: str = "d") -> None:
    """One task: accuracy `value`, and a perplexity for which lower is better."""
    at = f"step_{step:06d}" if step else "base"
    record = LmEvalRecord(
        key=KEY,
        task="swag",
        checkpoint=at,
        step=step,
        run_id=None,
        base_id=None,
        limit=None,
        num_fewshot=None,
        chat_template=False,
        results={"swag": {"acc,none": value, "ppl,none": 10 * value}},
        higher_is_better={"swag": {"acc": True, "ppl": False}},
        documents={"swag": documents},
        num_documents={"swag": 50},
        seconds=1.0,
        lm_eval_version="0.4.13",
    )
    write_record(lm_eval_path(folder, at, KEY, "swag"), record)


def test_changes_are_paired_with_the_seeds_base_and_the_controls(make_study) -> None:
    """By hand: base 0.6; sft 0.52, 0.61, 0.72; grpo 0.47, 0.59, 0.66, so -0.08 / 3 on average. Minus the
    control's: -0.05, -0.02, -0.06: mean -0.13 / 3, sd 0.020817, se 0.012019, t(2) = 4.30265: half a width
    is 0.05171.
    """
    folder = make_study(seeds=3, models=("xs",))
    after = {"sft_rejection": (0.52, 0.61, 0.72), "grpo": (0.47, 0.59, 0.66)}
    for arm, values in after.items():
        for seed, value in enumerate(values):
            run = folder / f"{arm}-xs-s{seed}-abcd"
            record = read_run(run)
            write(run, record.steps_done, value)
            write(folder.parent / "bases" / str(record.base_id), 0, 0.6)
    study = load_study(folder)
    table = lm_eval_table(study, arm_results(study, primary_of(study)))
    rows = {(row["arm"].split()[0], row["metric"]): row for row in table.raw.to_dict("records")}
    assert table.cells[0][1] == "acc,none" and "ppl,none ↓" in {row[1] for row in table.cells}
    grpo = rows["objective=grpo", "acc,none"]
    assert grpo["base"] == pytest.approx(0.6) and grpo["change"] == pytest.approx(-0.08 / 3)
    assert grpo["difference"] == pytest.approx(-0.13 / 3)
    assert grpo["difference_high"] == pytest.approx(-0.13 / 3 + 0.05171, abs=1e-5)
    assert np.isnan(rows["objective=sft_rejection", "acc,none"]["difference"])
    assert (grpo["documents"], grpo["seeds"]) == (50, 3)


def test_another_set_of_documents_is_no_change(make_study) -> None:
    folder = make_study(seeds=1, models=("xs",))
    run = folder / "grpo-xs-s0-abcd"
    record = read_run(run)
    write(run, record.steps_done, 0.5)
    write(folder.parent / "bases" / str(record.base_id), 0, 0.6, documents="others")
    study = load_study(folder)
    (row, _) = lm_eval_table(study, arm_results(study, primary_of(study))).raw.to_dict("records")
    assert row["after"] == 0.5 and row["change"] is None
