"""The worked example in the docstrings of `harness.types` is what the code gives."""

from __future__ import annotations

import ast
import inspect
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor, ones, tensor, zeros

from harness import types
from harness.grading.grade import grade
from harness.objectives.policy_loss import policy_loss
from harness.training.advantages import build_batch
from harness.types import Batch, Grade, LossOutput, Problem, Prompt, Rollout, SamplingParams, ScoredGroup
from tests.unit.harness.tiny import configure


def examples(kind: type, **names: Any) -> list[Any]:
    """The values of the expressions that stand under "Example" in a docstring."""
    text = inspect.cleandoc(kind.__doc__ or "").partition("Example")[2].partition(":\n")[2]
    known = {**vars(types), "tensor": tensor, "zeros": zeros, "ones": ones, **names}
    nodes = ast.parse(inspect.cleandoc("\n" + text)).body
    return [eval(compile(ast.Expression(n.value), "", "eval"), known) for n in nodes]


def example_group() -> ScoredGroup:
    (problem,), (prompt,) = examples(Problem), examples(Prompt)
    (right, wrong), (right_grade, wrong_grade) = examples(Rollout), examples(Grade)
    (group,) = examples(
        ScoredGroup,
        problem=problem,
        prompt=prompt,
        right=right,
        wrong=wrong,
        right_grade=right_grade,
        wrong_grade=wrong_grade,
    )
    assert isinstance(group, ScoredGroup)
    return group


def assert_same(found: Tensor | None, expected: Tensor | None, name: str) -> None:
    if found is None or expected is None:
        assert found is expected, name
    else:
        assert found.shape == expected.shape, name
        assert torch.equal(found.double(), expected.double()), name


def test_the_group_is_one_prompt_sampled_twice_and_graded() -> None:
    group = example_group()
    assert group.prompt.problem_id == group.problem.id and group.prompt.text == group.problem.text
    assert [r.problem_id for r in group.rollouts] == [group.problem.id] * 2
    assert [grade(r.text, group.problem.answer) for r in group.rollouts] == list(group.grades)
    assert [float(g.correct) for g in group.grades] == list(group.rewards)
    (params,) = examples(SamplingParams)
    for rollout in group.rollouts:
        assert len(rollout.sampler_logprobs or ()) == len(rollout.completion_ids) <= params.max_new_tokens
        assert rollout.finish_reason == "stop" and rollout.completion_ids[-1] == 1


def test_the_batch_is_the_groups() -> None:
    objective = configure("objective=dr_grpo").objective  # A = R - mean R
    found, (expected,) = build_batch([example_group()], objective), examples(Batch)
    for field in fields(Batch):
        assert_same(getattr(found, field.name), getattr(expected, field.name), field.name)


def test_the_loss_is_the_batchs() -> None:
    (batch,), (expected,) = examples(Batch), examples(LossOutput)
    batch = replace(batch, old_logprobs=batch.sampler_logprobs)
    found = policy_loss(
        loss="policy_gradient",
        loss_params={},
        ratio="token",
        logprobs=batch.old_logprobs,
        old_logprobs=batch.old_logprobs,
        advantages=batch.advantages,
        completion_mask=batch.completion_mask,
    )
    assert_same(found.loss, expected.loss, "loss")
    assert found.metrics.keys() == expected.metrics.keys()
    for name, values in expected.metrics.items():
        assert_same(found.metrics[name], values, name)


def test_every_dataclass_has_an_example() -> None:
    kinds = [x for x in vars(types).values() if isinstance(x, type) and hasattr(x, "__dataclass_fields__")]
    assert len(kinds) == 8
    assert all("Example" in (kind.__doc__ or "") for kind in kinds)
