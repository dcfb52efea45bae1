from __future__ import annotations

import inspect
from math import log

import pytest
import torch

from harness.objectives.losses import LOSSES, cispo, importance_ratio, ppo_clip, truncated_importance_weight
from harness.objectives.policy_loss import KLPenalty, SamplerCorrection, policy_loss
from harness.schema.slots import LossConfig

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
        importance_ratio(**pair, level="word")  # type: ignore[arg-type]


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
    """If this fails, correct `LossConfig.params` in harness/schema/slots.py."""
    takes = inspect.signature(LOSSES[name]).parameters.keys() - {"logprobs", "ratio", "advantages"}
    assert set(LossConfig.model_construct(fn=name).params) == takes


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_every_loss_can_be_corrected_for_the_sampler(name: str) -> None:
    # pi_old / pi_sampler = NEW / OLD = 2, .5 at both tokens of the completion; the former is held at 1.5.
    clip = LossConfig.model_construct(fn=name, clip_low=0.2, clip_high=0.2).params
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
