"""The slots of a policy loss put together: its metrics by hand, and padding that holds NaN."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from harness.objectives.policy_loss import EntropyBonus, KLPenalty, policy_loss

# pi, pi_old and pi_ref of two tokens; the third place is padding.
NOW = [[0.6, 0.2, float("nan")]]
OLD = [[0.4, 0.4, float("nan")]]
REF = [[0.2, 0.4, float("nan")]]
MASK = torch.tensor([[1, 1, 0]])


def test_metrics_by_hand_and_padding_is_read_as_0() -> None:
    logprobs = torch.tensor(NOW).log().requires_grad_()
    output = policy_loss(
        loss="policy_gradient",
        loss_params={},
        ratio="token",
        logprobs=logprobs,
        old_logprobs=torch.tensor(OLD).log(),
        ref_logprobs=torch.tensor(REF).log(),
        advantages=torch.ones(1),
        completion_mask=MASK,
        kl=KLPenalty("k3", coef=0.1),
    )
    # pi_ref / pi = 1/3, 2: r - 1 - ln r = .431946, .306853. pi / pi_old = 3/2, 1/2: .094535, .193147 (the
    # other way round, 2/3 and 2, it would be .072132, .306853).
    torch.testing.assert_close(output.metrics["kl"], torch.tensor([[0.431946, 0.306853, 0.0]]))
    torch.testing.assert_close(output.metrics["kl_old"], torch.tensor([[0.094535, 0.193147, 0.0]]))
    torch.testing.assert_close(output.metrics["ratio"], torch.tensor([[1.5, 0.5, 1.0]]))
    # -ln .6 + .0431946 and -ln .2 + .0306853
    torch.testing.assert_close(output.loss, torch.tensor([[0.554020, 1.640123, 0.0]]))
    output.loss.sum().backward()
    assert logprobs.grad is not None
    assert logprobs.grad[0, 2].item() == 0.0
    # At a token: -1 + .1 (1 - pi_ref / pi) = -1 + .1 x 2/3, -1 - .1
    assert logprobs.grad[0, :2].tolist() == pytest.approx([-0.933333, -1.1], abs=1e-6)


def penalty(kl: KLPenalty, logprobs: torch.Tensor, old: torch.Tensor, ref: torch.Tensor) -> torch.Tensor:
    """The KL term alone, of rows of one token."""
    slots: dict[str, Any] = {"loss": "policy_gradient", "loss_params": {}, "ratio": "token"}
    mask = torch.ones_like(logprobs, dtype=torch.bool)
    tensors = {"logprobs": logprobs, "old_logprobs": old, "ref_logprobs": ref}
    zero = torch.zeros_like(logprobs[:, 0])
    return policy_loss(**slots, **tensors, advantages=zero, completion_mask=mask, kl=kl).loss


def test_a_kl_is_weighed_by_the_ratio() -> None:
    # pi / pi_old = .6 / .4; pi_ref / pi = 1/3: k3 = .431946, k1 = ln 3
    now, old, ref = (torch.tensor([[p]]).log() for p in (0.6, 0.4, 0.2))
    assert penalty(KLPenalty("k3", 2.0, ratio_weighted=True), now, old, ref).item() == pytest.approx(
        2 * 1.5 * 0.431946, rel=1e-5
    )
    assert penalty(KLPenalty("k1", 1.0, ratio_weighted=True), now, old, ref).item() == pytest.approx(
        1.5 * 1.098612, rel=1e-5
    )


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_the_weighed_kl_is_unbiased_off_policy_in_value_and_gradient(estimator: str) -> None:
    """Expected over every token of another policy: KL(pi || ref) and its gradient, by finite differences."""
    start = torch.tensor([0.3, -0.8, 1.1, 0.0], dtype=torch.float64)
    old = torch.tensor([-0.5, 0.4, 0.2, 0.9], dtype=torch.float64).log_softmax(0)
    ref = torch.tensor([1.0, 0.0, -0.6, 0.3], dtype=torch.float64).log_softmax(0)

    def exact(logits: torch.Tensor) -> float:
        log_p = logits.log_softmax(0)
        return float((log_p.exp() * (log_p - ref)).sum())

    found = {}
    for weighted in (True, False):
        logits = start.clone().requires_grad_()
        kl = KLPenalty(estimator, 1.0, ratio_weighted=weighted)
        terms = penalty(kl, logits.log_softmax(0)[:, None], old[:, None], ref[:, None])
        value = (old.exp() * terms[:, 0]).sum()
        value.backward()
        assert logits.grad is not None
        found[weighted] = (value.item(), logits.grad.tolist())
    slopes = []
    for i in range(4):
        step = torch.zeros(4, dtype=torch.float64)
        step[i] = 1e-6
        slopes.append((exact(start + step) - exact(start - step)) / 2e-6)
    assert found[True][0] == pytest.approx(exact(start), rel=1e-12)
    assert found[True][1] == pytest.approx(slopes, abs=1e-8)
    assert abs(found[False][0] - exact(start)) > 0.02
    assert max(abs(a - b) for a, b in zip(found[False][1], slopes, strict=True)) > 0.02


def test_an_entropy_bonus_is_taken_from_the_loss_and_padding_has_none() -> None:
    entropy = torch.tensor([[0.5, 0.25, float("nan")]], requires_grad=True)
    output = policy_loss(
        loss="policy_gradient",
        loss_params={},
        ratio="token",
        logprobs=torch.tensor(NOW).log(),
        old_logprobs=torch.tensor(NOW).log(),
        advantages=torch.ones(1),
        completion_mask=MASK,
        bonus=EntropyBonus(0.1, entropy),
    )
    # -ln .6 - .05 and -ln .2 - .025
    torch.testing.assert_close(output.loss, torch.tensor([[0.460826, 1.584438, 0.0]]))
    torch.testing.assert_close(output.metrics["entropy_exact"], torch.tensor([[0.5, 0.25, 0.0]]))
    output.loss.sum().backward()
    assert entropy.grad is not None
    torch.testing.assert_close(entropy.grad, torch.tensor([[-0.1, -0.1, 0.0]]))
