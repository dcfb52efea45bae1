"""W&B beside the files: group = study, tags = factors, resolved config, a step axis. It never stops a run."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.config import RunConfig


class Tracker:
    """Mirrors metrics to W&B. Every failure costs one warning; outputs/ has the data in any case."""

    def __init__(
        self, config: RunConfig, *, run_id: str, folder: Path, tags: Sequence[str], resumed: bool
    ) -> None:
        self.run: Any = None
        self.failures = 0
        if config.tracking.mode == "disabled":
            return
        self._try(lambda: self._start(config, run_id, folder, tags, resumed))

    def _start(
        self, config: RunConfig, run_id: str, folder: Path, tags: Sequence[str], resumed: bool
    ) -> None:
        os.environ.setdefault("WANDB_SILENT", "true")
        import wandb

        mode = config.tracking.mode
        if mode == "online" and not (os.environ.get("WANDB_API_KEY") or wandb.login(prompt=False)):
            self._warn(
                "tracking.mode=online, but no W&B key is set; recording offline (`wandb login`, `wandb sync`)"
            )
            mode = "offline"
        self.run = wandb.init(
            project=config.tracking.project,
            entity=config.tracking.entity,
            id=run_id,
            name=run_id,
            group=config.study,
            tags=list(tags),
            config=config.model_dump(mode="json"),
            dir=folder,
            mode=mode,
            resume="allow" if mode == "online" and resumed else None,
            settings=wandb.Settings(console="off", disable_git=True, init_timeout=30),
        )
        self.run.define_metric("step")
        self.run.define_metric("*", step_metric="step")

    @property
    def id(self) -> str | None:
        return self.run.id if self.run is not None else None

    def log(self, metrics: dict[str, Any]) -> None:
        if self.run is not None:
            self._try(lambda: self.run.log(metrics))

    def summary(self, values: dict[str, Any]) -> None:
        if self.run is not None:
            self._try(lambda: self.run.summary.update(values))

    def finish(self, *, failed: bool) -> None:
        if self.run is not None:
            self._try(lambda: self.run.finish(exit_code=int(failed)))

    def _try(self, action: Any) -> None:
        try:
            action()
        except Exception as error:
            self.failures += 1
            if self.failures == 1:
                self._warn(f"W&B: {type(error).__name__}: {error}; outputs/ has everything")

    def _warn(self, text: str) -> None:
        print(f"warning: {text}", file=sys.stderr, flush=True)
