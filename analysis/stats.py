"""Every estimator behind the tables, pure. The metrics are re-exported from `analysis.metrics`."""

from __future__ import annotations

from analysis.metrics import (
    Decomposition,
    Estimate,
    avg_at_k,
    best_constant_answer,
    decompose_gain,
    maj_at_k,
    pass_at_k,
)

__all__ = [
    "Decomposition",
    "Estimate",
    "avg_at_k",
    "best_constant_answer",
    "decompose_gain",
    "maj_at_k",
    "pass_at_k",
]
