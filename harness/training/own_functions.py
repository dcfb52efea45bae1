"""Call the user's own reward, advantage and loss, check what each gives, and try them before a launch.

`probe` runs each on a few outputs of the run's own problems, or on a small batch, so that what is wrong is
one line before anything starts. What a batch of training gives is checked again, by shape and for NaN.
"""

from __future__ import annotations

import inspect
import math
import numbers
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from harness.schema.objective_config import ObjectiveConfig
from harness.schema.own_function import OwnFunction, load_function, said
from harness.types import Grade, Problem, Rollout

if TYPE_CHECKING:
    from harness.objectives.losses import Loss

Reward = Callable[[Rollout, Grade, Problem], float]
REWARD, ADVANTAGE, LOSS = (f"objective.{slot}.custom" for slot in ("reward", "advantage", "loss"))


class OwnFunctionError(ValueError):
    """What a function of the user's own did wrong: one line with its setting and path."""


def own_reward(own: OwnFunction) -> Reward:
    """The reward `(rollout, grade, problem) -> float`, checked. Raises OwnFunctionError."""
    call = _caller(own, REWARD)

    def reward(rollout: Rollout, grade: Grade, problem: Problem) -> float:
        value = call(rollout=rollout, grade=grade, problem=problem)
        if not isinstance(value, numbers.Real) or not math.isfinite(value):
            shown = value if isinstance(value, numbers.Real) else f"a {type(value).__name__}"
            raise _fault(own, REWARD, f"it gave {shown} for problem {problem.id}; return a finite number")
        return float(value)

    return reward


def own_advantage(own: OwnFunction) -> Callable[..., Tensor]:
    """The advantage: `rewards` [B] and `group_ids` [B] to [B], checked. Raises OwnFunctionError."""
    call = _caller(own, ADVANTAGE)

    def advantage(*, rewards: Tensor, group_ids: Tensor) -> Tensor:
        found = call(rewards=rewards.clone(), group_ids=group_ids.clone())
        _check_tensor(own, ADVANTAGE, found, rewards.shape)
        if not bool(found.isfinite().all()):
            raise _fault(own, ADVANTAGE, "it gave NaN or infinity; a group of equal rewards has no spread")
        return found.to(rewards.dtype)

    return advantage


def own_loss(own: OwnFunction) -> Callable[..., Loss]:
    """The loss: `logprobs`, `ratio`, `advantages` and the bool `completion_mask`, all [B, T], to [B, T].

    It gives the loss alone, or with a dictionary of metrics [B, T]. Raises OwnFunctionError.
    """
    call = _caller(own, LOSS)

    def loss(*, logprobs: Tensor, ratio: Tensor, advantages: Tensor, completion_mask: Tensor) -> Loss:
        found = call(logprobs=logprobs, ratio=ratio, advantages=advantages, completion_mask=completion_mask)
        total, metrics = found if isinstance(found, tuple) and len(found) == 2 else (found, {})
        if not isinstance(metrics, dict):
            raise _fault(own, LOSS, f"its metrics are a {type(metrics).__name__}; return a dictionary")
        for one in (total, *metrics.values()):
            _check_tensor(own, LOSS, one, logprobs.shape)
        return total, {"ratio": ratio.detach(), **{str(name): x.detach() for name, x in metrics.items()}}

    return loss


def _caller(own: OwnFunction, field: str) -> Callable[..., Any]:
    """The function with its parameters; what it raises becomes one line."""
    try:
        function = load_function(own)
    except ValueError as error:
        raise _fault(own, field, str(error)) from None

    def call(**given: Any) -> Any:
        try:
            return function(**given, **own.params)
        except (Exception, SystemExit) as error:
            what = _asks(function, given, own) or said(error) + _fields(error)
            raise _fault(own, field, what) from error

    return call


def _fields(error: BaseException) -> str:
    """The fields of a rollout, grade or problem that was asked for one that it has not."""
    if isinstance(error, AttributeError) and isinstance(error.obj, (Rollout, Grade, Problem)):
        names = ", ".join(field.name for field in fields(error.obj))
        return f"; a {type(error.obj).__name__.lower()} has {names}"
    return ""


def _asks(function: Callable[..., Any], given: dict[str, Any], own: OwnFunction) -> str:
    """What is wrong with the function's parameters; "" where nothing is."""
    try:
        inspect.signature(function).bind(**given, **own.params)
    except TypeError as error:
        return f"{error}; it is called with the keywords {', '.join([*given, *own.params])}"
    except ValueError:  # a builtin without a signature
        return ""
    return ""


def _fault(own: OwnFunction, field: str, what: str) -> OwnFunctionError:
    return OwnFunctionError(f"{field}.path={own.path}: {what}")


def _check_tensor(own: OwnFunction, field: str, found: Any, shape: torch.Size) -> None:
    if not isinstance(found, Tensor) or found.shape != shape or not found.is_floating_point():
        got = (
            f"{list(found.shape)} of {found.dtype}"
            if isinstance(found, Tensor)
            else f"a {type(found).__name__}"
        )
        raise _fault(own, field, f"it gave {got}; return floats of the shape {list(shape)}")


def probe(objective: ObjectiveConfig, problems: Sequence[Problem]) -> None:
    """Try the objective's own functions. Raises OwnFunctionError for the first that cannot be used."""
    if (own := objective.reward.custom) is not None:
        _probe_reward(own, problems, positive=objective.advantage.fn == "max_rl")
    if (slot := objective.advantage.custom) is not None:
        _probe_advantage(slot)
    if (slot := objective.loss.custom) is not None:
        _probe_loss(slot)


def _probe_reward(own: OwnFunction, problems: Sequence[Problem], *, positive: bool) -> None:
    """Reward a right, a wrong, an empty and a cut output of each problem, twice."""
    reward = own_reward(own)
    for problem in problems:
        for text, extracted in (
            (problem.answer, problem.answer),
            ("", None),
            ("12345", "12345"),
            ("So", None),
        ):
            rollout = Rollout(
                problem_id=problem.id,
                sample_idx=0,
                completion_ids=tuple(range(5, 6 + len(text.split()))),
                text=text and f"So the answer is \\boxed{{{text}}}.",
                sampler_logprobs=None,
                finish_reason="length" if text == "So" else "stop",
            )
            graded = Grade(correct=extracted == problem.answer, extracted=extracted, reason="a probe")
            first, second = (reward(rollout, graded, problem) for _ in range(2))
            if first != second:
                said_twice = f"one output got {first:g} and then {second:g}"
                raise _fault(
                    own, REWARD, f"{said_twice}; a run could not be repeated: seed its random numbers"
                )
            if positive and first < 0:
                raise _fault(own, REWARD, f"it gave {first:g}, and advantage.fn=max_rl needs rewards >= 0")


def _probe_advantage(own: OwnFunction) -> None:
    """Two groups of four with different rewards and one of equal ones: each must be what it is alone."""
    advantage = own_advantage(own)
    rewards = torch.tensor([1.0, 0.0, 0.0, 1.0, 0.5, 0.25, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0])
    found = advantage(rewards=rewards, group_ids=torch.arange(12) // 4)
    if not torch.equal(found, advantage(rewards=rewards, group_ids=torch.arange(12) // 4)):
        raise _fault(own, ADVANTAGE, "two calls gave other numbers; a run could not be repeated")
    if found.requires_grad:
        raise _fault(own, ADVANTAGE, "it has a gradient; advantages are constants")


def _probe_loss(own: OwnFunction) -> None:
    """Two rows of a batch, together and one at a time: a microbatch must not change the loss."""
    loss = own_loss(own)
    mask = torch.tensor([[False, True, True, True], [False, True, True, False]])  # [B, T]
    generator = torch.Generator().manual_seed(0)
    leaf = torch.where(mask, -torch.rand(mask.shape, generator=generator) - 0.1, 0.0).requires_grad_()
    old = torch.where(mask, leaf.detach() + 0.2 * torch.randn(mask.shape, generator=generator), 0.0)
    ratio, advantages = (leaf - old).exp(), torch.tensor([[1.0], [-0.5]]) * mask

    def part(rows: slice, width: int) -> Tensor:
        given = (x[rows, :width] for x in (leaf, ratio, advantages, mask))
        names = ("logprobs", "ratio", "advantages", "completion_mask")
        return loss(**dict(zip(names, given, strict=True)))[0]

    whole = torch.where(mask, part(slice(0, 2), 4), 0.0)  # [B, T]
    if not bool(whole.isfinite().all()):
        raise _fault(own, LOSS, "it gave NaN or infinity on a small batch")
    if not whole.requires_grad:
        raise _fault(own, LOSS, "it has no gradient; compute it from logprobs or ratio, not detached")
    alone = torch.stack([part(slice(0, 1), 4)[0], torch.nn.functional.pad(part(slice(1, 2), 3)[0], (0, 1))])
    if not torch.allclose(whole, torch.where(mask, alone, 0.0), rtol=1e-4, atol=1e-6):
        raise _fault(
            own,
            LOSS,
            "a row's loss changes with the other rows or with padding; use each row's own tokens alone, "
            "since a batch is computed in parts (objective.reduce divides)",
        )
    (gradient,) = torch.autograd.grad(whole.sum(), leaf)
    if not bool(gradient.isfinite().all()):
        raise _fault(own, LOSS, "its gradient is NaN or infinite on a small batch")
