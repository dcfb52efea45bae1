"""The slots beside advantage, ratio and loss: sampler correction, KL, truncation, refill, refresh."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from harness.model.rows import pack_rows
from harness.training import trainer
from harness.training.advantages import build_batch, with_advantages
from harness.training.exact_kl import exact_kl
from harness.training.experience import refill, score, select
from harness.training.run_state import Run
from harness.training.trainer import refresh_reference, sample_and_grade, update_policy
from harness.training.update import adapted_coef
from harness.types import Grade, Problem, Rollout, ScoredGroup
from tests.unit.harness.tiny import configure, run_on_untrained_base
from tests.unit.harness.training.test_update import (
    EQUAL,
    MIXED,
    NO_KL,
    ONE_STEP,
    WRONG,
    close,
    gradient,
    logprobs_of,
    policy,
    stepped,
    weights,
)

LN2, LN3 = math.log(2.0), math.log(3.0)


@pytest.mark.parametrize("level", ["token", "sequence", "sequence_mean"])
def test_the_sampler_correction_weighs_each_term(level: str) -> None:
    # The trainer's logprobs are the sampler's + 0.4, - 0.3, + 0.4, ...: the weight is exp of that for a
    # token, of its sum for an output, or of its mean; 1.2 at most, and exp(0.4) is 1.49.
    config = configure(NO_KL, *ONE_STEP, "objective.tis.cap=1.2", f"objective.tis.level={level}")
    batch, model, loss = build_batch([MIXED], config.objective), policy(), torch.zeros(())
    for row, advantage in enumerate((2 / 3**0.5, -1 / 3**0.5, -1 / 3**0.5)):
        lp = logprobs_of(model, MIXED.prompt.token_ids, MIXED.rollouts[row].completion_ids)
        gap = torch.tensor([0.4, -0.3, 0.4, -0.3])[: len(lp)]
        batch.sampler_logprobs[row, 2 : 2 + len(lp)] = lp.detach() - gap
        log_weight = {"token": gap, "sequence": gap.sum(), "sequence_mean": gap.mean()}[level]
        loss = loss - (advantage * (lp - lp.detach()).exp() * log_weight.exp().clamp(max=1.2)).mean() / 3
    found, result = stepped(config, [], batch=batch)
    close(found, gradient(loss, model))
    # tokens: 5 × 1.2 + 4 × exp(-0.3); outputs (2, 4, 3 tokens): sums 0.1, 0.2, 0.5; means 0.05, 0.05, 1/6
    expected = {
        "token": (5 * 1.2 + 4 * math.exp(-0.3)) / 9,
        "sequence": (2 * math.exp(0.1) + 4 * 1.2 + 3 * 1.2) / 9,
        "sequence_mean": (6 * math.exp(0.05) + 3 * math.exp(0.5 / 3)) / 9,
    }
    assert result.metrics["tis_weight"] == pytest.approx(expected[level], rel=1e-5)


def test_no_sampler_correction_where_the_two_agree() -> None:
    batch = build_batch([MIXED], configure(NO_KL).objective)
    model = policy()
    for row, rollout in enumerate(MIXED.rollouts):
        lp = logprobs_of(model, MIXED.prompt.token_ids, rollout.completion_ids).detach()
        batch.sampler_logprobs[row, 2 : 2 + len(lp)] = lp
    plain, _ = stepped(configure(NO_KL, *ONE_STEP), [MIXED])
    on = ("objective.tis.cap=2", "objective.tis.level=token")
    found, result = stepped(configure(NO_KL, *ONE_STEP, *on), [], batch=batch)
    close(found, plain)
    assert result.metrics["tis_weight"] == pytest.approx(1.0, abs=1e-5)


def credited(objective: str, *overrides: str, coef: float = 0.5) -> tuple[Tensor, Tensor]:
    """(advantages of the completion tokens, the mask) of two rows whose log ratios to the reference are

    row 0: ln 2, 0 with reward 1; row 1: 0, ln 3, ln 3 with reward 0; the KL's coefficient is `coef`.
    """
    group = replace(MIXED, rollouts=MIXED.rollouts[::2], grades=MIXED.grades[::2], rewards=(1.0, 0.0))
    config = configure(f"objective={objective}", f"objective.kl.coef={coef}", *overrides)
    batch = build_batch([group], config.objective)  # prompts of 2 tokens, completions of 2 and 3
    batch.old_logprobs[0, 2:4] = torch.tensor([LN2, 0.0])
    batch.old_logprobs[1, 2:5] = torch.tensor([0.0, LN3, LN3])
    values = torch.zeros_like(batch.old_logprobs)
    values[0, 2:4] = torch.tensor([0.5, 0.25])
    batch = replace(batch, ref_logprobs=torch.zeros_like(batch.old_logprobs), values=values)
    batch = with_advantages(batch, config.objective, kl_coef=coef)
    assert not batch.advantages[~batch.completion_mask].any()
    return batch.advantages, batch.completion_mask


IN_REWARD = ("objective.kl.placement=reward", "objective.kl.estimator=k1")


def test_rloo_takes_the_kl_of_the_whole_output_from_its_reward() -> None:
    # R: 1 - 0.5 ln 2 and 0 - 0.5 (ln 3 + ln 3) = -ln 3. Of two, each minus the other.
    advantages, mask = credited("rloo", *IN_REWARD)
    gap = 1 - 0.5 * LN2 + LN3
    assert advantages[mask].tolist() == pytest.approx([gap, gap, -gap, -gap, -gap])


def test_reinforce_pp_takes_the_kl_of_each_token_and_sums_what_is_to_come() -> None:
    advantages, mask = credited("reinforce_pp", *IN_REWARD)
    # Rewards: (-ln2/2, 1) and (0, -ln3/2, -ln3/2). To come: (1 - ln2/2, 1) and (-ln3, -ln3, -ln3/2).
    to_go = torch.tensor([1 - LN2 / 2, 1.0, -LN3, -LN3, -LN3 / 2])
    expected = (to_go - to_go.mean()) / to_go.std(correction=0)
    assert torch.allclose(advantages[mask], expected, atol=1e-6)


def test_reinforce_pp_without_a_kl_is_the_limit_of_a_small_one() -> None:
    group = replace(MIXED, rollouts=MIXED.rollouts[::2], grades=MIXED.grades[::2], rewards=(1.0, 0.0))
    none = build_batch([group], configure("objective=reinforce_pp").objective).advantages
    gaps = []
    for coef in (1e-2, 1e-4, 1e-6):
        advantages, mask = credited("reinforce_pp", *IN_REWARD, coef=coef)
        gaps.append(float((advantages - none).abs().max()))
    # Outputs of 2 and 3 tokens, rewards 1 and 0: mean 2/5, std sqrt(6)/5. Over the outputs it would be ±1.
    assert none[mask].tolist() == pytest.approx([3 / 6**0.5] * 2 + [-2 / 6**0.5] * 3, abs=1e-5)
    assert gaps[0] > gaps[1] > gaps[2] and gaps[2] < 1e-5


def test_gae_takes_the_kl_of_each_token() -> None:
    lines = ("objective.value.gamma=1", "objective.value.lam=0.5", "objective.value.whiten=false")
    advantages, mask = credited("ppo", *IN_REWARD, "objective.kl.against=ref", *lines)
    # Row 0, values 0.5, 0.25: delta = -ln2/2 + 0.25 - 0.5, then 1 - 0.25; A = delta_0 + 0.5 × 0.75, 0.75.
    # Row 1, values 0: delta = 0, -ln3/2, -ln3/2; A_2 = -ln3/2, A_1 = -ln3/2 (1 + 1/2), A_0 = A_1 / 2.
    expected = [-LN2 / 2 - 0.25 + 0.375, 0.75, -LN3 * 3 / 8, -LN3 * 3 / 4, -LN3 / 2]
    assert advantages[mask].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_exact_kl_is_the_sum_over_the_vocabulary(temperature: float) -> None:
    model, reference = policy(), policy(5)
    ids = torch.tensor([[7, 3, 4, 1, 9], [7, 3, 5, 0, 0]])
    lengths, mask = torch.tensor([5, 3]), torch.tensor([[0, 0, 1, 1, 1], [0, 0, 1, 0, 0]]).bool()
    found = exact_kl(model, reference, pack_rows(ids, lengths, mask), temperature=temperature)
    rows = []
    for row, end in ((0, 5), (1, 3)):
        logs = [
            (
                m.hidden(pack_rows(ids[row : row + 1, :end], torch.tensor([end])))
                @ m.head_weight.T
                / temperature
            ).log_softmax(-1)[1:-1]
            for m in (model, reference)
        ]
        rows.append((logs[0].exp() * (logs[0] - logs[1].detach())).sum(-1))
    assert torch.allclose(found[mask], torch.cat(rows), rtol=1e-4, atol=1e-6)
    assert not found[~mask].any() and float(found.detach().sum()) > 0.1
    close(gradient(found.sum(), model), gradient(torch.cat(rows).sum(), model))


def test_the_exact_kl_as_a_penalty() -> None:
    # No advantage: coef/3 sum_i 1/|o_i| sum_t KL_t, whatever token was sampled.
    reference = policy(5)
    lines = ("objective.kl.coef=0.5", "objective.kl.estimator=exact", *ONE_STEP)
    found, _ = stepped(configure(*lines), [EQUAL], reference=reference)
    model, batch = policy(), build_batch([EQUAL], configure().objective)
    rows = pack_rows(batch.input_ids, batch.lengths, batch.completion_mask)
    per_token = exact_kl(model, reference, rows, temperature=1.0)
    loss = 0.5 * (per_token.sum(-1) / batch.completion_mask.sum(-1)).mean()
    close(found, gradient(loss, model))


def test_the_exact_kl_in_the_reward() -> None:
    # R_i - coef × the sum over the output's tokens, then each less the mean of the two others.
    lines = ("objective=rloo", "objective.kl.coef=0.5", "objective.kl.estimator=exact", *ONE_STEP)
    config, reference = configure(*lines, "objective.kl.placement=reward"), policy(5)
    batch = build_batch([MIXED], config.objective)
    _, result = stepped(config, [], batch=batch, reference=reference)
    rows = pack_rows(batch.input_ids, batch.lengths, batch.completion_mask)
    penalty = exact_kl(policy(), reference, rows, temperature=1.0).sum(-1).detach()  # [3]
    rewards = torch.tensor([1.0, 0.0, 0.0]) - 0.5 * penalty
    expected = rewards - (rewards.sum() - rewards) / 2
    assert float(penalty.min()) > 0.01
    assert torch.allclose(result.batch.advantages, expected[:, None] * batch.completion_mask, atol=1e-5)


def test_ppos_penalty_is_kl_from_the_sampling_policy_and_pulls_back() -> None:
    # Means over 9 tokens; the advantages of (1, 0, 0) are 2/3, -1/3, -1/3. At its own weights the penalty has
    # no gradient; in the second epoch it adds r - 1 - log r, r = pi / pi_old, to -A r. Steps of 1/1000 in
    # float64: the gradient far away from the sampling weights is too large to compare in float32.
    lines = ("objective=ppo_kl", "objective.value=null", "objective.advantage.fn=group_centered")
    lines = (*lines, "objective.kl.coef=1", *ONE_STEP)
    none, result = stepped(configure(*lines), [EQUAL])
    assert float(none.norm()) < 1e-6 and result.metrics["kl_old"] == 0.0
    small = (*lines, "trainer.lr=1e-3")
    once, _ = stepped(configure(*small), [MIXED], dtype=torch.float64)
    both, _ = stepped(configure(*small, "objective.updates.epochs=2"), [MIXED], dtype=torch.float64)
    start, moved, loss = policy().double(), policy().double(), torch.zeros(())
    torch.nn.utils.vector_to_parameters(weights(start) - once, moved.parameters())
    farthest = 0.0
    for rollout, advantage in zip(MIXED.rollouts, (2 / 3, -1 / 3, -1 / 3), strict=True):
        old = logprobs_of(start, (7, 3), rollout.completion_ids).detach()
        log_r = logprobs_of(moved, (7, 3), rollout.completion_ids) - old
        loss = loss + (-advantage * log_r.exp() + log_r.exp() - 1 - log_r).sum() / 9
        farthest = max(farthest, float(log_r.detach().abs().max()))
    assert 0.05 < farthest < 2.0  # it has moved, and not out of sight
    close(both - once, 1e-3 * gradient(loss, moved))


@pytest.mark.parametrize(("target", "factor"), [(0.1, 2.0), (0.3, 1.0), (0.5, 0.5)])
def test_the_coefficient_doubles_and_halves(target: float, factor: float) -> None:
    # k3 at log r = ln 2 is 2 - 1 - ln 2 = 0.307: above 1.5 × 0.1, below 0.5 / 1.5 = 0.333.
    config = configure("objective.kl.coef=0.2", f"objective.kl.target={target}")
    batch = build_batch([MIXED], config.objective)
    batch = replace(batch, ref_logprobs=torch.full_like(batch.old_logprobs, LN2))
    assert adapted_coef(policy(), batch, config=config, kl_coef=0.2) == pytest.approx(0.2 * factor)


def test_the_proportional_coefficient() -> None:
    # kl / target - 1 = 0.307 / 0.25 - 1 > 0.2, held at 0.2; 3 samples of a horizon of 6: × (1 + 0.1).
    config = configure("objective.kl.coef=0.2", "objective.kl.target=0.25", "objective.kl.horizon=6")
    batch = build_batch([MIXED], config.objective)
    batch = replace(batch, ref_logprobs=torch.full_like(batch.old_logprobs, LN2))
    assert adapted_coef(policy(), batch, config=config, kl_coef=0.2) == pytest.approx(0.22)


def test_against_old_the_coefficient_sees_where_the_updates_went() -> None:
    config = configure("objective=ppo_kl", "objective.value=null", "objective.advantage.fn=group_centered")
    batch = build_batch([MIXED], config.objective)
    for row, rollout in enumerate(MIXED.rollouts):
        lp = logprobs_of(policy(), (7, 3), rollout.completion_ids).detach()
        batch.old_logprobs[row, 2 : 2 + len(lp)] = lp
    assert adapted_coef(policy(), batch, config=config, kl_coef=1.0) == 0.5  # it has not moved
    assert adapted_coef(policy(3), batch, config=config, kl_coef=1.0) == 2.0


def cut(group: ScoredGroup, *indices: int) -> ScoredGroup:
    """The same group with some outputs stopped by the length limit."""
    rollouts = tuple(
        replace(r, finish_reason="length") if i in indices else r for i, r in enumerate(group.rollouts)
    )
    return replace(group, rollouts=rollouts)


def test_masked_outputs_have_no_loss_but_count() -> None:
    # Row 1 leaves the loss; MIXED's advantages and the 3 rows of the denominator stay.
    config = configure(NO_KL, *ONE_STEP, "objective.truncated=mask")
    found, _ = stepped(config, [cut(MIXED, 1)])
    model = policy()
    loss = torch.zeros(())
    for i, advantage in ((0, 2 / 3**0.5), (2, -1 / 3**0.5)):
        loss = loss - advantage * logprobs_of(model, (7, 3), MIXED.rollouts[i].completion_ids).mean() / 3
    close(found, gradient(loss, model))


def test_dropped_outputs_leave_their_group() -> None:
    objective = configure("objective.truncated=drop").objective
    kept = select([cut(MIXED, 1), cut(EQUAL, 0, 1), cut(WRONG, 0, 1, 2)], objective)
    # MIXED keeps rows 0 and 2; EQUAL's last row has no group left to compare with.
    assert [g.rollouts for g in kept] == [(MIXED.rollouts[0], MIXED.rollouts[2])]
    alone = configure("objective=reinforce_pp", "objective.truncated=drop").objective
    assert [len(g.rollouts) for g in select([cut(MIXED, 1), cut(EQUAL, 0, 1)], alone)] == [2, 1]


def test_outputs_that_were_cut_fail(tmp_path: Path) -> None:
    run = run_on_untrained_base(tmp_path, "objective.truncated=fail", "objective.fail_reward=-0.5")
    problem = run.problems[0]
    right = Rollout(problem.id, 0, (4, 1), f"\\boxed{{{problem.answer}}}", (-1.0, -1.0), "stop")
    rollouts = [right, replace(right, finish_reason="length"), right, right]
    (group,) = score(run, [problem], rollouts)
    assert group.rewards == (1.0, -0.5, 1.0, 1.0) and all(g.correct for g in group.grades)


def test_the_share_of_random_rewards_is_set(tmp_path: Path) -> None:
    lines = ("objective.reward.accuracy=0", "objective.reward.random=1")
    for p in (0.0, 1.0):
        run = run_on_untrained_base(tmp_path / str(p), *lines, f"objective.reward.random_p={p}")
        rollout = Rollout(run.problems[0].id, 0, (4,), "", (-1.0,), "stop")
        (group,) = score(run, run.problems[:1], [rollout] * 4)
        assert group.rewards == (p,) * 4


def test_the_overlong_buffer_is_set(tmp_path: Path) -> None:
    # Limit 24, buffer 12: 18 tokens are 6 into it, -1/2. By default the buffer is 24 // 5 = 4: 0.
    lines = ("objective.reward.accuracy=0", "objective.reward.soft_overlong=1")
    for more, expected in (((), 0.0), (("objective.reward.overlong_buffer=12",), -0.5)):
        run = run_on_untrained_base(tmp_path / str(len(more)), *lines, *more)
        rollout = Rollout(run.problems[0].id, 0, (4,) * 18, "", (-1.0,) * 18, "stop")
        (group,) = score(run, run.problems[:1], [rollout] * 4)
        assert group.rewards == (expected,) * 4


DYNAMIC = ("objective.selection.fn=dynamic", "objective.selection.max_sampled=3", NO_KL)


def dynamic_run(folder: Path, monkeypatch: pytest.MonkeyPatch, *, mixed_every: int) -> tuple[Run, list[str]]:
    """A run of 4 problems a step in which every so many-th problem that is sampled gets mixed rewards."""
    run, seen = run_on_untrained_base(folder, *DYNAMIC), list[str]()

    def scored(of: Run, problems: Sequence[Problem], rollouts: Sequence[Rollout]) -> list[ScoredGroup]:
        groups = []
        for place, problem in enumerate(problems):
            seen.append(problem.id)
            rewards = (1.0, 0.0, 0.0, 0.0) if len(seen) % mixed_every == 0 else (1.0,) * 4
            group = tuple(rollouts[place * 4 : place * 4 + 4])
            grades = tuple(Grade(r > 0, "1", "") for r in rewards)
            groups.append(ScoredGroup(problem, of.prompts[problem.id], group, grades, rewards))
        return groups

    monkeypatch.setattr(trainer, "score", scored)
    return run, seen


def test_groups_without_a_difference_are_sampled_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Every second of the first 4 differs: 2 kept, 2 missing at a share of 1/2, so 4 more, of which 2 differ.
    run, seen = dynamic_run(tmp_path, monkeypatch, mixed_every=2)
    groups, metrics = sample_and_grade(run)
    assert len(seen) == len(set(seen)) == 8
    assert [g.problem.id for g in groups] == seen[1::2]
    assert metrics["sampled_groups"] == 8.0 and metrics["kept_groups"] == 4.0
    assert metrics["zero_variance_groups"] == 0.5
    assert run.counters.tokens["sampled"] == metrics["sampled_tokens"] > 0  # what was sampled in vain counts
    assert [p.id for p in trainer.problems_at(run, 0)] == seen[:4]


def test_refill_stops_at_its_limit_and_the_step_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, seen = dynamic_run(tmp_path, monkeypatch, mixed_every=12)  # one of the 3 × 4 that may be sampled
    groups, _ = sample_and_grade(run)
    assert len(seen) == 12 and [g.problem.id for g in groups] == [seen[11]]


def test_a_step_without_a_difference_makes_no_update(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = dynamic_run(tmp_path, monkeypatch, mixed_every=100)
    groups, _ = sample_and_grade(run)
    before = torch.nn.utils.parameters_to_vector(run.models.policy.parameters()).clone()
    metrics = update_policy(run, groups, total=4)
    assert groups == [] and metrics["updates"] == 0.0 and run.counters.num_updates == 2
    assert torch.equal(torch.nn.utils.parameters_to_vector(run.models.policy.parameters()), before)


def test_refill_asks_for_nothing_elsewhere(tmp_path: Path) -> None:
    assert refill(run_on_untrained_base(tmp_path), []) == []


def test_dynamic_by_accuracy_looks_at_answers() -> None:
    long_and_short = replace(EQUAL, rewards=(1.0, 0.4, 0.7))  # all right, punished for their length
    groups = [MIXED, long_and_short, WRONG]
    by_reward = configure(*DYNAMIC).objective
    by_accuracy = configure(*DYNAMIC, "objective.selection.by=accuracy").objective
    assert select(groups, by_reward) == [MIXED, long_and_short]
    assert select(groups, by_accuracy) == [MIXED]


def test_the_reference_is_refreshed_and_the_base_is_not(tmp_path: Path) -> None:
    run = run_on_untrained_base(tmp_path, "objective.kl.refresh_every=2")
    assert run.models.reference is not None
    base = torch.nn.utils.parameters_to_vector(run.retention.base.parameters()).clone()
    with torch.no_grad():
        run.models.policy.model.norm.weight.add_(1.0)
    for step, same in ((1, False), (2, True)):
        run.counters.step = step
        refresh_reference(run)
        assert (
            torch.equal(run.models.reference.model.norm.weight, run.models.policy.model.norm.weight) == same
        )
    assert torch.equal(torch.nn.utils.parameters_to_vector(run.retention.base.parameters()), base)
