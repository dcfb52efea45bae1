"""Forms of an objective that are one override away from its YAML, on the scenario of scenario.py."""

from __future__ import annotations

import pytest

from tests.unit.harness.objectives import scenario as scenarios
from tests.unit.harness.objectives.scenario import Step, scenario

VALUE = "value={shared_trunk: false, gamma: 1.0, lam: 1.0, coef: 1.0}"
tables = scenarios.tables  # the fixture that stands in for the models


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
        # whole outputs: ratios 1.25 and .5, A whitened: (-1.647375 + .8 (.980581 + .392232)) / 3
        ("ppo_clip", ("ratio=sequence",), -0.183041),
        # one term an output: (-1.647375 + .8 (.980581 + .392232) / 2) / 2
        ("ppo_clip", ("ratio=sequence", "reduce=sequence_mean"), -0.549125),
        # std of the population is 1/2, A = ±1: -1.2 + .04 x .431946 = -1.182722; (.812274 + 1.007726) / 2
        ("grpo", ("advantage.std=population", "advantage.eps=0"), -0.136361),
        # not divided, A = ±.5: -.6 + .04 x .431946 = -.582722; (.4 + .5 + .04 (.306853 + .193147)) / 2 = .46
        ("grpo", ("advantage.std=none", "advantage.eps=0"), -0.061361),
        # k2: (ln 3)^2 / 2 = .603474, (ln 2)^2 / 2 = .240227: -.848528 + .024139; (1.272792 + .019218) / 2
        ("grpo", ("kl.estimator=k2",), -0.089192),
        # good outputs alone: -1.2 x .5 / (2 rows x 24); bad ones alone: (.4 + .5) / 48
        ("dr_grpo", ("advantage.sign=positive",), -0.0125),
        ("dr_grpo", ("advantage.sign=negative",), 0.01875),
        # weights 1.25, .8, 1 within [.8, 5]: .451510 + .8 A ln .2 = -.910435 + A ln .5 = -.490129; / 3
        ("cispo", ("loss.clip_low=0.2",), -0.316351),
        # the group's mean as baseline in whole outputs: -.6 and .4, / 2
        ("rloo", ("advantage.fn=group_centered",), -0.1),
    ],
)
def test_hand_worked_numbers(name: str, lines: tuple[str, ...], expected: float) -> None:
    step: Step = scenario(name, *(f"objective.{line}" for line in lines))
    metrics, _ = step.run()
    assert metrics["loss"] == pytest.approx(expected, abs=3e-6)


@pytest.mark.parametrize(
    ("name", "coef", "expected"),
    [
        # R - coef KL of the whole output: 1 - .05 x 2.079442 = .896028; -.05 x 1.386294 = -.069315:
        # A = ±.965343, (-1.2 + .8) x .965343 / 2
        ("rloo", 0.05, -0.193069),
        # to go: 1 - .01 x 2.079442 = .979206; -.013863, -.006931. Mean .319470, std .466512:
        # 1.414187, -.714523, -.699665; (-1.2 x 1.414187 + .8 x .714523 + .699665) / 3
        ("reinforce_pp", 0.01, -0.141914),
    ],
)
def test_the_papers_kl_in_the_reward(name: str, coef: float, expected: float) -> None:
    """k1 of the sampling policy to pi_ref = .06; .2, .25: ln 8 = 2.079442; ln 2 = .693147 twice."""
    lines = ("placement=reward", "estimator=k1", f"coef={coef}")
    step = scenario(name, *(f"objective.kl.{line}" for line in lines), ref=(0.06, (0.2, 0.25)))
    metrics, _ = step.run()
    assert metrics["loss"] == pytest.approx(expected, abs=1e-6)
