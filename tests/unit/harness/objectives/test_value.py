from __future__ import annotations

import pytest
import torch

from harness.objectives.value import explained_variance, gae, value_loss


def brute_force(rewards: list[float], values: list[float], gamma: float, lam: float) -> list[float]:
    """The double sum of arXiv:1506.02438 eq. 16, written out."""
    after = [*values[1:], 0.0]
    delta = [r + gamma * v2 - v for r, v, v2 in zip(rewards, values, after, strict=True)]
    n = len(delta)
    return [sum((gamma * lam) ** (s - t) * delta[s] for s in range(t, n)) for t in range(n)]


@pytest.mark.parametrize("gamma, lam", [(1.0, 1.0), (1.0, 0.95), (0.9, 0.0), (0.97, 0.8)])
def test_gae_is_the_brute_force_sum(gamma: float, lam: float) -> None:
    g = torch.Generator().manual_seed(0)
    rewards, values = torch.randn(2, 4, 6, generator=g, dtype=torch.float64)
    # prompt before, padding after, a hole inside the last row; what lies outside is poisoned
    mask = torch.tensor(
        [[0, 1, 1, 1, 1, 0], [0, 0, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1], [0, 1, 0, 1, 1, 0]]
    ).bool()
    poisoned = torch.where(mask, values, torch.nan)
    advantages, returns = gae(
        rewards=torch.where(mask, rewards, torch.nan),
        values=poisoned,
        completion_mask=mask,
        gamma=gamma,
        lam=lam,
    )
    for row in range(4):
        inside = mask[row]
        expected = brute_force(rewards[row][inside].tolist(), values[row][inside].tolist(), gamma, lam)
        assert advantages[row][inside].tolist() == pytest.approx(expected)
        assert returns[row][inside].tolist() == pytest.approx(
            (values[row][inside] + torch.tensor(expected, dtype=torch.float64)).tolist()
        )
        assert bool((advantages[row][~inside] == 0).all() and (returns[row][~inside] == 0).all())


def test_lambda_1_without_discount_is_reward_to_go_minus_value() -> None:
    rewards, values = torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([[0.2, 0.5, 0.9]])
    advantages, returns = gae(
        rewards=rewards, values=values, completion_mask=torch.ones(1, 3), gamma=1.0, lam=1.0
    )
    torch.testing.assert_close(advantages, torch.tensor([[0.8, 0.5, 0.1]]))
    torch.testing.assert_close(returns, torch.ones(1, 3))


def test_value_clipping() -> None:
    # old 0, return 1. V = .5 is held at .2, so the larger error is .8^2; V = -.5 at -.2, and 1.5^2 > 1.2^2
    values = torch.tensor([0.5, -0.5])
    loss, metrics = value_loss(values=values, old_values=torch.zeros(2), returns=torch.ones(2), clip=0.2)
    torch.testing.assert_close(loss, torch.tensor([0.32, 1.125]))
    assert metrics["value_clip_frac"].tolist() == [1.0, 0.0]
    # Downwards alike: return -1, V = -.5 is held at -.2, and .8^2 > .5^2
    falling = {"values": torch.tensor([-0.5]), "old_values": torch.zeros(1), "returns": -torch.ones(1)}
    torch.testing.assert_close(value_loss(**falling, clip=0.2)[0], torch.tensor([0.32]))
    plain, _ = value_loss(values=values, old_values=torch.zeros(2), returns=torch.ones(2), clip=None)
    torch.testing.assert_close(plain, torch.tensor([0.125, 1.125]))


def test_explained_variance() -> None:
    returns, mask = torch.tensor([[0.0, 1.0, 2.0, 99.0]]), torch.tensor([[1, 1, 1, 0]])

    def explained(values: torch.Tensor, returns: torch.Tensor = returns) -> float:
        return explained_variance(values=values, returns=returns, completion_mask=mask).item()

    assert explained(returns) == 1.0
    assert explained(torch.full((1, 4), 1.0)) == 0.0
    assert explained(-returns) == pytest.approx(-3.0)  # error 2R: 1 - 4
    assert explained(returns, torch.full((1, 4), 1.2)) == 0.0


def test_a_critic_learns_a_chain_with_known_values() -> None:
    """States 0..4; each of the first four ends the episode with reward 1 with probability .2, else moves on;
    state 4 pays nothing and ends. V(s) = .2 + .8 V(s+1), V(4) = 0. GAE returns, tabular, within 5 %."""
    truth = torch.tensor([0.5904, 0.488, 0.36, 0.2, 0.0])
    g = torch.Generator().manual_seed(0)
    table = torch.zeros(5, requires_grad=True)
    states = torch.arange(5).expand(512, 5)
    optimizer = torch.optim.SGD([table], lr=0.0)
    for step in range(400):
        optimizer.param_groups[0]["lr"] = 1.0 / (1 + step / 10)
        ends = torch.rand(512, 5, generator=g) < 0.2
        ends[:, 4] = False
        alive = (ends.cumsum(1) - ends.long()) == 0  # [512, 5], visited states
        values = table[states]
        _, returns = gae(
            rewards=ends.float(), values=values.detach(), completion_mask=alive, gamma=1.0, lam=0.95
        )
        loss, _ = value_loss(values=values, old_values=values.detach(), returns=returns, clip=0.2)
        optimizer.zero_grad()
        (torch.where(alive, loss, 0.0).sum(0) / alive.sum(0).clamp(min=1)).sum().backward()
        optimizer.step()
    assert ((table.detach() - truth).abs() / truth.clamp(min=0.2)).max() < 0.05
