"""Forms of an objective that are one override away from its YAML, on the scenario of test_objectives.py."""

from __future__ import annotations

import pytest

from tests.unit.harness.objectives import test_objectives
from tests.unit.harness.objectives.test_objectives import Step, scenario

VALUE = "value={shared_trunk: false, gamma: 1.0, lam: 1.0, coef: 1.0}"
tables = test_objectives.tables  # the fixture that stands in for the models


@pytest.mark.parametrize(
    ("name", "lines", "expected"),
    [
        # -ln .6 over both rows; with sequence_sum it is the sum that the theory writes
        ("sft_rejection", ("reduce_over=all", "reduce=sequence_mean"), 0.255413),
        ("sft_rejection", ("reduce_over=all", "reduce=sequence_sum"), 0.255413),
        # over the 3 tokens of both
        ("sft_rejection", ("reduce_over=all",), 0.170275),
        # A = 1, 0
        ("pg", ("advantage.fn=raw_reward",), 0.255413),
        # lambda 1: A = .5, -.5, -.25, not whitened: (-.5 ln .6 + .5 ln .2 + .25 ln .5) / 2
        ("pg", ("advantage.fn=gae", VALUE), -0.361297),
        # whole outputs: ratios 1.5 and .5, A whitened: (-1.647375 + .8 (.980581 + .392232)) / 3
        ("ppo_clip", ("ratio=sequence",), -0.183041),
        # one term an output: (-1.647375 + .8 (.980581 + .392232) / 2) / 2
        ("ppo_clip", ("ratio=sequence", "reduce=sequence_mean"), -0.549125),
        # std of the population is 1/2, A = ±1: -1.2 + .04 x .431946 = -1.182722; (.812274 + 1.007726) / 2
        ("grpo", ("advantage.std=population", "advantage.eps=0"), -0.136361),
        # k2: (ln 3)^2 / 2 = .603474, (ln 2)^2 / 2 = .240227: -.848528 + .024139; (1.272792 + .019218) / 2
        ("grpo", ("kl.estimator=k2",), -0.089192),
        # good outputs alone: -1.2 x .5 / (2 rows x 24); bad ones alone: (.4 + .5) / 48
        ("dr_grpo", ("advantage.sign=positive",), -0.0125),
        ("dr_grpo", ("advantage.sign=negative",), 0.01875),
        # the group's mean as baseline in whole outputs: -.6 and .4, / 2
        ("rloo", ("advantage.fn=group_centered",), -0.1),
    ],
)
def test_hand_worked_numbers(name: str, lines: tuple[str, ...], expected: float) -> None:
    step: Step = scenario(name, *(f"objective.{line}" for line in lines))
    metrics, _ = step.run()
    assert metrics["loss"] == pytest.approx(expected, abs=3e-6)
