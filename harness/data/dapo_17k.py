"""DAPO-Math-17k (arXiv:2503.14476) without its copies and its prompt: 17,398 integer answers. Hub only."""

from __future__ import annotations

from harness.data.sources import Source, columns, train_or_validation
from harness.types import Problem

SOURCE = Source(
    name="dapo_17k",
    file=None,
    hub_id="open-r1/DAPO-Math-17k-Processed",
    hub_split="train",
    hub_configs=("all",),
    row=columns(problem="prompt", answer="solution"),
)
SOURCES = {"train": SOURCE, "validation": SOURCE}


def load(split: str, *, seed: int = 0, bad_rows: list[str] | None = None) -> list[Problem]:
    """`train`, and a tenth of the problems as `validation` (a hash with the seed); no other split."""
    return train_or_validation(SOURCE.load(split, bad_rows), split, seed) if split in SOURCES else []
