"""The entropy bonus and the mask on high-entropy tokens, through an update of a real policy."""

from __future__ import annotations

import pytest
import torch

from harness.model.entropy import chunked_entropy
from harness.model.policy import Policy
from harness.model.rows import pack_rows
from harness.training.advantages import active_rows, build_batch
from harness.training.gradient import batch_entropy
from harness.types import ScoredGroup
from tests.unit.harness.tiny import configure
from tests.unit.harness.training.one_step import (
    EQUAL,
    MIXED,
    NO_KL,
    ONE_STEP,
    close,
    costs,
    gradient,
    logprobs_of,
    policy,
    stepped,
)

TEMPERATURE = "rollout.temperature=0.8"


def entropy_of(
    model: Policy, prompt: tuple[int, ...], completion: tuple[int, ...], temperature: float = 1.0
) -> torch.Tensor:
    """-sum p log p at each completion token, with its gradient, one row alone: [N]."""
    ids = torch.tensor([[*prompt, *completion]])
    states = model.hidden(pack_rows(ids, torch.tensor([ids.shape[1]])))  # [T, D]
    log_p = (states @ model.head_weight.T / temperature).log_softmax(-1)[len(prompt) - 1 : -1]
    return -(log_p.exp() * log_p).sum(-1)


def test_the_entropy_and_its_gradient_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.model.entropy.ENTROPY_CHUNK_ELEMENTS", 30)  # two tokens of 11 a chunk
    g = torch.Generator().manual_seed(0)
    states = torch.randn(7, 5, generator=g, dtype=torch.float64).requires_grad_()
    weight = torch.randn(11, 5, generator=g, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda s, w: chunked_entropy(s, w, temperature=0.7), (states, weight))
    p = (states @ weight.T / 0.7).softmax(-1)
    torch.testing.assert_close(
        chunked_entropy(states, weight, temperature=0.7), torch.distributions.Categorical(p).entropy()
    )
    uniform = chunked_entropy(torch.zeros(1, 5), torch.ones(11, 5), temperature=1.0)
    assert uniform.item() == pytest.approx(torch.tensor(11.0).log().item())


@pytest.mark.parametrize("groups", [[MIXED], [EQUAL]], ids=["rewards differ", "equal rewards"])
def test_the_bonus_adds_its_gradient_to_every_token(groups: list[ScoredGroup]) -> None:
    """Also where advantages are 0: the bonus alone then moves the policy, towards more entropy."""
    config = configure(NO_KL, *ONE_STEP, "objective.entropy_coef=0.3")
    plain = configure(NO_KL, *ONE_STEP)
    (made,) = groups
    model = policy().double()
    bonus = torch.zeros((), dtype=torch.float64)
    total = 0.0
    for rollout in made.rollouts:
        entropy = entropy_of(model, made.prompt.token_ids, rollout.completion_ids)
        bonus = bonus - 0.3 * entropy.mean() / 3  # sequence_mean over three rows
        total += float(entropy.detach().sum())
    expected = gradient(bonus, model)
    found, result = stepped(config, groups, dtype=torch.float64)
    without, _ = stepped(plain, groups, dtype=torch.float64)
    close(found - without, expected)
    tokens = sum(len(r.completion_ids) for r in made.rollouts)
    assert result.metrics["entropy_exact"] == pytest.approx(total / tokens, rel=1e-5)
    assert len(active_rows(build_batch(groups, config.objective), config.objective)) == 3


def test_no_bonus_is_the_same_to_the_bit() -> None:
    found, result = stepped(configure(NO_KL, *ONE_STEP, "objective.entropy_coef=0"), [MIXED])
    plain, same = stepped(configure(NO_KL, *ONE_STEP), [MIXED])
    assert torch.equal(found, plain) and result.metrics == same.metrics
    assert "entropy_exact" not in result.metrics


def test_only_tokens_of_high_entropy_have_a_gradient() -> None:
    """A third of the nine tokens; the denominators stay those of whole outputs."""
    config = configure(NO_KL, *ONE_STEP, "objective.advantage.entropy_share=0.33")
    model = policy()
    prompt = MIXED.prompt.token_ids
    rows = [entropy_of(model, prompt, r.completion_ids).detach() for r in MIXED.rollouts]
    least = torch.cat(rows).sort(descending=True).values[2]
    loss = torch.zeros(())
    advantages = (2 / 3**0.5, -1 / 3**0.5, -1 / 3**0.5)
    for entropy, rollout, advantage in zip(rows, MIXED.rollouts, advantages, strict=True):
        lp = logprobs_of(model, prompt, rollout.completion_ids)
        loss = loss - advantage * lp[entropy >= least].sum() / len(lp) / 3
    found, result = stepped(config, [MIXED])
    close(found, gradient(loss, model))
    assert int((result.batch.advantages != 0).sum()) == 3
    _, plain = stepped(configure(NO_KL, *ONE_STEP), [MIXED])
    assert costs(result)[2] == costs(plain)[2] + int(result.batch.lengths.sum())  # scored once more


@pytest.mark.parametrize(("over", "rows"), [("accepted", 1 + 3), ("nonzero", 3 + 3), ("all", 6)])
@pytest.mark.parametrize(("kind", "tokens"), [("sequence_mean", False), ("token_mean", True)])
def test_rows_without_a_chosen_token_stay_in_the_denominator(
    over: str, rows: int, kind: str, tokens: bool
) -> None:
    """1 / sum_i |o_i| of arXiv:2506.01939 holds whole outputs, whichever of their tokens are chosen.

    By `signed` a row has 1 or -1: accepted are 1 of MIXED's and 3 of EQUAL's, not 0 are all six.
    """
    share = (
        2 / 18
    )  # of 9 + 9 completion tokens: MIXED's three first ones, which share a context and so a rank
    config = configure(
        NO_KL,
        *ONE_STEP,
        "objective.advantage={fn: signed, std: none, eps: 0}",
        f"objective.advantage.entropy_share={share}",
        f"objective.reduce={kind}",
        f"objective.reduce_over={over}",
    )
    model, groups = policy(), [MIXED, EQUAL]
    signs = {id(r): 2 * reward - 1 for g in groups for r, reward in zip(g.rollouts, g.rewards, strict=True)}
    every = [
        (g, r, entropy_of(model, g.prompt.token_ids, r.completion_ids).detach())
        for g in groups
        for r in g.rollouts
    ]
    least = torch.cat([entropy for *_, entropy in every]).sort(descending=True).values[1]
    counted = [r for _, r, _ in every if over != "accepted" or signs[id(r)] > 0]
    assert len(counted) == rows
    divisor = sum(len(r.completion_ids) for r in counted) if tokens else len(counted)
    loss = torch.zeros(())
    for made, rollout, entropy in every:
        lp = logprobs_of(model, made.prompt.token_ids, rollout.completion_ids)
        part = signs[id(rollout)] * lp[entropy >= least].sum()
        loss = loss - (part if tokens else part / len(lp)) / divisor
    found, result = stepped(config, groups)
    close(found, gradient(loss, model))
    assert int((result.batch.advantages != 0).any(-1).sum()) == 3  # of six rows


def test_entropies_are_those_of_the_sampling_temperature() -> None:
    config = configure(TEMPERATURE)
    model = policy()
    found = batch_entropy(model, build_batch([MIXED], config.objective), config)
    expected = entropy_of(model, (7, 3), MIXED.rollouts[1].completion_ids, 0.8)
    torch.testing.assert_close(found[1, 2:6], expected.detach(), rtol=1e-4, atol=1e-5)
    assert float(found[:, :2].abs().max()) == 0.0
