"""DeepScaleR-Preview: about 40,300 competition problems for training, AIME to 2023 among them. Hub only."""

from __future__ import annotations

from harness.data.sources import Source, columns, train_or_validation
from harness.types import Problem

SOURCE = Source(
    name="deepscaler",
    file=None,
    hub_id="agentica-org/DeepScaleR-Preview-Dataset",
    hub_split="train",
    row=columns(problem="problem", answer="answer", solution="solution"),
)
SOURCES = {"train": SOURCE, "validation": SOURCE}


def load(split: str, *, seed: int = 0, bad_rows: list[str] | None = None) -> list[Problem]:
    """`train`, and a tenth of the problems as `validation` (a hash with the seed); no other split."""
    return train_or_validation(SOURCE.load(split, bad_rows), split, seed) if split in SOURCES else []
