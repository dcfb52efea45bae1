"""A tiny study end to end: budgets measured, rates tried at every seed, problems drawn anew, its report."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.report.build import build_report
from analysis.study.load import load_study
from harness.launch.run import main
from harness.records.records import read_study

CONF = Path(__file__).resolve().parents[1] / "unit" / "harness" / "launch" / "conf"
ABLATION = """# @package _global_
study: g
ablation:
  question: Which?
  factors: {objective: [sft_rejection, grpo]}
  seeds: [0, 1]
  draws: per_seed
  control: {objective: sft_rejection}
  primary: {factor: objective, contrast: grpo}
  match: flops
  lr_grid: {rates: [1.0e-3, 1.0e-2]}
"""
SMALL = (
    "trainer.steps=4",
    "trainer.warmup_steps=0",
    "rollout.prompts_per_step=2",
    "rollout.group_size=2",
    "rollout.max_new_tokens=8",
    "objective.reward.random=1",  # so that there is something to train on
    "eval.splits=[validation,test]",
    "eval.k=2",
    "eval.max_new_tokens=8",
    "eval.greedy=false",
    "tracking.mode=disabled",
    "hydra.launcher.warm=true",
    "hydra.launcher.workers=1",
)


@pytest.mark.timeout(300)
def test_a_grid_of_rates_with_draws_and_matched_flops_gives_a_report(tmp_path: Path) -> None:
    conf, out = tmp_path / "conf", tmp_path / "out"
    (conf / "ablation").mkdir(parents=True)
    (conf / "ablation" / "tiny.yaml").write_text(ABLATION)
    for group in ("model", "data"):
        (conf / group).symlink_to(CONF / group)
    args = ["--config-dir", str(conf), "ablation=tiny", "model=tiny", "data=tiny", f"output_dir={out}"]
    assert main([*args, "device=cpu", *SMALL]) == 0
    plan = read_study(out / "g")
    rows = {row["arm"]: row for row in plan.declared["matched"]}
    sft, grpo = (rows[f"objective={name}"] for name in ("sft_rejection", "grpo"))
    assert sft["steps"] == 4 and sft["share"] == 1
    assert grpo["steps"] == max(1, round(4 * sft["a_step"] / grpo["a_step"]))
    study = load_study(out / "g")
    assert len(study.runs) == 8 and study.runs["chosen"].sum() == 4
    assert {c.arm: len(c.scores) for c in study.choices} == {"sft_rejection": 2, "grpo": 2}
    done = study.runs.groupby("tried_by")["steps_done"].unique()
    assert {arm: list(found) for arm, found in done.items()} == {
        "sft_rejection": [4],
        "grpo": [grpo["steps"]],
    }
    report = build_report(study, figures=False)
    assert report.sections[0].text[0].startswith("Declared before the first run (sha256 ")
    names = [table.name for table in report.tables]
    assert {"arms", "rate_response", "rate_choices"} <= set(names)
    (arms,) = (table for table in report.tables if table.name == "arms")
    assert "a base, training problems and test problems of its own" in arms.note
    assert not [note for note in report.notes if "differ" in note or "data versions" in note]
