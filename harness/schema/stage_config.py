"""The schema of a run's place in a pipeline. Imports no torch."""

from __future__ import annotations

from typing import ClassVar

from harness.schema.data_config import DataConfig
from harness.schema.section import Check, Name, Positive, Section


class StageConfig(Section):
    """A run's place in a pipeline. Composing `pipeline=NAME` writes it (harness/launch/pipeline.py).

    `start` alone, and `teacher`, are part of a run's name: the hash of all that they come from.
    """

    pipeline: Name
    """Pipeline of conf/pipeline."""
    name: Name
    """What the pipeline calls this stage."""
    index: Positive
    """Place of the stage in the chain that it ends, from 1; a teacher's stages are another chain. Each place
    has random numbers of its own: data order, sampling, added weights."""
    start: Name | None = None
    """run_id of the stage from whose last checkpoint this one begins; null: it begins from its base."""
    teacher: Name | None = None
    """run_id of the stage whose last checkpoint is the teacher: that of `objective.teacher.stage`."""
    data: DataConfig | None = None
    """The pipeline's problems, where the stage trains on others: what is measured, and what a from-scratch
    base is pretrained on; null: those of `data`."""

    checks: ClassVar[tuple[Check[StageConfig], ...]] = (
        Check(
            lambda c: (c.index > 1) != (c.start is not None),
            "index={c.index} with start={c.start}: the first stage begins from the base, others from a run",
        ),
    )
