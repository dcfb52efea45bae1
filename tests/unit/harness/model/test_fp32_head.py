"""The output head's product in float32 under bfloat16: its value, gradient, sampler, and a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from harness.model.entropy import chunked_entropy
from harness.model.policy import Policy, init_policy, token_logprobs
from harness.model.rows import Rows, pack_rows
from harness.records.lines import read_metrics
from harness.rollout.native import NativeEngine
from harness.training.trainer import train
from harness.types import Prompt, SamplingParams
from tests.shapes import model_dims
from tests.unit.harness.tiny import run_on_untrained_base

DIMS = model_dims(
    vocab_size=200,
    hidden_size=64,
    intermediate_size=64,
    head_dim=16,
    max_position_embeddings=64,
    tie_word_embeddings=False,
)


def policy(fp32_head: bool, dtype: torch.dtype = torch.bfloat16) -> Policy:
    made = init_policy(DIMS, 3)
    with torch.no_grad():
        made.head_weight.mul_(10.0)  # logits of some nats, where rounding to 8 bits is felt
    made = made.to(dtype)
    made.fp32_head = fp32_head
    return made


def rows() -> Rows:
    g = torch.Generator().manual_seed(1)
    ids = torch.randint(2, DIMS.vocab_size, (4, 12), generator=g)
    return pack_rows(ids, torch.full((4,), 12), torch.ones_like(ids, dtype=torch.bool))


def exact(model: Policy, packed: Rows) -> Tensor:
    """Logprobs from the model's own last states and weights, both bfloat16, multiplied in float64."""
    with torch.no_grad():
        states = model.hidden(packed)[packed.before.index].double()
        logits = states @ model.head_weight.double().T
    return logits.log_softmax(-1).gather(1, packed.targets[:, None]).squeeze(1)


def flat(found: Tensor, packed: Rows) -> Tensor:
    return found.flatten()[packed.at].double()


def test_logprobs_lose_nothing_in_the_last_product() -> None:
    packed = rows()
    errors = {}
    for fp32_head in (False, True):
        model = policy(fp32_head)
        found = token_logprobs(model, packed, temperature=1.0)[0].detach()
        errors[fp32_head] = float((flat(found, packed) - exact(model, packed)).abs().max())
    assert errors[True] < 1e-4
    assert errors[False] > 30 * errors[True]


def test_the_gradient_is_that_of_the_product_in_float32() -> None:
    packed, model = rows(), policy(True)
    found = token_logprobs(model, packed, temperature=0.7)[0].sum()
    (gradient,) = torch.autograd.grad(found, [model.model.norm.weight])
    states = model.hidden(packed)[packed.before.index].float()
    log_p = (states @ model.head_weight.float().T / 0.7).log_softmax(-1)
    (expected,) = torch.autograd.grad(
        log_p.gather(1, packed.targets[:, None]).sum(), [model.model.norm.weight]
    )
    assert gradient.dtype == torch.bfloat16
    torch.testing.assert_close(gradient.float(), expected.float(), rtol=2e-2, atol=2e-2)
    (of_head,) = torch.autograd.grad(
        token_logprobs(model, packed, temperature=0.7)[0].sum(), [model.head_weight]
    )
    assert of_head.dtype == torch.bfloat16 and bool(of_head.isfinite().all())


def test_in_float32_it_changes_no_bit() -> None:
    packed = rows()
    plain, wide = (
        token_logprobs(policy(on, torch.float32), packed, temperature=1.0)[0] for on in (False, True)
    )
    assert torch.equal(plain, wide)


def test_the_entropy_takes_it_too() -> None:
    model = policy(True)
    states = torch.randn(5, 64, generator=torch.Generator().manual_seed(2)).bfloat16()
    found = chunked_entropy(*model.head_factors(states), temperature=1.0)
    p = (states.double() @ model.head_weight.double().T).softmax(-1)
    torch.testing.assert_close(found.double(), torch.special.entr(p).sum(-1), rtol=0, atol=1e-4)


def test_the_sampler_and_the_trainer_come_nearer() -> None:
    """Their states differ by rounding all the same; the head's share of the gap goes."""
    gaps = {on: _gap(policy(on)) for on in (False, True)}
    assert gaps[True] < 0.85 * gaps[False]


def _gap(model: Policy) -> float:
    """Mean distance of the sampler's logprobs from the trainer's, nats a token."""
    engine = NativeEngine(model, eos_token_ids=(1,), decode=lambda ids: "", max_batch_size=64)
    prompts = [Prompt(str(i), "question", "", tuple(range(2, 6 + i % 3))) for i in range(48)]
    params = SamplingParams(max_new_tokens=16, temperature=1.0, logprobs=True)
    rollouts = engine.generate(prompts, params=params, seeds=list(range(48)))
    distances: list[float] = []
    for prompt, rollout in zip(prompts, rollouts, strict=True):
        distances += _distances(model, prompt.token_ids, rollout.completion_ids, rollout.sampler_logprobs)
    return sum(distances) / len(distances)


def _distances(
    model: Policy, prompt: Sequence[int], completion: Sequence[int], sampler: Sequence[float] | None
) -> list[float]:
    assert sampler is not None
    ids = torch.tensor([[*prompt, *completion]])
    packed = pack_rows(ids, torch.tensor([ids.shape[1]]), torch.ones_like(ids, dtype=torch.bool))
    with torch.no_grad():
        found = token_logprobs(model, packed, temperature=1.0)[0]
    return (found[0, len(prompt) :] - torch.tensor(sampler)).abs().tolist()


@pytest.mark.parametrize("on", ["true", "false"])
def test_a_run_in_bfloat16_has_it_everywhere(on: str, tmp_path: Path) -> None:
    lines = ("dtype=bfloat16", f"objective.fp32_head={on}", "objective.reward.random=1", "trainer.steps=2")
    run = run_on_untrained_base(tmp_path, *lines, "objective.entropy_coef=0.01")
    assert run.models.reference is not None
    flags = {model.fp32_head for model in (run.models.policy, run.sampler, run.models.reference)}
    assert flags == {on == "true"}
    train(run, report=lambda *_: None, log=lambda _: None, evaluate=lambda _: None)
    rows = read_metrics(run.folder / "metrics.jsonl")
    assert rows[-1]["updates"] > 0 and rows[-1]["sampler_trainer_kl"] < 0.01
