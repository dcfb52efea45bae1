"""One run while it trains: its models, data and engine, its counters, and the step at hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from harness.model.dims import ModelDims, forward_flops
from harness.model.files.codec import Codec
from harness.model.needs import ALONE, Placement
from harness.model.policy import Policy
from harness.schema.run_config import RunConfig
from harness.training.accounting import Meter
from harness.training.ahead import GradingAhead
from harness.training.batching import sampled_work
from harness.training.counters import Counters
from harness.training.memory import explained
from harness.training.models import Models
from harness.training.retention import Retention
from harness.training.step_costs import StepCosts
from harness.training.waiting import Sampled
from harness.types import Problem, Prompt, Rollout, RolloutEngine, StepReward


class Check(NamedTuple):
    """Tokens that an engine sampled [N]: ids, its logprobs, the trainer's, and the length of their context.

    `depth` is 0 for the prompts themselves, whatever their length.
    """

    tokens: Tensor
    engine: Tensor
    trainer: Tensor
    depth: Tensor


class OutputScorer(Protocol):
    """A learned outcome reward, as training uses it. `metrics` says how good the model was when fitted."""

    metrics: dict[str, float]

    def score(self, prompts: Sequence[Prompt], rollouts: Sequence[Rollout]) -> list[float]:
        """P(right) of each output, in (0, 1)."""
        ...


class StepScorer(Protocol):
    """A learned process reward, as training uses it."""

    metrics: dict[str, float]

    def steps(self, prompts: Sequence[Prompt], rollouts: Sequence[Rollout]) -> list[tuple[StepReward, ...]]:
        """(index among the completion's tokens, P(right)) of each step of each output."""
        ...

    def score(self, prompts: Sequence[Prompt], rollouts: Sequence[Rollout]) -> list[float]:
        """The least P(right) over an output's steps, in (0, 1)."""
        ...


@dataclass
class LearnedRewards:
    """The learned rewards that the objective asks for: of whole outputs, and of their steps."""

    output: OutputScorer | None = None
    steps: StepScorer | None = None

    @property
    def scorers(self) -> list[OutputScorer | StepScorer]:
        """The models that there are."""
        return [model for model in (self.output, self.steps) if model is not None]


@dataclass
class CurrentStep:
    """What concerns the step at hand alone; a resumed run begins it anew.

    `progress` says what the step is doing. `ahead` grades outputs while others are still being sampled.
    `searched` adds up what its searches did (`searching`).
    `last_check` is what the last check of the engine's weights found (`sync`).
    """

    costs: StepCosts = field(default_factory=StepCosts)
    progress: Callable[[str], None] = lambda note: None
    ahead: GradingAhead | None = None
    searched: dict[str, float] = field(default_factory=dict)
    last_check: Check | None = None


@dataclass
class Run:
    """What a run is: config, folders, models, data and seeds, with the counters of its training.

    `sampler` is what the engine samples from, whole and as of the last `sync`: the policy itself, unless that
    is sharded over several processes. `prompts` are by problem id, `seeds` by stream. `start` is the folder
    of the weights that training begins from: the base's, or the last checkpoint of the stage before.
    `waiting` are the batches that later steps train on (`rollout.lag`). `placement` is how weights lie in the
    run's processes.
    """

    config: RunConfig
    folder: Path
    start: Path
    models: Models
    sampler: Policy
    optimizer: torch.optim.Optimizer
    engine: RolloutEngine
    codec: Codec
    problems: list[Problem]
    prompts: dict[str, Prompt]
    seeds: dict[str, int]
    retention: Retention
    counters: Counters
    learned_rewards: LearnedRewards = field(default_factory=LearnedRewards)
    current: CurrentStep = field(default_factory=CurrentStep)
    waiting: list[Sampled] = field(default_factory=list)
    placement: Placement = ALONE

    def __post_init__(self) -> None:
        self.meter = Meter(self.device, self._add_phase)

    @property
    def device(self) -> torch.device:
        """The policy's device."""
        return self.models.policy.head_weight.device

    @property
    def trained_modules(self) -> dict[str, nn.Module]:
        """Modules that the optimiser updates beside the policy: the value model."""
        value = self.models.value
        return {} if value is None else {"value": value}

    @property
    def other_modules(self) -> dict[str, nn.Module]:
        """Modules that change and that the optimiser does not update: a reference that is refreshed."""
        reference = self.models.reference
        if reference is None or self.config.objective.kl.refresh_every is None:
            return {}
        return {"reference": reference}

    def encode(self, text: str) -> list[int]:
        """A completion's tokens; a prompt's are the codec's under the template."""
        return self.codec.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        return self.codec.decode(ids)

    def begin_step(self) -> None:
        """Start counting the costs of a step."""
        self.current.costs = StepCosts.begin(self.counters)

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Count seconds and peak memory of a phase; one inside another is taken out of it."""
        policy = self.models.policy
        dtype = policy.head_weight.dtype
        with explained(phase, self.config, policy.dims, dtype), self.meter.phase(phase):
            yield

    def _add_phase(self, phase: str, seconds: float, peak: int) -> None:
        self.counters.add_phase(phase, seconds, peak)
        self.current.costs.add_phase(phase, seconds, peak)

    def count(
        self,
        use: str,
        prompts: Sequence[Prompt],
        rollouts: Sequence[Rollout],
        *,
        passes_with_head: float = 1.0,
        passes_without_head: float = 0.0,
        dims: ModelDims | None = None,
    ) -> None:
        """Count completion tokens, and the model FLOPs of forward passes over prompts and completions.

        A prompt that several outputs share is computed once. `passes_without_head` skip the output head.
        `dims` are those of another model than the policy.
        """
        work, model = sampled_work(prompts, rollouts), dims or self.models.policy.dims
        flops = passes_with_head * forward_flops(model, **work)
        flops += passes_without_head * forward_flops(model, **{**work, "predicted": 0.0})
        self.counters.add(use, int(work["predicted"]), flops)
