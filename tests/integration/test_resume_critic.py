"""What a resume has to bring back beside the policy: critic, refreshed reference, adapted coefficient."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from harness.identity import run_folder
from harness.records.lines import read_metrics
from tests.integration.test_resume import assert_moved, config_at, evidence, launch

KILLS = [
    ("harness.training.update", "guarded_step", 3, "after"),
    ("harness.training.trainer", "save", 1, "after"),
    ("harness.training.trainer", "refresh_reference", 1, "after"),  # from here on after a resume at step 2
    ("harness.training.trainer", "save", 1, "before"),
]
EVERYTHING = (
    "objective=ppo",
    "objective.value.shared_trunk=false",
    "objective.kl.against=ref",
    "objective.kl.placement=reward",
    "objective.kl.estimator=k1",
    "objective.kl.target=10",  # never reached: the coefficient halves each step, so a lost one shows
    "objective.kl.refresh_every=3",
    "objective.reward.random=1",
    "objective.reward.random_p=0.2",
    "objective.selection.fn=dynamic",
    "objective.selection.max_sampled=2",
    "objective.truncated=fail",
    "objective.tis.cap=2",
    "objective.tis.level=token",
    "eval.splits=[test]",
)


@pytest.mark.timeout(300)
def test_everything_that_training_changes_survives_a_kill(tmp_path: Path) -> None:
    whole = config_at(tmp_path / "whole", *EVERYTHING)
    assert launch(whole, None) == 0
    broken = config_at(tmp_path / "broken", *EVERYTHING)
    for kill in KILLS:
        assert launch(broken, kill) == -signal.SIGKILL, f"{kill} never struck"
    assert launch(broken, None) == 0
    expected, found = evidence(whole), evidence(broken)
    assert expected.keys() == found.keys()
    assert_moved(whole, expected)
    for name in expected:
        assert found[name] == expected[name], name
    metrics = read_metrics(run_folder(broken) / "metrics.jsonl")
    assert [row["kl_coef"] / metrics[0]["kl_coef"] for row in metrics] == [1.0, 0.5, 0.25, 0.125]
    assert any("sampled_groups" in row for row in metrics) and "explained_variance" in metrics[-1]
