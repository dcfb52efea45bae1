"""What a run counts and adapts while it trains; a resumed run goes on from the saved values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass
class Counters:
    """The part of a run's state that is no tensor. A checkpoint's trainer.json has these names as its keys.

    Dictionaries are totals of the run: `seconds` and `peak_memory` (bytes) by phase, `tokens` and `flops` by
    use (sampled, trained, scored, ...).
    """

    kl_coef: float  # of the penalty, as it has adapted so far
    microbatch_tokens: int  # the config's, or what is left of it after running out of memory
    step: int = 0  # rollout batches trained on
    num_updates: int = 0  # optimiser steps, skipped ones included
    skipped_in_a_row: int = 0  # rollout batches since the last one whose gradients were all finite
    seconds: dict[str, float] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    flops: dict[str, float] = field(default_factory=dict)
    peak_memory: dict[str, int] = field(default_factory=dict)

    def state_dict(self) -> dict[str, Any]:
        return asdict(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the saved values; a counter that an older checkpoint lacks stays as it is."""
        for name in state.keys() & {f.name for f in fields(self)}:
            setattr(self, name, state[name])

    def costs(self) -> dict[str, Any]:
        """What was spent so far, to be written beside a result that is made once."""
        return {name: getattr(self, name) for name in ("seconds", "tokens", "flops")}

    def add(self, use: str, num_tokens: int, flops: float) -> None:
        """Count tokens and model FLOPs of one use."""
        self.tokens[use] = self.tokens.get(use, 0) + num_tokens
        self.flops[use] = self.flops.get(use, 0.0) + flops

    def add_phase(self, phase: str, seconds: float, peak: int) -> None:
        """Count seconds and peak memory, bytes, of one phase."""
        self.seconds[phase] = self.seconds.get(phase, 0.0) + seconds
        self.peak_memory[phase] = max(self.peak_memory.get(phase, 0), peak)
