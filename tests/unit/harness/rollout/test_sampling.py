"""A token from logits and one uniform number: by hand, against brute force, and in proportion."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from harness.rollout.sampling import sample, truncate, uniforms
from harness.types import SamplingParams


def nucleus_of(logits: torch.Tensor, temperature: float, top_p: float) -> torch.Tensor:
    """Weights [V] in float64, 0 outside the nucleus: levels from the highest, all equals of one at a time."""
    weights = (logits.double() / temperature).softmax(0)
    for level in logits.double().unique().flip(0):
        inside = logits.double() >= level
        if weights[inside].sum() >= top_p:
            break
    return torch.where(inside, weights, 0.0)


def test_truncation_by_hand() -> None:
    probs = torch.tensor([[0.1, 0.4, 0.2, 0.3]])
    # Ranked 0.4 0.3 0.2 0.1, cumulated before each: 0, 0.4, 0.7, 0.9. Below 0.65: the first two.
    assert truncate(probs, top_k=0, top_p=0.65).tolist() == torch.tensor([[0, 0.4, 0, 0.3]]).tolist()
    assert truncate(probs, top_k=3, top_p=1.0).tolist() == torch.tensor([[0, 0.4, 0.2, 0.3]]).tolist()
    # top_k = 2 leaves 0.7; 0.5 of it is 0.35, so 0.4 alone is the nucleus of what is left.
    assert truncate(probs, top_k=2, top_p=0.5).tolist() == torch.tensor([[0, 0.4, 0, 0]]).tolist()
    # Equal probabilities: the lower id stays. The most probable token stays for any top_p.
    assert truncate(torch.full((1, 4), 0.25), top_k=2, top_p=1.0).tolist() == [[0.25, 0.25, 0, 0]]
    assert truncate(probs, top_k=0, top_p=1e-9).tolist() == torch.tensor([[0, 0.4, 0, 0]]).tolist()
    # 0.5 is not yet 0.6: the next level is 0.2, and both of its tokens belong. Of two that top-k left, one.
    tied = torch.tensor([[0.2, 0.5, 0.1, 0.2]])
    assert truncate(tied, top_k=0, top_p=0.6).tolist() == torch.tensor([[0.2, 0.5, 0, 0.2]]).tolist()
    assert truncate(tied, top_k=2, top_p=0.9).tolist() == torch.tensor([[0.2, 0.5, 0, 0]]).tolist()


@pytest.mark.parametrize("top_p", [1e-9, 0.3, 0.95, 0.9999])
def test_nucleus_equals_brute_force_with_ties_and_impossible_tokens(top_p: float) -> None:
    logits = (torch.randn(40, 300, generator=torch.Generator().manual_seed(0)) * 4).round() / 2
    logits[:, 100:250] = float("-inf")
    probs = logits.softmax(-1)
    allowed = truncate(probs, top_k=0, top_p=top_p)
    for row, kept, original in zip(logits.double(), allowed, probs, strict=True):
        expected = nucleus_of(row, 1.0, top_p) > 0
        assert torch.equal(kept > 0, expected) and torch.equal(kept[expected], original[expected])


def test_nucleus_is_drawn_in_proportion() -> None:
    logits = torch.tensor([0.7, -1.0, 0.7, 2.0, float("-inf"), 1.1, -3.0])
    share = nucleus_of(logits, 0.6, 0.95)
    expected = (share / share.sum()).numpy() * 20_000
    params = SamplingParams(max_new_tokens=1, temperature=0.6, top_p=0.95)
    tokens, _ = sample(logits.repeat(20_000, 1), torch.from_numpy(uniforms(3, 20_000)), params)
    counts = np.bincount(tokens.numpy(), minlength=7)
    assert counts[expected == 0].sum() == 0 and (expected > 0).sum() == 4
    assert chisquare(counts[expected > 0], expected[expected > 0]).pvalue > 1e-3


def test_inverse_cdf_by_hand() -> None:
    logits = torch.tensor([[0.1, 0.4, 0.2, 0.3]]).log().repeat(6, 1)
    # Cumulative 0.1, 0.5, 0.7, 1.0: token i for uniforms in [cum[i - 1], cum[i]).
    uniform = torch.tensor([0.0, 0.09, 0.11, 0.49, 0.51, 0.99])
    params = SamplingParams(max_new_tokens=1, logprobs=True)
    tokens, logprobs = sample(logits, uniform, params)
    assert tokens.tolist() == [0, 0, 1, 1, 2, 3]
    assert logprobs is not None
    np.testing.assert_allclose(logprobs.exp().tolist(), [0.1, 0.1, 0.4, 0.4, 0.2, 0.3], rtol=1e-5)
    # top_k = 2 keeps tokens 1 and 3, 0.4 and 0.3 of 0.7: token 1 below 4/7 = 0.571. Logprobs are the whole's.
    params = SamplingParams(max_new_tokens=1, top_k=2, logprobs=True)
    tokens, logprobs = sample(logits, torch.tensor([0.0, 0.3, 0.56, 0.58, 0.7, 0.99]), params)
    assert tokens.tolist() == [1, 1, 1, 3, 3, 3]
    assert logprobs is not None
    np.testing.assert_allclose(logprobs.exp().tolist(), [0.4] * 3 + [0.3] * 3, rtol=1e-5)


def test_extreme_uniforms_never_draw_an_impossible_token() -> None:
    largest = 1 - 2.0**-24  # the largest number that `uniforms` can return
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(200, 1000, generator=generator)
    logits[:, 0] = float("-inf")
    logits[:, -400:] = -200.0  # underflows to probability 0
    for value in (0.0, largest):
        tokens, _ = sample(logits, torch.full((200,), value), SamplingParams(max_new_tokens=1))
        assert tokens.min() > 0 and tokens.max() < 600
    tokens, _ = sample(torch.full((2, 5), float("nan")), torch.tensor([0.0, 0.5]), SamplingParams(1))
    assert tokens.max() < 5


def test_uniforms_depend_on_the_seed_alone_and_extend() -> None:
    assert np.array_equal(uniforms(7, 9)[:5], uniforms(7, 5))
    for other in (8, 7 + 2**32):  # every bit of the seed counts, the upper ones too
        assert not np.array_equal(uniforms(7, 5), uniforms(other, 5))
    many = uniforms(2**63 + 5, 20000)
    assert many.dtype == np.float32 and many.min() >= 0 and many.max() < 1
    assert abs(many.mean() - 0.5) < 4 * (1 / 12 / 20000) ** 0.5
