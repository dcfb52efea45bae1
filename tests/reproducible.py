"""The part of a step's metrics that a repeated run must give again."""

from __future__ import annotations

from typing import Any

# Names, or their beginnings, of metrics that a clock or a memory counter gives.
MEASURED = ("seconds_", "peak_memory_", "sampled_per_second", "trained_per_second", "mfu", "gpu_seconds")


def reproducible(metrics: dict[str, Any]) -> dict[str, Any]:
    """A step's metrics without those that a clock or a memory counter gives."""
    return {name: x for name, x in metrics.items() if not name.startswith(MEASURED)}
