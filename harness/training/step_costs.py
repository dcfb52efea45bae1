"""What one training step cost, for its metrics."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.training.run_state import Run
from harness.training.accounting import mfu


class Lap:
    """The costs of one step: what the run's counters gained since `begin`."""

    def __init__(self, run: Run) -> None:
        self.run, self.started = run, time.perf_counter()
        self.tokens, self.flops = dict(run.tokens), dict(run.flops)
        run.lap_seconds, run.lap_peaks = {}, {}

    def metrics(self) -> dict[str, float]:
        run, seconds = self.run, self.run.lap_seconds
        flops = {name: x - self.flops.get(name, 0.0) for name, x in run.flops.items()}
        found = {f"seconds_{name}": x for name, x in seconds.items()}
        found |= {f"peak_memory_{name}": float(x) for name, x in run.lap_peaks.items()}
        found["flops"] = sum(flops.values())
        for use, phase in (("sampled", "sample"), ("trained", "train")):
            gained = run.tokens.get(use, 0) - self.tokens.get(use, 0)
            if gained and seconds.get(phase):
                found[f"{use}_per_second"] = gained / seconds[phase]
        if run.device.type == "cuda":
            found["gpu_seconds"] = (time.perf_counter() - self.started) * run.world_size
            if seconds.get("train"):
                found |= mfu(flops.get("trained", 0.0), seconds["train"], run.device, run.world_size)
        return found


def rates(run: Run) -> dict[str, float]:
    """Of the whole run: tokens sampled and trained a second of their phases, and MFU on a GPU."""
    found = {}
    for use, phase in (("sampled", "sample"), ("trained", "train")):
        if run.tokens.get(use) and run.seconds.get(phase):
            found[f"{use}_per_second"] = run.tokens[use] / run.seconds[phase]
    if run.device.type == "cuda" and run.seconds.get("train"):
        found |= mfu(run.flops.get("trained", 0.0), run.seconds["train"], run.device, run.world_size)
    return found
