"""Steps, truth, repetition and triviality of a batch's derivations, counted by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.training.derivation_metrics import derivation_metrics, reads_derivations
from harness.training.trainer import sample_and_grade
from harness.types import ScoredGroup
from tests.unit.harness.tiny import configure, group, run_on_untrained_base


def said(*texts: str) -> ScoredGroup:
    one = group("p", (1,), [(2,)] * len(texts), [0.0] * len(texts))
    rollouts = tuple(replace(r, text=text) for r, text in zip(one.rollouts, texts, strict=True))
    return replace(one, rollouts=rollouts)


def test_a_batch_by_hand() -> None:
    """Statements: 4, 0, 2 and 0 in four outputs. True: 2+3=5 three times, 1*5=5, 9-9=0; false: 2+3=6.

    Repeated: 2+3=5 twice in the first output. Trivial: 1*5=5 and 9-9=0.
    """
    groups = [said("2+3=5;2 + 3 = 5;2+3=5;1*5=5", "the answer is 5"), said("2+3=6;9-9=0", "")]
    found = derivation_metrics(groups)
    assert found["derivation_steps"] == 6 / 4
    assert found["derivation_true"] == pytest.approx(5 / 6)
    assert found["derivation_repeated"] == pytest.approx(2 / 6)
    assert found["derivation_trivial"] == pytest.approx(2 / 6)


def test_without_a_statement_there_are_no_shares() -> None:
    assert derivation_metrics([said("5", "no")]) == {"derivation_steps": 0.0}


def test_they_are_measured_where_steps_are_rewarded_or_asked_for(tmp_path: Path) -> None:
    asked = {
        "objective=grpo": False,
        "objective=grpo_process": True,
        "objective=grpo_prm": True,
        "rollout.step_metrics=true": True,
    }
    for line, measured in asked.items():
        assert reads_derivations(configure(line)) is measured
    run = run_on_untrained_base(tmp_path, "objective=grpo", "rollout.step_metrics=true")
    _, metrics = sample_and_grade(run, 0)
    assert metrics["derivation_steps"] >= 0
