"""What one run holds while it trains, how it is set up, saved and published."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from harness.model.dims import ModelDims, forward_flops
from harness.model.files.codec import Codec
from harness.model.policy import Policy
from harness.schema.run_config import RunConfig
from harness.training.accounting import Meter
from harness.training.ahead import GradingAhead
from harness.training.batching import sampled_work
from harness.training.critic import ValueModel
from harness.training.distributed import world_size
from harness.training.memory import explained
from harness.training.retention import Kept
from harness.types import Problem, Prompt, Rollout, RolloutEngine, StepReward

COUNTERS = (
    *("num_updates", "skipped_in_a_row", "seconds", "tokens", "flops", "peak_memory", "kl_coef"),
    "microbatch_tokens",
)


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


@dataclass
class Run:
    """Everything one run holds while it trains. Counters survive a resume through the checkpoint.

    `sampler` is what the engine samples from, whole and as of the last hand-over: the policy itself, unless
    that is sharded over several processes.
    """

    config: RunConfig
    folder: Path
    base: Path
    policy: Policy
    sampler: Policy
    reference: Policy | None
    optimizer: torch.optim.Optimizer
    engine: RolloutEngine
    codec: Codec
    problems: list[Problem]
    prompts: dict[str, Prompt]
    seeds: dict[str, int]
    kept: Kept
    value: ValueModel | None
    kl_coef: float
    reward_model: OutputScorer | None = None
    step_model: StepScorer | None = None
    step: int = 0
    num_updates: int = 0
    skipped_in_a_row: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    flops: dict[str, float] = field(default_factory=dict)
    peak_memory: dict[str, int] = field(default_factory=dict)  # bytes, by phase
    lap_seconds: dict[str, float] = field(default_factory=dict)  # of the current step
    lap_peaks: dict[str, int] = field(default_factory=dict)
    world_size: int = field(default_factory=world_size)
    ahead: GradingAhead | None = None
    progress: Callable[[str], None] = lambda note: None  # says what a step is doing
    microbatch_tokens: int = 0  # the config's, or what is left of it after running out of memory
    last_check: tuple[Tensor, Tensor, Tensor] | None = None  # of the engine's weights, by `sync`

    def __post_init__(self) -> None:
        self.microbatch_tokens = self.microbatch_tokens or self.config.trainer.microbatch_tokens
        self.meter = Meter(self.device, self._book)

    @property
    def device(self) -> torch.device:
        return self.policy.head_weight.device

    @property
    def trained(self) -> dict[str, nn.Module]:
        """What training changes beside the policy: the value model, a reference that is refreshed."""
        found: dict[str, nn.Module] = {} if self.value is None else {"value": self.value}
        if self.reference is not None and self.config.objective.kl.refresh_every is not None:
            found["reference"] = self.reference
        return found

    def encode(self, text: str) -> list[int]:
        """A completion's tokens; a prompt's are the codec's under the template."""
        return self.codec.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        return self.codec.decode(ids)

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Seconds and peak memory of a phase; one inside another is not counted in it."""
        dtype = self.policy.head_weight.dtype
        with explained(phase, self.config, self.policy.dims, dtype), self.meter.phase(phase):
            yield

    def _book(self, phase: str, seconds: float, peak: int) -> None:
        for totals in (self.seconds, self.lap_seconds):
            totals[phase] = totals.get(phase, 0.0) + seconds
        for peaks in (self.peak_memory, self.lap_peaks):
            peaks[phase] = max(peaks.get(phase, 0), peak)

    def count(
        self,
        use: str,
        prompts: Sequence[Prompt],
        rollouts: Sequence[Rollout],
        *,
        passes: float = 1.0,
        headless: float = 0.0,
        dims: ModelDims | None = None,
    ) -> None:
        """Completion tokens, and the model FLOPs of so many forward passes over prompts and completions.

        A prompt that several have is computed once. `headless` passes have no output head. `dims` are those
        of another model than the policy.
        """
        done, model = sampled_work(prompts, rollouts), dims or self.policy.dims
        cost = passes * forward_flops(model, **done)
        cost += headless * forward_flops(model, **{**done, "predicted": 0.0})
        self.add(use, int(done["predicted"]), cost)

    def add(self, use: str, num_tokens: int, flops: float) -> None:
        """Tokens and model FLOPs to what the run has used so far."""
        self.tokens[use] = self.tokens.get(use, 0) + num_tokens
        self.flops[use] = self.flops.get(use, 0.0) + flops
