"""Fresh problems: none is trained on twice, and a launch that would is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.schema.run_config import ConfigError
from harness.training.experience import problems_at
from tests.unit.harness.tiny import configure, run_on_untrained_base

FRESH = ("data.fresh=true", "trainer.steps=6", "rollout.prompts_per_step=4")


def test_no_problem_comes_twice(tmp_path: Path) -> None:
    run = run_on_untrained_base(tmp_path, *FRESH, "data.num_train=24")
    seen = [problem.text for step in range(6) for problem in problems_at(run, step)]
    assert len(seen) == len(set(seen)) == 24
    again = [problem.text for problem in problems_at(run, 6)]  # a seventh step would begin anew
    assert set(again) <= set(seen)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["data.num_train=23"], "data.num_train=23: trainer.steps x rollout.prompts_per_step is 24; set"),
        (["data.num_train=24", "trainer.steps=7"], "is 28; set data.num_train=28"),
        (["data.num_train=24", "data.num_distinct=8"], "fresh with num_distinct or dose"),
        (
            [
                *("data.num_train=24", "objective.selection.fn=dynamic"),
                *("objective.selection.max_sampled=2", "objective.kl.coef=0"),
            ],
            "data.fresh with objective.selection.fn=dynamic",
        ),
    ],
)
def test_repeats_are_refused(lines: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        configure(*FRESH, *lines)


def test_more_problems_than_are_sampled_are_no_fault() -> None:
    assert configure(*FRESH, "data.num_train=40").data.num_train == 40
