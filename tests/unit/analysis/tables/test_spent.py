"""What arms spent stands in their table, and a budget that differs from the control's is said."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from analysis.study.contrasts import arm_results, primary_of
from analysis.study.load import load_study
from analysis.tables.arms import arm_table
from analysis.tables.table import Table
from harness.records import records
from harness.records.lines import MetricsWriter


def table(folder: Path) -> Table:
    study = load_study(folder)
    primary = primary_of(study)
    return arm_table(study, primary, arm_results(study, primary))


def spend(folder: Path, part: str, *, updates: float, flops: float, lr: float = 3e-4) -> None:
    """Give runs whose name holds `part` an update count a step, FLOPs in all and a learning rate."""
    for place in folder.glob(f"*{part}*"):
        (place / "metrics.jsonl").unlink()
        for extra in place.glob("metrics.jsonl.*"):
            extra.unlink()
        writer = MetricsWriter(place / "metrics.jsonl")
        for step in range(1, 7):
            writer.append({"step": step, "reward": 0.5, "updates": updates})
        run = records.read_run(place)
        run.config["trainer"]["lr"] = lr
        records.write_record(place / "run.json", run.model_copy(update={"flops": {"train": flops}}))


def test_rate_steps_updates_tokens_and_flops_stand_beside_each_arm(make_study) -> None:
    folder = make_study(models=("xs",))
    spend(folder, "sft", updates=1, flops=1e12)
    spend(folder, "grpo", updates=8, flops=1.05e12, lr=1e-4)
    spend(folder, "grpo-xs-s1", updates=8, flops=1.05e12, lr=1e-3)
    shown = table(folder)
    at = shown.columns.index("learning rate")
    names = ["learning rate", "steps", "updates", "sampled tokens", "trained tokens", "FLOPs"]
    assert shown.columns[at : at + 6] == names
    assert shown.cells[0][at : at + 6] == ["0.0003", "6", "6", "10k", "8k", "1T"]
    # 6 steps of 8 updates; the FLOPs differ by 5 %, which is not pointed out.
    assert shown.cells[1][at : at + 6] == ["0.0001 (2), 0.001 (1)", "6", "48", "10k", "8k", "1.05T"]
    assert list(shown.raw["updates"]) == pytest.approx([6, 48]) and list(shown.raw["steps"]) == [6, 6]
    sft, grpo = (f"objective={name} model=xs" for name in ("sft_rejection", "grpo"))
    said = f"Not matched, by more than a tenth: {grpo} spends 800 % of the updates of {sft}."
    assert said in shown.note and "FLOPs of" not in shown.note


def test_budgets_that_agree_need_no_word(make_study) -> None:
    assert "atched" not in table(make_study(models=("xs",))).note


def test_a_table_gives_its_own_reason_for_a_missing_bracket(make_study) -> None:
    """In a paper there is no report to look the reason up in."""
    study = make_study(models=("xs",))
    assert "Without a bracket" not in table(study).note
    for place in study.glob("*-s[1-9]*"):
        shutil.rmtree(place)
    assert table(study).note.endswith(" Without a bracket: 1 seed: 3 are needed for an interval.")
