"""The value model in an update: its loss and gradient by hand, its invariances, and that it learns."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from harness.model.policy import Policy
from harness.model.rows import pack_rows
from harness.training.advantages import build_batch
from harness.training.critic import ValueModel, init_value, token_values
from harness.training.models import Models
from harness.training.optim import adamw, guarded_step
from harness.training.saving import save
from harness.training.update import UpdateResult, update
from harness.types import Batch, ScoredGroup
from tests.unit.harness.tiny import DIMS, configure, run_on_untrained_base, write_rows
from tests.unit.harness.training.one_step import EQUAL, MIXED, ONE_STEP, WRONG, close, costs, policy

PPO = (
    "objective=ppo_clip",
    "objective.value.whiten=false",
    "objective.value.lam=0.5",
    "objective.value.coef=0.3",
    *ONE_STEP,
)


def value_model(shared: bool, seed: int = 7) -> ValueModel:
    return init_value(DIMS.hidden_size, trunk=None if shared else policy(3), seed=seed)


def weights(*modules: torch.nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for m in modules for p in m.parameters()])


def stepped(
    lines: tuple[str, ...], groups: list[ScoredGroup], *, shared: bool, batch: Batch | None = None
) -> tuple[Tensor, UpdateResult]:
    """(gradient of policy and critic, result) of one update by SGD with learning rate 1."""
    config = configure(*lines, f"objective.value.shared_trunk={str(shared).lower()}")
    model, value = policy(), value_model(shared)
    before = weights(model, value)
    batch = batch or build_batch(groups, config.objective)
    result = update(
        Models(model, value=value),
        torch.optim.SGD([*model.parameters(), *value.parameters()], lr=0.0),
        batch,
        config=config,
        order=torch.Generator().manual_seed(0),
        num_updates_done=0,
        num_updates_total=10,
    )
    return before - weights(model, value), result


def states_of(model: Policy, prompt: tuple[int, ...], completion: tuple[int, ...]) -> Tensor:
    """The states from which the completion's tokens are predicted, one row alone and unpadded: [N, D]."""
    ids = torch.tensor([[*prompt, *completion]])
    return model.hidden(pack_rows(ids, torch.tensor([ids.shape[1]])))[len(prompt) - 1 : -1]


@pytest.mark.parametrize("shared", [True, False])
def test_a_step_is_the_equation_row_by_row(shared: bool) -> None:
    # GAE, gamma 1, lam 1/2: delta_t = V_{t+1} - V_t, r - V at the last token; A_t = delta_t + A_{t+1} / 2.
    # loss = mean over tokens of -A ratio + 0.3 (V - (A + V_old))² / 2; nothing is clipped at the old weights.
    found, result = stepped(PPO, [MIXED, EQUAL], shared=shared)
    model, value = policy(), value_model(shared)
    trunk = model if shared else value.trunk
    assert trunk is not None
    num, loss, everything = (2 + 4 + 3) + (5 + 1 + 2), torch.zeros(()), []
    for group in (MIXED, EQUAL):
        for rollout, reward in zip(group.rollouts, group.rewards, strict=True):
            prompt, ids = group.prompt.token_ids, rollout.completion_ids
            states = states_of(model, prompt, ids)
            lp = (states @ model.head_weight.T).log_softmax(-1)[range(len(ids)), list(ids)]
            v = states_of(trunk, prompt, ids) @ value.head.weight[0] + value.head.bias
            old, advantages = v.detach().tolist(), [0.0] * (len(ids) + 1)
            for t in reversed(range(len(ids))):
                after = old[t + 1] if t + 1 < len(ids) else reward
                advantages[t] = after - old[t] + 0.5 * advantages[t + 1]
            a = torch.tensor(advantages[:-1])
            everything.append(torch.stack((a, a + v.detach())))
            loss = loss - (a * (lp - lp.detach()).exp()).sum() / num
            loss = loss + 0.3 * 0.5 * (v - (a + v.detach())).square().sum() / num
    a, returns = torch.cat(everything, 1)
    assert torch.allclose(result.batch.advantages[result.batch.completion_mask], a, atol=1e-4)
    parameters = [*model.parameters(), *value.parameters()]
    gradient = torch.autograd.grad(loss, parameters)
    close(found, torch.cat([g.flatten() for g in gradient]))
    explained = 1 - a.var(correction=0) / returns.var(correction=0)
    assert result.metrics["explained_variance"] == pytest.approx(float(explained), rel=1e-3)
    assert result.metrics["value_loss"] == pytest.approx(float(0.5 * a.square().mean()), rel=1e-4)


@pytest.mark.parametrize("shared", [True, False])
def test_microbatches_do_not_change_the_step(shared: bool) -> None:
    groups = [MIXED, EQUAL, WRONG]
    whole, result = stepped(PPO, groups, shared=shared)
    for tokens in (1, 13):
        split, same = stepped((*PPO, f"trainer.microbatch_tokens={tokens}"), groups, shared=shared)
        close(split, whole)
        assert same.microbatch_tokens == tokens
        assert same.metrics == pytest.approx(result.metrics, rel=1e-3, abs=1e-5)
        assert costs(same) == costs(result)


def test_poisoned_padding_changes_nothing() -> None:
    clean, result = stepped(PPO, [MIXED, EQUAL], shared=True)
    batch = build_batch([MIXED, EQUAL], configure(*PPO).objective)
    batch.sampler_logprobs[~batch.completion_mask] = math.nan
    batch.input_ids[torch.arange(batch.input_ids.shape[1]) >= batch.lengths[:, None]] = 10
    found, same = stepped(PPO, [], shared=True, batch=batch)
    assert torch.equal(found, clean) and same.metrics == result.metrics


def test_where_the_critic_is_right_nothing_moves() -> None:
    """V is the reward everywhere, so every delta is 0: equal rewards, the limit of a group's."""
    config = configure(*PPO, "objective.value.lam=0")
    model, value = policy(), value_model(False)
    with torch.no_grad():
        value.head.weight.zero_()
        value.head.bias.fill_(1.0)
    before = weights(model, value)
    result = update(
        Models(model, value=value),
        torch.optim.SGD([*model.parameters(), *value.parameters()], lr=0.0),
        build_batch([EQUAL], config.objective),
        config=config,
        order=torch.Generator(),
        num_updates_done=0,
        num_updates_total=1,
    )
    assert float((weights(model, value) - before).norm()) < 1e-6
    assert result.metrics["value_loss"] < 1e-10 and result.metrics["explained_variance"] == 0.0


def test_the_critic_learns_what_its_prefixes_are_worth() -> None:
    """Three fixed outputs of one prompt, the policy still: V goes to the mean return of each prefix.

    Rewards 1, 0, 0 after first tokens 4, 5, 2: before the first token 1/3, after it 1, 0, 0.
    """
    config = configure("objective=ppo_clip", "objective.updates.epochs=1", "objective.updates.minibatches=1")
    model, value = policy(), value_model(False)
    optimizer = adamw(value, lr=3e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0)
    for index in range(150):
        result = update(
            Models(model, value=value),
            optimizer,
            build_batch([MIXED], config.objective),
            config=config.model_copy(
                update={"trainer": config.trainer.model_copy(update={"lr": 3e-3, "warmup_steps": 0})}
            ),
            order=torch.Generator(),
            num_updates_done=index,
            num_updates_total=1000,
        )
        model.zero_grad(set_to_none=True)
    batch = build_batch([MIXED], config.objective)
    with torch.no_grad():
        found = token_values(value, model, pack_rows(batch.input_ids, batch.lengths, batch.completion_mask))
    expected = torch.zeros_like(found)
    expected[:, 2] = 1 / 3
    expected[0, 3] = 1.0
    assert float((found - expected)[batch.completion_mask].abs().max()) < 0.05
    assert result.metrics["explained_variance"] > 0.5


def test_the_head_comes_from_its_own_stream(tmp_path: Path) -> None:
    heads = {}
    for name, line in (("a", "seed=0"), ("same", "replicate=1"), ("other", "seed=1")):
        run = run_on_untrained_base(tmp_path / name, "objective=ppo", line)
        assert run.models.value is not None and run.models.value.trunk is not None
        heads[name] = run.models.value.head.weight.detach()
        assert torch.equal(
            weights(run.models.value.trunk), weights(run.models.policy)
        )  # it starts as the base
    assert torch.equal(heads["a"], heads["same"]) and not torch.equal(heads["a"], heads["other"])
    # normal(0, 1 / (D + 1)), D = 16: standard deviation 0.059
    assert 0.025 < float(heads["a"].std()) < 0.11


def test_value_and_coefficient_come_back_on_resume(tmp_path: Path) -> None:
    run = run_on_untrained_base(tmp_path, "objective=ppo")
    assert run.models.value is not None and run.models.value.trunk is not None
    run.counters.kl_coef, run.counters.step = 0.8, 2
    with torch.no_grad():
        run.models.value.head.bias.fill_(3.0)
        run.models.value.trunk.model.norm.weight.fill_(2.0)
    write_rows(run.folder, 2)
    save(run)
    again = run_on_untrained_base(tmp_path, "objective=ppo")
    assert again.models.value is not None
    assert torch.equal(weights(again.models.value), weights(run.models.value))
    assert (again.counters.kl_coef, again.counters.step) == (0.8, 2)


def test_the_critic_has_its_own_learning_rate() -> None:
    model, value = policy(), value_model(False)
    optimizer = adamw(model, lr=1e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0, others=[(value, 3.0)])
    owner = {id(p): g["lr_scale"] for g in optimizer.param_groups for p in g["params"]}
    assert {owner[id(p)] for p in model.parameters()} == {1.0}
    assert {owner[id(p)] for p in value.parameters()} == {3.0}
    parameters = [*model.parameters(), *value.parameters()]
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    guarded_step(optimizer, parameters, lr=0.01, max_grad_norm=1.0)
    assert {g["lr_scale"]: g["lr"] for g in optimizer.param_groups} == pytest.approx({1.0: 0.01, 3.0: 0.03})
