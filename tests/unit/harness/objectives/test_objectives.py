"""The five tests of each objective: hand-worked numbers, a gradient identity, poisoned padding, invariance to
how a step is split, and a limit. The scenario of the hand-worked numbers, one group of two:

    row  reward  tokens  pi        pi_old    ratio     sequence  sequence_mean
    0    1       1       .6        .4        1.5       1.5       1.5
    1    0       2       .2, .5    .4, .5    .5, 1     .5        sqrt(.5) = .70711
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harness.objectives.advantages import ADVANTAGES
from harness.objectives.compose import policy_loss
from harness.objectives.reduce import counted_rows, denominator, reduce


@dataclass(frozen=True)
class Objective:
    advantage: str
    loss: str
    ratio: Any
    reducer: Any
    value: float  # the loss of the scenario
    advantage_params: dict[str, Any] = field(default_factory=dict)
    loss_params: dict[str, Any] = field(default_factory=dict)
    kl: dict[str, Any] = field(default_factory=dict)
    over: Any = "all"
    flat: tuple[float, ...] = (1.2,) * 7  # rewards that give no gradient


STD = {"std": "sample", "eps": 0.0}
CLIP = {"clip_low": 0.2, "clip_high": 0.2}
OBJECTIVES = {
    # -log .6 = .510826, over both rows: / 2
    "sft_rejection_all": Objective(
        "accepted_only", "nll", "token", "sequence_mean", 0.255413, {"threshold": 0.5}, flat=(0.0,) * 7
    ),
    # the one accepted row
    "sft_rejection_accepted": Objective(
        "accepted_only",
        "nll",
        "token",
        "sequence_mean",
        0.510826,
        {"threshold": 0.5},
        over="accepted",
        flat=(0.0,) * 7,
    ),
    # A = 1, 0: -log .6 / 2
    "pg_raw": Objective("raw_reward", "policy_gradient", "token", "sequence_sum", 0.255413, flat=(0.0,) * 7),
    # A = .5, -.5: (-.5 log .6 + .5 (log .2 + log .5)) / 2 = (.255413 - 1.151293) / 2
    "pg": Objective("group_centered", "policy_gradient", "token", "sequence_sum", -0.447940),
    # A = 1, 0; whole outputs: (-min(1.5, 1.2) - 0) / 2
    "ppo_clip": Objective(
        "raw_reward", "ppo_clip", "sequence", "sequence_mean", -0.6, {}, CLIP, flat=(0.0,) * 7
    ),
    # A = .5, -.5: -.75 + .25 + .5 = 0. KL(old || pi): .5 - ln 1.5 = .094535, -.5 + ln 2 = .193147;
    # .1 x .287682 / 3
    "ppo_kl": Objective(
        "group_centered",
        "surrogate",
        "token",
        "token_mean",
        0.009589,
        kl={"kl": "k3", "kl_coef": 0.1, "kl_against": "old"},
    ),
    # clipped at 1.2 and .8: -.6 + .4 + .5 = .3; the same KL: (.3 + .0287682) / 3
    "ppo": Objective(
        "group_centered",
        "ppo_clip",
        "token",
        "token_mean",
        0.109589,
        {},
        CLIP,
        kl={"kl": "k3", "kl_coef": 0.1, "kl_against": "old"},
    ),
    # A = ±.5 / sqrt(.5) = ±.707107. Row 0: -1.2 A = -.848528, k3 to the reference (= old here) with r = 2/3:
    # -1/3 + ln 1.5 = .072132, x .04 = .002885 -> -.845643. Row 1: .8 A = .565685 and r = 2:
    # 1 - ln 2 = .306853, x .04 = .012274 -> .577959; then .707107; mean .642533. (-.845643 + .642533) / 2
    "grpo": Objective(
        "group_normalized",
        "ppo_clip",
        "token",
        "sequence_mean",
        -0.101555,
        STD,
        CLIP,
        kl={"kl": "k3", "kl_coef": 0.04},
    ),
    # A = ±.5: -.6 + .4 + .5 = .3, / (2 rows x 4 tokens)
    "dr_grpo": Objective("group_centered", "ppo_clip", "token", "constant", 0.0375, {}, CLIP),
    # -1.28 x .707107 = -.905097; + .565685 + .707107; / 3 tokens
    "dapo": Objective(
        "group_normalized",
        "ppo_clip",
        "token",
        "token_mean",
        0.122565,
        STD,
        {"clip_low": 0.2, "clip_high": 0.28},
    ),
    # A = 1 - 0, 0 - 1; whole outputs: -1.2 and .8, / 2
    "rloo": Objective("rloo", "ppo_clip", "sequence", "sequence_mean", -0.2, {}, CLIP),
    # population std of (1, 0) is .5: A = ±1; (-1.2 + .8 + 1) / 3
    "reinforce_pp": Objective("reinforce_pp", "ppo_clip", "token", "token_mean", 0.2, {"eps": 0.0}, CLIP),
    # -1.2 x .707107 and max(.70711, .8) x .707107: (-.848528 + .565685) / 2
    "gspo": Objective("group_normalized", "ppo_clip", "sequence_mean", "sequence_mean", -0.141421, STD, CLIP),
    # weights min(1.5, 1.2), .5, 1: -1.2 (.707107) log .6 = .433450; .5 (.707107) log .2 = -.569022;
    # .707107 log .5 = -.490129; / 3
    "cispo": Objective(
        "group_normalized",
        "cispo",
        "token",
        "token_mean",
        -0.208567,
        STD,
        {"clip_low": 1.0, "clip_high": 0.2},
    ),
    # mean .5: A = .5 / .5 = 1, -1; (-1.2 + (.8 + 1) / 2) / 2
    "max_rl": Objective("max_rl", "ppo_clip", "token", "sequence_mean", -0.15, {}, CLIP),
}
every_objective = pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES.keys())


@dataclass
class Step:
    logprobs: Tensor
    old: Tensor
    mask: Tensor
    rewards: Tensor
    group_ids: Tensor


def scenario() -> Step:
    return Step(
        logprobs=torch.tensor([[0.6, 1.0], [0.2, 0.5]], dtype=torch.float64).log(),
        old=torch.tensor([[0.4, 1.0], [0.4, 0.5]], dtype=torch.float64).log(),
        mask=torch.tensor([[1, 0], [1, 1]], dtype=torch.bool),
        rewards=torch.tensor([1.0, 0.0], dtype=torch.float64),
        group_ids=torch.tensor([0, 0]),
    )


def random_step(seed: int, *, on_policy: bool = False) -> Step:
    """4 groups of 3 rows, up to 6 tokens, holes in no row; off-policy enough for clips to bind."""
    g = torch.Generator().manual_seed(seed)
    mask = torch.arange(6) < torch.randint(1, 7, (12, 1), generator=g)  # [12, 6]
    logprobs = torch.where(mask, -2 * torch.rand(12, 6, generator=g, dtype=torch.float64), 0.0)
    noise = torch.zeros(()) if on_policy else 0.4 * torch.randn(12, 6, generator=g, dtype=torch.float64)
    return Step(
        logprobs=logprobs,
        old=torch.where(mask, logprobs + noise, 0.0),
        mask=mask,
        rewards=torch.randint(0, 3, (12,), generator=g).double() / 2,
        group_ids=torch.arange(12) % 4,
    )


def step_gradient(
    objective: Objective, step: Step, parts: list[Tensor] | None = None, *, kl: bool = True
) -> tuple[float, Tensor]:
    """Loss and gradient with respect to the logprobs, accumulated over the microbatches `parts`."""
    advantages = ADVANTAGES[objective.advantage](
        rewards=step.rewards, group_ids=step.group_ids, **objective.advantage_params
    )
    counted = counted_rows(advantages=advantages, completion_mask=step.mask, over=objective.over)
    divisor = denominator(kind=objective.reducer, completion_mask=step.mask, counted=counted, constant=4)
    logprobs = step.logprobs.clone().requires_grad_()
    total = 0.0
    for rows in parts or [torch.arange(len(step.rewards))]:
        output = policy_loss(
            loss=objective.loss,
            loss_params=objective.loss_params,
            ratio=objective.ratio,
            logprobs=logprobs[rows],
            old_logprobs=step.old[rows],
            ref_logprobs=step.old[rows],
            advantages=advantages[rows],
            completion_mask=step.mask[rows],
            **(objective.kl if kl else {}),
        )
        loss = reduce(
            loss=output.loss, completion_mask=step.mask[rows], kind=objective.reducer, denominator=divisor
        )
        loss.backward()
        total += float(loss.detach())
    assert logprobs.grad is not None
    return total, logprobs.grad


@every_objective
def test_hand_worked_numbers(objective: Objective) -> None:
    loss, _ = step_gradient(objective, scenario())
    assert loss == pytest.approx(objective.value, abs=2e-6)


@every_objective
def test_on_policy_gradient_is_the_policy_gradient(objective: Objective) -> None:
    """At ratio 1 and without KL every loss has the gradient of -A log pi under its own reducer. A whole
    output's ratio has that of the sum over its tokens."""
    step = random_step(1, on_policy=True)
    _, gradient = step_gradient(objective, step, kl=False)
    reducer = "sequence_sum" if objective.ratio == "sequence" else objective.reducer
    plain = Objective(
        objective.advantage,
        "policy_gradient",
        "token",
        reducer,
        0.0,
        objective.advantage_params,
        over=objective.over,
    )
    _, expected = step_gradient(plain, step, kl=False)
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-14)


@every_objective
@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 1e30])
def test_poisoned_padding(objective: Objective, poison: float) -> None:
    clean = random_step(2)
    loss, gradient = step_gradient(objective, clean)
    dirty = random_step(2)
    dirty.logprobs = torch.where(dirty.mask, dirty.logprobs, poison)
    dirty.old = torch.where(dirty.mask, dirty.old, -poison)
    dirty_loss, dirty_gradient = step_gradient(objective, dirty)
    assert dirty_loss == loss
    assert torch.equal(dirty_gradient, gradient)
    assert bool((gradient[~clean.mask] == 0).all())


@every_objective
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_a_step_does_not_depend_on_its_split_or_order(objective: Objective, data: st.DataObject) -> None:
    step = random_step(3)
    order = torch.tensor(data.draw(st.permutations(range(12))))
    cuts = sorted(data.draw(st.sets(st.integers(1, 11), max_size=6)))
    parts = list(torch.tensor_split(order, cuts))
    loss, gradient = step_gradient(objective, step)
    split_loss, split_gradient = step_gradient(objective, step, parts)
    assert split_loss == pytest.approx(loss, rel=1e-10, abs=1e-12)
    torch.testing.assert_close(split_gradient, gradient, rtol=1e-10, atol=1e-14)


@every_objective
def test_a_step_does_not_depend_on_padding(objective: Objective) -> None:
    step = random_step(4)
    loss, gradient = step_gradient(objective, step)
    wide = random_step(4)
    wide.mask = torch.nn.functional.pad(wide.mask, (3, 5))
    wide.logprobs = torch.nn.functional.pad(wide.logprobs, (3, 5))
    wide.old = torch.nn.functional.pad(wide.old, (3, 5))
    wide_loss, wide_gradient = step_gradient(objective, wide)
    assert wide_loss == pytest.approx(loss, rel=1e-12, abs=1e-14)
    torch.testing.assert_close(wide_gradient[:, 3:9], gradient, rtol=1e-12, atol=1e-15)


@every_objective
def test_limit_nothing_to_learn_is_exactly_nothing(objective: Objective) -> None:
    """Equal rewards (or none, where there is no baseline) in float32: exactly no gradient, not a small
    one.
    """
    g = torch.Generator().manual_seed(5)
    logprobs = -torch.rand(7, 3, generator=g)
    step = Step(
        logprobs=logprobs,
        old=logprobs - 0.3 * torch.rand(7, 3, generator=g),
        mask=torch.ones(7, 3, dtype=torch.bool),
        rewards=torch.tensor(objective.flat),
        group_ids=torch.zeros(7, dtype=torch.long),
    )
    loss, gradient = step_gradient(objective, step, kl=False)
    assert loss == 0.0
    assert bool((gradient == 0).all())
