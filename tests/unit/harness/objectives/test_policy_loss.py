"""The slots of a policy loss put together: its metrics by hand, and padding that holds NaN."""

from __future__ import annotations

import pytest
import torch

from harness.objectives.policy_loss import KLPenalty, policy_loss

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
