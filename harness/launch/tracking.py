"""W&B beside the files: group = study, tags = factors, resolved config, a step axis, evaluations as a table
and an artifact. It never stops a run."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.records.records import eval_paths, read_eval
from harness.schema.run_config import RunConfig

TAG_LENGTH = 64  # W&B refuses longer ones
NO_FACTORS = ("study=", "output_dir=", "tracking", "hydra", "device=", "eval")


def factor_tags(config: RunConfig, overrides: Sequence[str]) -> list[str]:
    """What tells this run apart in its study: the overrides that made it, and its usual names."""
    usual = [config.objective.name, config.model.name, f"seed={config.seed}", f"corpus={config.corpus}"]
    factors = [line.lstrip("+~") for line in overrides if not line.lstrip("+~").startswith(NO_FACTORS)]
    return list(dict.fromkeys(tag[:TAG_LENGTH] for tag in [*usual, *factors]))


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

    def evaluations(self, folder: Path) -> None:
        """Every evaluation of the run's folder: a row of a Table, a file of an Artifact and of the run.

        With the run's record among them, `r1-report fetch` makes an outputs/ folder again from W&B alone.
        """
        if self.run is not None:
            self._try(lambda: self._evaluations(folder))

    def _evaluations(self, folder: Path) -> None:
        import wandb

        paths = eval_paths(folder)
        rows = [read_eval(path) for path in paths]
        names = sorted({name for row in rows for name in row.metrics})
        table = wandb.Table(
            columns=["task", "split", "step", "problems", "k", *names],
            data=[[r.task, r.split, r.step, r.n_problems, r.k, *map(r.metrics.get, names)] for r in rows],
        )
        self.run.log({"evaluations": table})
        artifact = wandb.Artifact(f"evaluations-{self.run.id}", type="evaluation")
        for path in paths:
            artifact.add_file(str(path), name=str(path.relative_to(folder)))
        self.run.log_artifact(artifact)
        for path in [*paths, folder / "run.json", folder.parent / "study.json"]:
            if path.exists():
                self._keep(path, path.name if path.parent == folder.parent else path.relative_to(folder))

    def _keep(self, path: Path, name: str | Path) -> None:
        """A copy among the run's own files: a link would not outlive a move of the folder."""
        place = Path(self.run.dir) / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
        self.run.save(str(place), base_path=self.run.dir, policy="end")

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
