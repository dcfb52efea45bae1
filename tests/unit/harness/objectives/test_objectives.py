"""The five tests of every objective in conf/objective/, from its YAML through the code that trains.

Hand-worked numbers, a gradient identity, poisoned padding, invariance to how a step is split, and a limit.
The scenario that is worked by hand stands in `scenario.py`.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.objectives import policy_loss
from harness.schema.presets import CONF
from harness.training import gradient
from tests.unit.harness.objectives import scenario as scenarios
from tests.unit.harness.objectives.scenario import (
    Step,
    config_of,
    groups_of,
    random_step,
    scenario,
    without_kl,
)

# name -> (policy loss, value loss) of the scenario
HAND: dict[str, tuple[float, float | None]] = {
    # -ln .6 over the one accepted token
    "sft_rejection": (0.510826, None),
    "sft_rejection_offline": (0.510826, None),
    "cold_start": (0.510826, None),
    "distill": (0.510826, None),
    # A = ±1/2: (-.5 ln .6 + .5 (ln .2 + ln .5)) / 2
    "pg": (-0.447940, None),
    # A = ±.5 / sqrt(.5) = ±.707107. Row 0: -1.2 A + .04 x .431946 = -.831250. Row 1: .8 A and A, with the KL
    # .577959 and .714833, mean .646396. / 2
    "grpo": (-0.092427, None),
    # the same rewards, whatever they are for
    "grpo_format_only": (-0.092427, None),
    # Steps: row 1's statement at token 0 is right (1); the answers are 1 and 0. Mean 2/3, std .577350:
    # .577350, .577350, -1.154701. A: .577350; -.577350, -1.154701. Rows -.675542; (.474154 + 1.162427) / 2
    "grpo_process": (0.071375, None),
    "grpo_prm": (0.071375, None),
    # A = ±1/2: -.6 + .4 + .5 = .3, / (2 rows x 24 tokens)
    "dr_grpo": (0.00625, None),
    # -1.25 x .707107 + .565685 + .707107, / 3 tokens; with its bounds swapped, 1.2 and .72, .122565
    "dapo": (0.129636, None),
    # the only pair of the group holds the right output: nothing to compare (test_pass_at_k.py has more)
    "pass_k": (0.0, None),
    # A = .1, -1: (-.1 ln .6 + ln .2 + ln .5) / 2
    "w_reinforce": (-1.125751, None),
    # A = 1, -1; the bad output's ratio is .5: (-ln .6 + .5 (ln .2 + ln .5)) / 2
    "topr": (-0.320233, None),
    # 4 sigmoid(.25) = 2.248706; 4 / 1.05 sigmoid(-.525) = 1.415938 and 2 / 1.05 = 1.904762, mean 1.660350:
    # .707106 (-2.248706 + 1.660350) / 2; with its taus swapped, .707106 (-2.248 + 1.755) / 2
    "sapo": (-0.208015, None),
    # log ratios .223144; -.693147 held at -.4, and 0: .707106 (-1.25 + exp(-.2)) / 2
    "gmpo": (-0.152476, None),
    # whole outputs, A = ±1: -1.2 and .8, / 2
    "rloo": (-0.2, None),
    # A of tokens with rewards 1, 0, 0: mean 1/3, std .471405: 1.414214, -.707107 twice:
    # (-1.2 x 1.414214 + .8 x .707107 + .707107) / 3
    "reinforce_pp": (-0.141421, None),
    # A = (R - mean) / mean = ±1: (-1.2 + .8 + 1) / 3
    "max_rl": (0.2, None),
    # ratios 1.25 -> 1.0004 and sqrt(.5) -> .9997 of whole outputs: .707107 (-1.0004 + .9997) / 2
    "gspo": (-0.000247, None),
    # weights 1.25, .5, 1 within [0, 5]: -1.25 A ln .6 = .451510; .5 A ln .2 = -.569022;
    # A ln .5 = -.490129; / 3
    "cispo": (-0.202547, None),
    # lambda 1: A = R - V = .5, -.5, -.25; whitened (mean -.083333, std .424918) 1.372813, -.980581, -.392232:
    # (-1.647375 + .784465 + .392232) / 3. Value: .3^2, .5^2, and V = 0 held at .05: .05^2; / 2, / 3
    "ppo_clip": (-0.156893, 0.057083),
    # + .2 x .220004 / 3
    "ppo": (-0.142226, 0.057083),
    # unclipped: (-1.716016 + .490290 + .392232 + .044001) / 3
    "ppo_kl": (-0.263164, 0.057083),
    # rewards 1 - .02 ln 2.4 = .982491; 0, -.013863. lambda .95: A = .482491; -.25 - .95 x .263863 = -.500670,
    # -.263863; whitened (mean -.094014, std .418957) 1.376047, -.970638, -.405409:
    # (-1.651256 + .776511 + .405409) / 3. Returns .982491; -.000670, -.013863: (.282491^2 + .500670^2 +
    # .063863^2) / 6
    "rlhf_ppo": (-0.156446, 0.055758),
    # p ln p/q + (1 - p) ln (1-p)/(1-q): .381908 + .091517 + .143841, / 3
    "distill_on_policy": (0.205755, None),
}
tables = scenarios.tables  # the fixture that stands in for the models
NAMES = sorted(path.stem for path in (Path(CONF) / "objective").glob("*.yaml"))
every_objective = pytest.mark.parametrize("name", NAMES)


def test_nothing_is_worked_by_hand_that_conf_does_not_have() -> None:
    assert set(HAND) <= set(NAMES)


@every_objective
def test_hand_worked_numbers(name: str) -> None:
    assert name in HAND, f"work out the loss of {name} by hand and add it to HAND: tests/README.md"
    metrics, _ = scenario(name).run()
    loss, value_loss = HAND[name]
    assert metrics["loss"] == pytest.approx(loss, abs=4e-6)
    if value_loss is None:
        assert "value_loss" not in metrics
    else:
        assert metrics["value_loss"] == pytest.approx(value_loss, abs=2e-6)


@every_objective
def test_on_policy_gradient_is_the_policy_gradient(name: str) -> None:
    """Without KL: -A / denominator at each token. The exact KL's is p (ln p/q - ln (1-p)/(1-q))."""
    step = random_step(name, 1, *without_kl(name), on_policy=True)
    objective, mask, a = step.config.objective, step.batch.completion_mask, step.batch.advantages
    _, (found, _) = step.run()
    counted = (a > 0).any(-1) if objective.reduce_over == "accepted" else torch.ones(12, dtype=torch.bool)
    lengths, rows = mask.sum(-1, keepdim=True).double(), counted.sum().double()
    token = {
        "token_mean": 1 / (lengths.squeeze(1) * counted).sum().expand(12, 1),
        "sequence_mean": 1 / (rows * lengths),
        "sequence_sum": 1 / rows.expand(12, 1),
        "constant": 1 / (rows * step.config.rollout.max_new_tokens).expand(12, 1),
    }
    # A whole output's ratio has the gradient of the sum over its tokens.
    weight = token["sequence_sum" if objective.ratio == "sequence" else objective.reduce]
    expected = -a * weight
    if name == "distill_on_policy":
        assert step.batch.ref_logprobs is not None
        p, q = step.policy.values.detach().exp(), step.batch.ref_logprobs.exp()
        slope = p * ((p / q).log() - ((1 - p) / (1 - q)).log())
        expected = torch.where(mask, slope, 0.0) * weight
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["grpo", "grpo_format_only", "grpo_process", "grpo_prm"])
def test_grpo_has_the_gradient_coefficient_of_its_paper(name: str) -> None:
    """At ratio 1: A + coef (pi_ref / pi - 1) of each token (arXiv:2402.03300 eq. 21)."""
    step = random_step(name, 1, on_policy=True)
    assert step.batch.ref_logprobs is not None and step.config.objective.kl.coef == 0.04
    _, (found, _) = step.run()
    mask = step.batch.completion_mask
    ratio = (step.batch.ref_logprobs - step.policy.values.detach()).exp()
    coefficient = torch.where(mask, step.batch.advantages + 0.04 * (ratio - 1), 0.0)
    expected = -coefficient / (12 * mask.sum(-1, keepdim=True))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@every_objective
def test_its_papers_equation_is_in_the_docstring(name: str) -> None:
    lines = (policy_loss.__doc__ or "").splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith(f"{name} ")), None)
    assert start is not None, (
        f"add the equation of {name} to the docstring of harness/objectives/policy_loss.py"
    )
    entry = [lines[start], *itertools.takewhile(lambda line: line.startswith(" "), lines[start + 1 :])]
    text = " ".join(entry)
    assert any(sign in text for sign in ("sum_", "E_t[", "the same", "PPO on"))


@every_objective
@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 1e30])
def test_poisoned_padding(name: str, poison: float) -> None:
    clean, found = random_step(name, 2).run()
    dirty = random_step(name, 2)
    outside = ~dirty.batch.completion_mask
    for table in (dirty.policy, dirty.value):
        table.values.data[outside] = poison
    for tensor in (dirty.batch.old_logprobs, dirty.batch.ref_logprobs, dirty.batch.sampler_logprobs):
        assert tensor is not None
        tensor[outside] = -poison
    same, again = dirty.run()
    assert same == clean and torch.equal(again, found)
    assert bool((found[:, outside] == 0).all())


@every_objective
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_a_step_does_not_depend_on_its_split_or_order(name: str, data: st.DataObject) -> None:
    order = torch.tensor(data.draw(st.permutations(range(12))))
    cuts = sorted(data.draw(st.sets(st.integers(1, 11), max_size=6)))
    step = random_step(name, 3)
    whole, found = step.run()
    with pytest.MonkeyPatch.context() as patch:
        parts = [(part, True) for part in torch.tensor_split(order, cuts)]
        patch.setattr(gradient, "shared_microbatches", lambda *_, **__: parts)
        split, again = step.run()
    assert split == pytest.approx(whole, rel=1e-10, abs=1e-12)
    torch.testing.assert_close(again, found, rtol=1e-10, atol=1e-14)


@every_objective
def test_limit_nothing_to_learn_is_exactly_nothing(name: str) -> None:
    """No gradient, not a small one: equal rewards, none accepted, a right critic, student = teacher."""
    nothing = ("sft_rejection", "sft_rejection_offline", "cold_start", "distill", "distill_on_policy")
    reward = 0.0 if name in nothing else 1.2
    # Without a baseline right outputs teach, too: of the wrong ones alone there is none.
    bad = ("objective.advantage.sign=negative", "objective.advantage.positive_weight=1")
    config = config_of(name, *without_kl(name), *(bad if name in ("w_reinforce", "topr") else ()))
    (made,) = groups_of([reward] * 7, [3] * 7, 7)
    made = replace(made, step_rewards=tuple(((0, reward),) for _ in range(7)))
    mask = torch.tensor([[0.0, 1.0, 1.0, 1.0]]).expand(7, 4)
    g = torch.Generator().manual_seed(5)
    now = -(torch.rand(7, 4, generator=g) + 0.1) * mask
    off_policy = config.objective.kl.against == "ref"  # PPO's penalty is 0 at the sampling weights alone
    old = now - 0.3 * torch.rand(7, 4, generator=g) * mask if off_policy else now
    ref = now if name == "distill_on_policy" else old
    values = reward * mask
    step = Step(config, [made], [x.double() for x in (now, old, ref, values, values)])
    metrics, found = step.run()
    tiny = 1e-15 if name == "distill_on_policy" else 0.0  # a softmax's two halves cancel to the last bit
    assert abs(metrics["loss"]) <= tiny and found.abs().max() <= tiny
