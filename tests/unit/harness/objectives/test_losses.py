from __future__ import annotations

import inspect
from math import exp, log

import pytest
import torch

from harness.objectives.losses import (
    LOSSES,
    cispo,
    gmpo,
    importance_ratio,
    ppo_clip,
    sapo,
    topr,
    truncated_importance_weight,
)
from harness.objectives.policy_loss import KLPenalty, SamplerCorrection, policy_loss
from harness.schema.loss_config import LossConfig

MASK = torch.tensor([[1, 1, 0]], dtype=torch.bool)
OLD = torch.tensor([[0.5, 0.5, 1.0]]).log()
NEW = torch.tensor([[1.0, 0.25, 1.0]]).log()  # token ratios 2, .5


def test_ratio_levels() -> None:
    pair = {
        "logprobs": NEW + torch.tensor([[0.0, log(2), 7.0]]),
        "old_logprobs": OLD,
        "completion_mask": MASK,
    }
    # token ratios 2, 1; product 2; its square root
    torch.testing.assert_close(importance_ratio(**pair, level="token"), torch.tensor([[2.0, 1.0, 1.0]]))
    torch.testing.assert_close(importance_ratio(**pair, level="sequence"), torch.tensor([[2.0, 2.0, 1.0]]))
    root = 2**0.5
    torch.testing.assert_close(
        importance_ratio(**pair, level="sequence_mean"), torch.tensor([[root, root, 1.0]])
    )
    with pytest.raises(ValueError, match="unknown level 'word'"):
        importance_ratio(**pair, level="word")


def test_a_huge_ratio_of_a_clipped_token_has_gradient_0_not_nan() -> None:
    logprobs = torch.tensor([[0.0]], requires_grad=True)
    output = policy_loss(
        loss="ppo_clip",
        loss_params={"clip_low": 0.2, "clip_high": 0.2},
        ratio="token",
        logprobs=logprobs,
        old_logprobs=torch.tensor([[-200.0]]),
        advantages=torch.tensor([1.0]),
        completion_mask=torch.ones(1, 1),
    )
    output.loss.sum().backward()
    assert output.loss.item() == pytest.approx(-1.2)
    assert logprobs.grad is not None and logprobs.grad.item() == 0.0


def test_truncated_importance_weight() -> None:
    weights = truncated_importance_weight(
        old_logprobs=NEW, sampler_logprobs=OLD, completion_mask=MASK, cap=1.5, level="token"
    )
    torch.testing.assert_close(weights, torch.tensor([[1.5, 0.5, 1.0]]))
    whole = truncated_importance_weight(
        old_logprobs=NEW, sampler_logprobs=OLD, completion_mask=MASK, cap=1.5, level="sequence"
    )
    torch.testing.assert_close(whole, torch.ones(1, 3))  # 2 x .5


def test_truncated_importance_weight_multiplies_the_loss_and_not_the_kl() -> None:
    slots = {
        "loss": "policy_gradient",
        "loss_params": {},
        "ratio": "token",
        "logprobs": NEW,
        "old_logprobs": NEW,
        "ref_logprobs": OLD,
        "advantages": torch.ones(1),
        "completion_mask": MASK,
        "kl": KLPenalty("k1", 1.0),
    }
    plain = policy_loss(**slots).loss
    weighted = policy_loss(**slots, sampler_logprobs=OLD, tis=SamplerCorrection(1.5)).loss
    # token 1: -log .25 + (log .25 - log .5) = ln 2; weighted by .5: ln 4 / 2 - ln 2 = 0
    assert plain[0, 1].item() == pytest.approx(log(2))
    assert weighted[0, 1].item() == pytest.approx(0.0, abs=1e-6)
    with pytest.raises(ValueError, match="no sampler_logprobs"):
        policy_loss(**slots, tis=SamplerCorrection(1.5))


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_a_losss_slot_gives_it_the_parameters_that_it_takes(name: str) -> None:
    """If this fails, correct `LossConfig.params` in harness/schema/loss_config.py."""
    tensors = {"logprobs", "ratio", "advantages", "completion_mask"}
    takes = inspect.signature(LOSSES[name]).parameters.keys() - tensors
    assert set(LossConfig.model_construct(fn=name).params) == takes


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_every_loss_can_be_corrected_for_the_sampler(name: str) -> None:
    # pi_old / pi_sampler = NEW / OLD = 2, .5 at both tokens of the completion; the former is held at 1.5.
    given = {"clip_low": 0.2, "clip_high": 0.2, "tau_low": 1.0, "tau_high": 2.0}
    clip = LossConfig.model_construct(fn=name, **given).params
    slots = {
        "loss": name,
        "loss_params": clip,
        "ratio": "token",
        "logprobs": NEW - 1,
        "old_logprobs": NEW - 1,
        "advantages": torch.ones(1),
        "completion_mask": MASK,
    }
    plain = policy_loss(**slots).loss
    weighted = policy_loss(**slots, sampler_logprobs=OLD - 1, tis=SamplerCorrection(1.5)).loss
    assert plain[MASK].abs().min() > 0
    torch.testing.assert_close(weighted[MASK], plain[MASK] * torch.tensor([1.5, 0.5]))


# Bounds 1 - 0.1 and 1 + 0.4; swapped they would be 0.6 and 1.1.
ASYMMETRIC = {"clip_low": 0.1, "clip_high": 0.4}


def test_each_bound_of_ppo_clip_is_on_its_side() -> None:
    ratio = torch.tensor([1.2, 1.5, 1.5, 0.8, 0.7, 0.7])
    advantages = torch.tensor([2.0, 2.0, -2.0, -2.0, -2.0, 2.0])
    loss, metrics = ppo_clip(logprobs=ratio.log(), ratio=ratio, advantages=advantages, **ASYMMETRIC)
    # A > 0: -1.2 A, and 1.5 held at 1.4; A < 0: 1.5 |A| unheld, .8 and .7 held at .9; A > 0: -.7 A unheld.
    assert loss.tolist() == pytest.approx([-2.4, -2.8, 3.0, 1.8, 1.8, -1.4])
    assert metrics["clip_high_frac"].tolist() == [0, 1, 0, 0, 0, 0]
    assert metrics["clip_low_frac"].tolist() == [0, 0, 0, 1, 1, 0]


def test_each_bound_of_cispo_is_on_its_side() -> None:
    ratio = torch.tensor([1.2, 1.5, 0.95, 0.7])
    logprobs = torch.tensor([-1.0, -1.0, -2.0, -2.0])
    loss, metrics = cispo(logprobs=logprobs, ratio=ratio, advantages=torch.ones(4), **ASYMMETRIC)
    # weights 1.2, 1.4, .95 and .9
    assert loss.tolist() == pytest.approx([1.2, 1.4, 1.9, 1.8])
    assert metrics["clip_frac"].tolist() == [0, 1, 0, 1]


def test_dual_clip_bounds_a_negative_advantage() -> None:
    def loss(ratio: float, advantage: float) -> float:
        return ppo_clip(
            logprobs=torch.zeros(1),
            ratio=torch.tensor([ratio]),
            advantages=torch.tensor([advantage]),
            clip_low=0.2,
            clip_high=0.2,
            dual_clip=3.0,
        )[0].item()

    assert loss(10.0, -1.0) == 3.0  # 10 without
    assert loss(2.0, -1.0) == 2.0
    assert loss(10.0, 1.0) == pytest.approx(-1.2)


def test_clip_frac_marks_the_tokens_without_a_gradient() -> None:
    ratio = torch.tensor([1.5, 1.5, 0.5, 0.5, 1.0], requires_grad=True)
    advantages = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0])
    loss, metrics = ppo_clip(logprobs=ratio, ratio=ratio, advantages=advantages, clip_low=0.2, clip_high=0.2)
    loss.sum().backward()
    assert ratio.grad is not None
    assert (
        metrics["clip_frac"].bool().tolist()
        == (ratio.grad == 0).tolist()
        == [True, False, False, True, False]
    )


def test_sapos_gate_by_hand() -> None:
    # A > 0, tau 2: 4/2 sigmoid(2 x .5) = 2 x .731059; A < 0, tau 4: 4/4 sigmoid(4 x -.5) = .119203
    loss, _ = sapo(
        logprobs=torch.zeros(2),
        ratio=torch.tensor([1.5, 0.5]),
        advantages=torch.tensor([3.0, -2.0]),
        tau_low=4.0,
        tau_high=2.0,
    )
    assert loss.tolist() == pytest.approx([-3 * 2 * 0.7310586, 2 * 0.1192029], rel=1e-6)


@pytest.mark.parametrize("advantage", [1.5, -0.5])
def test_sapos_weight_is_the_papers_and_the_policy_gradient_at_1(advantage: float) -> None:
    """d loss / d log pi = -4 s (1 - s) ratio A, s = sigmoid(tau (ratio - 1)): -A at ratio 1."""
    for log_ratio in (0.0, 0.4, -0.7, 2.0):
        new = torch.tensor([log_ratio], dtype=torch.float64, requires_grad=True)
        a = torch.tensor([advantage], dtype=torch.float64)
        loss, _ = sapo(logprobs=new, ratio=new.exp(), advantages=a, tau_low=1.05, tau_high=1.0)
        loss.sum().backward()
        ratio, tau = exp(log_ratio), 1.0 if advantage > 0 else 1.05
        s = 1 / (1 + exp(-tau * (ratio - 1)))
        assert new.grad is not None
        assert new.grad.item() == pytest.approx(-4 * s * (1 - s) * ratio * advantage, rel=1e-12)
        if log_ratio == 0.0:
            assert new.grad.item() == pytest.approx(-advantage, rel=1e-12)


GMPO = {"clip_low": 0.3, "clip_high": 0.5}


def _gmpo(log_ratio: torch.Tensor, advantages: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    ratio = torch.where(mask, log_ratio, 0.0).exp()
    return gmpo(logprobs=log_ratio, ratio=ratio, advantages=advantages, completion_mask=mask, **GMPO)[0]


def test_gmpo_is_the_geometric_mean_of_clipped_ratios() -> None:
    # A = 2: log ratios .7 held at .5, -.9 not held, and one that is padding: mean -.2. A = -1: .7 not held,
    # -.9 held at -.3, -.1: mean .1.
    log_ratio = torch.tensor([[0.7, -0.9, 5.0], [0.7, -0.9, -0.1]])
    mask = torch.tensor([[True, True, False], [True, True, True]])
    advantages = torch.tensor([[2.0, 2.0, 0.0], [-1.0, -1.0, -1.0]])
    loss = _gmpo(log_ratio, advantages, mask)
    assert loss[0, :2].tolist() == pytest.approx([-2 * exp(-0.2)] * 2)
    assert loss[1].tolist() == pytest.approx([exp(0.1)] * 3)
    ratio = torch.where(mask, log_ratio, 0.0).exp()
    _, metrics = gmpo(logprobs=log_ratio, ratio=ratio, advantages=advantages, completion_mask=mask, **GMPO)
    assert metrics["clip_high_frac"].tolist() == [[1, 0, 0], [0, 0, 0]]
    assert metrics["clip_low_frac"].tolist() == [[0, 0, 0], [0, 1, 0]]


def test_gmpos_gradient_is_that_of_the_product_by_finite_differences() -> None:
    """(product over t of min-or-max(r_t, bound)) ** (1/|o|) A, one term an output, in float64."""
    log_ratio = torch.tensor([[0.7, -0.9, 0.2], [0.7, -0.9, -0.1]], dtype=torch.float64, requires_grad=True)
    mask, outputs = torch.tensor([[True, True, False], [True, True, True]]), [(2.0, 2), (-1.0, 3)]
    advantages = torch.tensor([[2.0, 2.0, 0.0], [-1.0, -1.0, -1.0]], dtype=torch.float64)
    loss = _gmpo(log_ratio, advantages, mask)
    (torch.where(mask, loss, 0.0).sum(-1) / mask.sum(-1)).sum().backward()

    def objective(rows: list[list[float]]) -> float:
        total = 0.0
        for row, (a, length) in zip(rows, outputs, strict=True):
            product = 1.0
            for x in row[:length]:
                product *= min(exp(x), exp(0.5)) if a > 0 else max(exp(x), exp(-0.3))
            total += -a * product ** (1 / length)
        return total

    for i, j in ((i, j) for i in range(2) for j in range(3)):
        up, down = log_ratio.detach().tolist(), log_ratio.detach().tolist()
        up[i][j] += 1e-6
        down[i][j] -= 1e-6
        slope = (objective(up) - objective(down)) / 2e-6
        assert log_ratio.grad is not None
        assert log_ratio.grad[i, j].item() == pytest.approx(slope, abs=1e-8)


def test_topr_tapers_bad_outputs_alone() -> None:
    # Good: -A log pi, whatever the ratio. Bad: weights min(ratio, 1) = 1, .25; no gradient through them.
    logprobs = torch.tensor([-1.0, -2.0, -1.0, -2.0], requires_grad=True)
    ratio = logprobs.exp() / torch.tensor([0.1, 0.9, 0.1, 4 * exp(-2)])
    advantages = torch.tensor([1.0, 1.0, -1.0, -1.0])
    loss, _ = topr(logprobs=logprobs, ratio=ratio, advantages=advantages)
    assert loss.tolist() == pytest.approx([1.0, 2.0, -1.0, -0.5])
    loss.sum().backward()
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == pytest.approx([-1.0, -1.0, 1.0, 0.25])


def test_icepop_drops_what_lies_outside_and_weighs_the_rest() -> None:
    # Ratios 2 and .5 of the tokens (1 in padding), their product 1.
    pair = {"old_logprobs": NEW, "sampler_logprobs": OLD, "completion_mask": MASK, "drop_outside": True}

    def weights(**bounds: object) -> list[float]:
        return truncated_importance_weight(**pair, **bounds)[0].tolist()

    assert weights(cap=5.0, floor=0.4, level="token") == pytest.approx([2.0, 0.5, 1.0])
    assert weights(cap=1.5, floor=0.4, level="token") == pytest.approx([0.0, 0.5, 1.0])
    assert weights(cap=5.0, floor=0.6, level="token") == pytest.approx([2.0, 0.0, 1.0])
    assert weights(cap=5.0, level="token") == pytest.approx([2.0, 0.5, 1.0])
    assert weights(cap=1.5, floor=0.9, level="sequence") == pytest.approx([1.0, 1.0, 1.0])
    worse = {**pair, "old_logprobs": NEW - 0.5}  # product exp(-1) = .368, geometric mean exp(-.5) = .607
    for level, floor, kept in (
        ("sequence", 0.4, 0.0),
        ("sequence", 0.3, exp(-1.0)),
        ("sequence_mean", 0.6, exp(-0.5)),
    ):
        found = truncated_importance_weight(**worse, cap=2.0, floor=floor, level=level)
        assert found[0, :2].tolist() == pytest.approx([kept, kept])


def test_a_missing_reference_is_named() -> None:
    with pytest.raises(ValueError, match="k3 needs a reference"):
        policy_loss(
            loss="nll",
            loss_params={},
            ratio="token",
            logprobs=NEW,
            old_logprobs=OLD,
            advantages=torch.ones(1),
            completion_mask=MASK,
            kl=KLPenalty("k3", 0.1),
        )
