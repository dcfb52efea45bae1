"""DeepScaleR-Preview: about 40,300 competition problems for training, AIME to 2023 among them. Hub only."""

from __future__ import annotations

from functools import partial

from harness.data.sources import Source, columns, training_only

SOURCE = Source(
    name="deepscaler",
    file=None,
    hub_id="agentica-org/DeepScaleR-Preview-Dataset",
    hub_split="train",
    row=columns(problem="problem", answer="answer", solution="solution"),
)
SOURCES = {"train": SOURCE, "validation": SOURCE}
load = partial(training_only, SOURCE)
