"""TensorBoard beside the files: metrics by step in the run's folder, under the names that W&B has.

A run that resumes goes on in the folder; what an earlier attempt wrote of later steps is hidden.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness.records.records import RunRecord
from harness.records.sections import STEP

FOLDER = "tensorboard"
MISSING = "tracking.also=[tensorboard]: TensorBoard is not installed; pip install '.[tensorboard]'"


def check_installed() -> None:
    """Raises ValueError where TensorBoard is not installed, before a run is started for it."""
    if find_spec("tensorboard") is None:
        raise ValueError(MISSING)


class Board:
    """Event files of one run."""

    def __init__(self, record: RunRecord, folder: Path, settings: str) -> None:
        from torch.utils.tensorboard import SummaryWriter

        resumed = record.steps_done + 1 if record.num_resumes else None
        self._writer: Any = SummaryWriter(str(folder / FOLDER), purge_step=resumed)
        self._writer.add_text("config", f"```yaml\n{settings}\n```")

    def log(self, metrics: Mapping[str, Any]) -> None:
        """Add a row: numbers by name, and the step that they are of."""
        step = int(metrics[STEP])
        for name, value in metrics.items():
            if name != STEP and isinstance(value, int | float):
                self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
