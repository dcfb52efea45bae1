from __future__ import annotations

from math import log

import pytest
import torch

from harness.objectives import kl


def test_hand_worked_numbers() -> None:
    # pi = .5, ref = .25: log r = -ln 2
    pair = {"logprobs": torch.tensor([log(0.5)]), "ref_logprobs": torch.tensor([log(0.25)])}
    assert kl.k1(**pair).item() == pytest.approx(log(2))
    assert kl.k2(**pair).item() == pytest.approx(log(2) ** 2 / 2)
    assert kl.k3(**pair).item() == pytest.approx(0.5 - 1 + log(2))


def test_k3_keeps_its_digits_near_0() -> None:
    """r - 1 - log r is log_r^2 / 2 near 0; exp(x) - 1 in float32 would lose it among 1e-7s."""
    logprobs = torch.tensor([1e-3])
    assert kl.k3(logprobs=logprobs, ref_logprobs=torch.zeros(1)).item() == pytest.approx(5e-7, rel=1e-2)


def test_exact_skips_what_the_policy_cannot_say() -> None:
    # pi = (.5, .5, 0), ref = (.25, .75, 0): .5 ln 2 + .5 ln (2/3)
    pi, ref = torch.tensor([0.5, 0.5, 0.0]).log(), torch.tensor([0.25, 0.75, 0.0]).log()
    assert kl.exact(log_softmax=pi, ref_log_softmax=ref).item() == pytest.approx(
        0.5 * log(2) + 0.5 * log(2 / 3)
    )


def test_kl_in_the_reward() -> None:
    mask = torch.tensor([[1, 1, 0], [0, 1, 1], [0, 0, 0]])
    terms = torch.tensor([[1.0, 2.0, float("nan")], [9.0, 3.0, 4.0], [1.0, 1.0, 1.0]])
    rewards = torch.tensor([1.0, 0.0, 5.0])
    by_row = kl.penalised_rewards(rewards=rewards, kl=terms, completion_mask=mask, coef=0.1)
    torch.testing.assert_close(by_row, torch.tensor([0.7, -0.7, 5.0]))
    by_token = kl.token_rewards(rewards=rewards, kl=terms, completion_mask=mask, coef=0.1)
    torch.testing.assert_close(by_token, torch.tensor([[-0.1, 0.8, 0.0], [0.0, -0.3, -0.4], [0.0, 0.0, 0.0]]))


def test_adaptive_coefficients() -> None:
    assert kl.adaptive_coef(coef=1.0, kl=0.06, target=0.1) == 0.5  # below .0667
    assert kl.adaptive_coef(coef=1.0, kl=0.16, target=0.1) == 2.0  # above .15
    for between in (0.07, 0.1, 0.14):
        assert kl.adaptive_coef(coef=1.0, kl=between, target=0.1) == 1.0
    # kl / target - 1 = 1, held to .2: 1 + .2 x 100 / 1000
    settings = {"target": 0.1, "num_samples": 100, "horizon": 1000}
    assert kl.proportional_coef(coef=1.0, kl=0.2, **settings) == pytest.approx(1.02)
    assert kl.proportional_coef(coef=1.0, kl=0.0, **settings) == pytest.approx(0.98)
