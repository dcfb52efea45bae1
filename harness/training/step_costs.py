"""What one training step cost, for its metrics, and the rates of a whole run."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import torch

from harness.training.accounting import mfu
from harness.training.counters import Counters
from harness.training.distributed import world_size

_RATES = (("sampled", "sample"), ("trained", "train"))  # tokens of a use, per second of a phase


@dataclass
class StepCosts:
    """The costs of one step: seconds and peak memory (bytes) by phase, and what the counters gained.

    `tokens` and `flops` are the run's totals when the step began.
    """

    tokens: dict[str, int] = field(default_factory=dict)
    flops: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    peak_memory: dict[str, int] = field(default_factory=dict)
    began: float = field(default_factory=time.perf_counter)

    @classmethod
    def begin(cls, counters: Counters) -> StepCosts:
        return cls(tokens=dict(counters.tokens), flops=dict(counters.flops))

    def add_phase(self, phase: str, seconds: float, peak: int) -> None:
        self.seconds[phase] = self.seconds.get(phase, 0.0) + seconds
        self.peak_memory[phase] = max(self.peak_memory.get(phase, 0), peak)

    def metrics(self, counters: Counters, device: torch.device) -> dict[str, float]:
        """The step's metrics, from the run's counters at its end."""
        flops = {use: x - self.flops.get(use, 0.0) for use, x in counters.flops.items()}
        metrics = {f"seconds_{phase}": x for phase, x in self.seconds.items()}
        metrics |= {f"peak_memory_{phase}": float(x) for phase, x in self.peak_memory.items()}
        metrics["flops"] = sum(flops.values())
        for use, phase in _RATES:
            gained = counters.tokens.get(use, 0) - self.tokens.get(use, 0)
            if gained and self.seconds.get(phase):
                metrics[f"{use}_per_second"] = gained / self.seconds[phase]
        if device.type == "cuda":
            metrics["gpu_seconds"] = (time.perf_counter() - self.began) * world_size()
            if self.seconds.get("train"):
                metrics |= mfu(flops.get("trained", 0.0), self.seconds["train"], device, world_size())
        return metrics


def rates(counters: Counters, device: torch.device) -> dict[str, float]:
    """Tokens sampled and trained per second of their phases over the whole run, and MFU on a GPU."""
    found = {}
    for use, phase in _RATES:
        if counters.tokens.get(use) and counters.seconds.get(phase):
            found[f"{use}_per_second"] = counters.tokens[use] / counters.seconds[phase]
    if device.type == "cuda" and counters.seconds.get("train"):
        trained = counters.flops.get("trained", 0.0)
        found |= mfu(trained, counters.seconds["train"], device, world_size())
    return found
