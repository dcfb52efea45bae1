"""Train one run with verl, in processes of its own, and read back what it leaves.

RUN/verl/verl.yaml, train.parquet, generation_config.json        what verl is given
        /config.json, problems.json                              what this project's part in it reads
        /metrics-<attempt>.jsonl, outputs/, output.log           what it and the reward leave
        /checkpoints/                                            its own; removed once weights are exported
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from harness.data.load import load_split
from harness.identity import streams_of, weights_folder
from harness.model.dims import ModelDims
from harness.model.files.codec import Codec
from harness.model.files.folder import folder_dims
from harness.records.lines import MetricsWriter, write_samples
from harness.records.progress import Reporter
from harness.records.records import write_text
from harness.schema.run_config import ConfigError, RunConfig
from harness.training.counters import Counters
from harness.training.trainer import TrainingError
from harness.training.verl.compile import VERSION, Places, environment, verl_config
from harness.training.verl.export import export
from harness.training.verl.prompts import write_prompts
from harness.training.verl.read_back import (
    attempts,
    drop_after,
    flops_of,
    is_complete,
    outputs_of,
    seconds_of,
    step_metrics,
    step_of,
    trained_tokens,
    verl_metrics,
)

POLL = 2.0  # seconds between two looks at verl's metrics
PATIENCE = (
    8.0  # seconds from the signal that stops verl to the one that kills it: it saves nothing in between
)
_ASK = "from importlib.metadata import version; print(version('verl'))"


def check_installed(config: RunConfig) -> None:
    """Raises ConfigError unless verl is there, in the version whose settings `compile.py` writes."""
    python = config.trainer.verl.python
    if python is None and find_spec("verl") is None:
        raise ConfigError(
            "trainer.engine=verl: verl is not installed here; pip install '.[verl]' in an "
            "environment of its own, and name its Python: trainer.verl.python=/path/to/bin/python"
        )
    command = [python or sys.executable, "-c", _ASK]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        raise ConfigError(
            f"trainer.verl.python={python}: no Python that has verl; install verl=={VERSION} there"
        ) from None
    if found != VERSION:
        raise ConfigError(f"trainer.engine=verl: verl {found} is installed; install verl=={VERSION}")


class VerlRun:
    """One run on verl: its folders, and what was read of it so far."""

    def __init__(self, config: RunConfig, folder: Path, start: Path) -> None:
        self.config, self.folder, self.work, self.start = config, folder, folder / "verl", start
        self.dims: ModelDims = folder_dims(start)
        self.counters = Counters(config.objective.kl.coef, config.trainer.microbatch_tokens)
        self.metrics = MetricsWriter(folder / "metrics.jsonl")
        self.checkpoints = self.work / "checkpoints"
        self.latest = self.checkpoints / "latest_checkpointed_iteration.txt"

    def prepare(self) -> Places:
        """Write what verl is given for one more attempt."""
        config = self.config
        if self.latest.exists():  # it may be empty, where verl was ended: verl would not read that
            write_text(self.latest, str(self.saved_step()))
        write_text(self.work / "config.json", config.model_dump_json(indent=1))
        codec = Codec.from_folder(self.start)
        ends = {"eos_token_id": list(codec.eos_token_ids)}
        write_text(self.work / "generation_config.json", json.dumps(ends))
        longest = write_prompts(
            config,
            load_split(config.data, "train"),
            codec,
            seed=streams_of(config)["data_order"],
            folder=self.work,
        )
        places = Places(
            work=self.work.absolute(),
            start=self.start.resolve(),
            metrics=self.work.absolute() / f"metrics-{len(attempts(self.work)):03d}.jsonl",
            root=Path(__file__).resolve().parents[3],
        )
        made = yaml.safe_dump(verl_config(config, places, longest_prompt=longest), sort_keys=False)
        write_text(self.work / "verl.yaml", "# @package _global_\n" + made)
        return places

    def saved_step(self) -> int:
        """The step of verl's latest whole checkpoint; 0 without one.

        verl empties the file that names it before it writes the next step there, once the next is whole.
        """
        if not self.latest.exists():
            return 0
        saved = (folder.name for folder in self.checkpoints.glob("global_step_*"))
        newest = max((int(name.rsplit("_", 1)[1]) for name in saved), default=0)
        return int(self.latest.read_text() or newest)

    def export(self) -> None:
        """Publish the checkpoints to evaluate that verl has saved; it goes on from none before them."""
        total, saved = self.config.trainer.steps, self.saved_step()
        for step in (*(s for s in self.config.eval.at_steps if s < total), total):
            if step <= saved and not weights_folder(self.folder, step).exists():
                export(self.checkpoints, start=self.start, folder=self.folder, step=step)

    def read(self, log: Callable[[dict[str, Any]], None]) -> float | None:
        """Take over the steps that verl has done since the last look; the last one's accuracy."""
        rows, accuracy = verl_metrics(self.work), None
        while (step := self.counters.step + 1) in rows:
            outputs = outputs_of(self.work, step)
            if not is_complete(outputs, self.config):
                break  # on a shared folder lines may be late
            metrics = self._take(step, rows[step], outputs)
            log(metrics)
            accuracy = metrics["accuracy"]
        return accuracy

    def _take(self, step: int, verl: dict[str, Any], outputs: list[dict[str, Any]]) -> dict[str, Any]:
        config, counters = self.config, self.counters
        of = step_of(outputs, config, self.dims)
        metrics = step_metrics(step, verl, of, config)
        counters.step = step
        counters.num_updates += config.objective.updates.epochs * config.objective.updates.minibatches
        flops = flops_of(of, config)
        sampled = int(metrics["sampled_tokens"])
        tokens = {"sampled": sampled, "trained": trained_tokens(of, config)}
        for use, amount in (tokens | {"scored": int(sampled * flops["scored"] / of.flops)}).items():
            counters.add(use, amount, flops[use])
        counters.tokens["prompt"] = counters.tokens.get("prompt", 0) + of.num_prompt_tokens
        for phase, seconds in seconds_of(verl).items():
            counters.add_phase(phase, seconds, 0)
        self.metrics.append(metrics)
        if of.shown:
            write_samples(self.folder / "rollouts" / f"step_{step:06d}.jsonl.gz", of.shown)
        return metrics


def train_on_verl(
    config: RunConfig,
    *,
    folder: Path,
    start: Path,
    report: Reporter,
    log: Callable[[dict[str, Any]], None],
    preempted: Callable[[], bool],
) -> Counters:
    """Train to the last step, or go on from verl's latest checkpoint; the run's counters.

    Raises TrainingError where verl ends before the last step. Once `preempted` says so, verl is stopped and
    KeyboardInterrupt raised: it goes on from its latest checkpoint.
    """
    check_installed(config)
    run, total = VerlRun(config, folder, start), config.trainer.steps
    run.metrics.truncate(0)  # it is written again, from what every attempt left
    run.work.mkdir(parents=True, exist_ok=True)
    if run.saved_step() < total:
        drop_after(run.work, run.saved_step())
        run.read(log)
        _run(run, report, log, preempted)
    run.read(log)
    if run.counters.step < total or run.saved_step() < total:
        raise TrainingError(f"verl ended after step {run.counters.step} of {total}{_last_words(run.work)}")
    run.export()
    shutil.rmtree(run.checkpoints, ignore_errors=True)
    return run.counters


def _run(
    run: VerlRun,
    report: Reporter,
    log: Callable[[dict[str, Any]], None],
    preempted: Callable[[], bool],
) -> None:
    """Start verl and follow it to its end."""
    places, total = run.prepare(), run.config.trainer.steps
    python = run.config.trainer.verl.python or sys.executable
    command = [python, "-m", "verl.trainer.main_ppo", "--config-path", str(places.work)]
    command += ["--config-name", "verl"]
    with (run.work / "output.log").open("ab") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment(places)},
            start_new_session=True,
        )
        try:
            note = "verl starts"
            while process.poll() is None:
                accuracy = run.read(log)
                run.export()
                note = note if accuracy is None else f"accuracy {accuracy:.3f}"
                report("training", run.counters.step, total, note)
                if preempted():
                    raise KeyboardInterrupt(
                        f"stopped by a signal after step {run.counters.step}; verl goes on from its "
                        f"checkpoint of step {run.saved_step()}"
                    )
                time.sleep(POLL)
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End verl and the processes of its group; where a second signal comes meanwhile, at once."""
    if process.poll() is not None:
        return
    try:
        os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _last_words(work: Path) -> str:
    """The last line of verl's log that names an error, with the log's path."""
    path = work / "output.log"
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    said = next((line.strip() for line in reversed(lines) if "Error" in line), "")
    return f": {said[:200]}; all of it in {path}" if said else f"; see {path}"
