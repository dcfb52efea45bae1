"""Every objective of conf/ through the training loop: what it changed is measured, whatever it trains on."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from harness.grading.grade import grade
from harness.records.lines import read_metrics
from harness.training import experience
from harness.training.trainer import train
from harness.types import Grade
from tests.unit.harness.objectives.test_objectives import HAND
from tests.unit.harness.tiny import run_on_untrained_base, untrained_base

FEW = {
    # Its outputs are all cut, and earn nothing.
    "grpo_format_only": ["objective.reward.random=1", "objective.truncated=keep"],
    "rlhf_ppo": ["objective.reward_model.num_problems=4", "objective.reward_model.epochs=1"],
    "grpo_prm": ["objective.process_reward_model.num_problems=4", "objective.process_reward_model.epochs=1"],
}


@pytest.mark.parametrize("name", sorted(HAND))
def test_what_is_kept_of_the_base_is_measured_in_every_arm(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """KL to the base both ways and the loss on its text, with no penalty and without samples online."""
    teacher = untrained_base(tmp_path / "teacher") / "model"
    lines = [f"objective.teacher.path={teacher}"] if name.startswith("distill") else []
    run = run_on_untrained_base(
        tmp_path, f"objective={name}", "trainer.steps=1", "trainer.lr=1e-2", *lines, *FEW.get(name, [])
    )
    calls = iter(range(10**6))

    def every_second(text: str, *args: Any, **kwargs: Any) -> Grade:
        """An untrained base is never right, and then most objectives have nothing to learn."""
        found = grade(text, *args, **kwargs)
        return Grade(next(calls) % 2 == 0, found.extracted, found.reason)

    monkeypatch.setattr(experience, "grade", every_second)
    train(run, report=lambda *args: None, log=lambda metrics: None, evaluate=lambda run: None)
    last = read_metrics(run.folder / "metrics.jsonl")[-1]
    for key in ("kept_loss", "kept_kl_forward", "kept_kl_reverse"):
        assert math.isfinite(last[key])
    assert last["updates"] > 0 and last["kept_kl_forward"] > 0 and last["kept_kl_reverse"] > 0
