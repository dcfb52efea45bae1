"""What a launch needs beside this package, checked before anything starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.launch.expand import Sweep


def check_trackers(sweep: Sweep) -> None:
    """Raises ValueError for a tracker that is asked for and not installed."""
    from harness.launch.tensorboard import check_installed

    if any(job.config.tracking.also for job in sweep.jobs):
        check_installed()


def check_engine(sweep: Sweep) -> None:
    """Raises ValueError where verl trains and is not installed, or in another version."""
    configs = [job.config for job in sweep.runs if job.config.trainer.engine == "verl"]
    for config in {config.trainer.verl.python: config for config in configs}.values():
        from harness.training.verl.engine import check_installed

        check_installed(config)
