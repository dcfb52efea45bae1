"""The schema of what goes to Weights & Biases. Imports no torch."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from harness.schema.section import NonNegative, PositiveFloat, Section, Used


class TrackingConfig(Section):
    """Weights & Biases and TensorBoard, beside the files of output_dir, which are always written."""

    mode: Literal["online", "offline", "disabled"]
    """Send metrics while running, record them for a later `wandb sync`, or neither."""
    project: str
    """Project of W&B."""
    entity: str | None = None
    """User or team of W&B; null: the account's default."""
    dir: str | None = None
    """Folder of W&B's own files; null: the run's folder."""
    completions: NonNegative = 50
    """Completions of the last checkpoint in a table at W&B, of as many problems; 0: none is sent."""
    also: list[Literal["tensorboard"]] = Field(default=[])
    """Trackers beside W&B, in every mode. tensorboard: event files in the run's folder, by the extra
    [tensorboard]."""
    timeout: PositiveFloat = 30.0
    """Seconds that W&B may take to begin a run, and to finish it. An outage costs a run at most three times
    this: the run is recorded as finished first, and `wandb sync` sends later what was not sent."""

    used: ClassVar[tuple[Used[TrackingConfig], ...]] = (
        Used(
            ("project", "entity", "dir", "completions", "timeout"),
            lambda c, run: c.mode != "disabled",
            "nothing is sent to W&B (tracking.mode=disabled)",
            warn=True,
        ),
    )
