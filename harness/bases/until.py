"""Pretrain until a stated greedy accuracy on validation, and measure it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from harness.data.load import load_split
from harness.grading.grade import grade
from harness.model.files.tokenizer import EOS_ID, build_ladder_tokenizer
from harness.model.policy import Policy
from harness.rollout.native import NativeEngine
from harness.schema.model_config import PretrainConfig
from harness.schema.prompts import make_prompt, own_answer
from harness.schema.run_config import RunConfig
from harness.training.corpus import Document
from harness.types import SamplingParams

BATCH = 256  # problems that decode together; part of the rounding, and so fixed


@dataclass(frozen=True, slots=True)
class Reached:
    """Place where pretraining stopped: steps of the base, last loss in nats, greedy accuracy in [0, 1]."""

    steps: int
    loss: float
    accuracy: float


class NotReached(ValueError):
    """No base of the stated accuracy: too few steps, or one step passes it by."""


@dataclass
class Stopper:
    """Take steps until the accuracy lies within the margin; `take(step, batch)` gives a step's loss.

    `measure()` is the greedy accuracy now; `save(step)` may keep the state after a check that lay below.
    """

    settings: PretrainConfig
    policy: Policy
    optimizer: torch.optim.Optimizer
    take: Callable[[int, list[Document]], float]
    measure: Callable[[], float]
    save: Callable[[int], None]
    _before: tuple[Any, Any] = field(init=False)

    def run(self, batches: Iterator[list[Document]], start: int) -> Reached:
        """Go on from `start` steps. Raises NotReached."""
        rule, steps = self._rule, self.settings.steps
        self._keep()
        since: list[list[Document]] = []
        accuracy = float("nan")
        for step in range(start, steps):
            since.append(next(batches))
            loss = self.take(step, since[-1])
            if (step + 1) % rule.every and step + 1 < steps:
                continue
            accuracy = self.measure()
            if self._above(accuracy):
                return self._again(since, step + 1 - len(since))
            if self._near(accuracy):
                return Reached(step + 1, loss, accuracy)
            self._keep()
            since = []
            self.save(step + 1)
        raise NotReached(
            f"greedy accuracy on validation is {accuracy:.3f} after model.pretrain.steps={steps}, below "
            f"model.pretrain.until.accuracy={rule.accuracy:g}; raise the steps, or lower the accuracy"
        )

    def _again(self, batches: Sequence[list[Document]], start: int) -> Reached:
        """Take the steps after `start` again, with a check after each."""
        self._restore()
        rule, accuracy = self._rule, float("nan")
        for step, batch in enumerate(batches, start):
            loss, before = self.take(step, batch), accuracy
            accuracy = self.measure()
            if self._near(accuracy):
                return Reached(step + 1, loss, accuracy)
            if self._above(accuracy):
                break
        raise NotReached(
            f"from step {step} to {step + 1} greedy accuracy on validation goes from {before:.3f} to "
            f"{accuracy:.3f}, past model.pretrain.until.accuracy={rule.accuracy:g}; lower model.pretrain.lr, "
            f"or raise until.within={rule.within:g}"
        )

    @property
    def _rule(self) -> Any:
        assert self.settings.until is not None
        return self.settings.until

    def _near(self, accuracy: float) -> bool:
        return bool(abs(accuracy - self._rule.accuracy) <= self._rule.within + 1e-9)

    def _above(self, accuracy: float) -> bool:
        return bool(accuracy > self._rule.accuracy + self._rule.within + 1e-9)

    def _keep(self) -> None:
        self._before = copy.deepcopy((self.policy.state_dict(), self.optimizer.state_dict()))

    def _restore(self) -> None:
        weights, state = self._before
        self.policy.load_state_dict(weights)
        self.optimizer.load_state_dict(state)


def greedy_accuracy(config: RunConfig, policy: Policy) -> float:
    """Share of the validation problems that greedy decoding answers rightly, in [0, 1].

    At most `eval.max_new_tokens` tokens each. Raises ValueError for data without validation problems.
    """
    data, tokenizer = config.measured_data, build_ladder_tokenizer()
    problems = load_split(data, "validation")
    if not problems:
        raise ValueError(
            f"model.pretrain.until with data={data.name}: it has no validation problems to stop by; set "
            "data.num_validation, or until=null"
        )
    engine = NativeEngine(
        policy,
        eos_token_ids=(EOS_ID,),
        decode=lambda ids: str(tokenizer.decode(list(ids), skip_special_tokens=True)),
        max_batch_size=BATCH,
    )
    rollouts = engine.generate(
        [make_prompt(p, data.template, lambda text, _: tokenizer.encode(text).ids) for p in problems],
        params=SamplingParams(temperature=0.0, max_new_tokens=config.eval.max_new_tokens),
        seeds=[0] * len(problems),
    )
    rules = tuple(data.answer_rules)
    right = [
        grade(
            own_answer(rollout.text, data.template),
            problem.answer,
            rules=rules,
            use_symbolic=data.symbolic,
            exact=problem.exact,
        ).correct
        for problem, rollout in zip(problems, rollouts, strict=True)
    ]
    return sum(right) / len(right)
