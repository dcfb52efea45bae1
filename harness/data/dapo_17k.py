"""DAPO-Math-17k (arXiv:2503.14476) without its copies and its prompt: 17,398 integer answers. Hub only."""

from __future__ import annotations

from functools import partial

from harness.data.sources import Source, columns, training_only

SOURCE = Source(
    name="dapo_17k",
    file=None,
    hub_id="open-r1/DAPO-Math-17k-Processed",
    hub_split="train",
    hub_configs=("all",),
    row=columns(problem="prompt", answer="solution"),
)
SOURCES = {"train": SOURCE, "validation": SOURCE}
load = partial(training_only, SOURCE)
