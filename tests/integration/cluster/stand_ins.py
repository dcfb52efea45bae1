"""Runs that a cluster's jobs call in the place of training: they take no time and fail as a file says.

`behaviour.json` of the output folder has {part of a run's name: action}. `calls.txt` counts the calls.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from harness.identity import base_folder, run_folder, run_id
from harness.launch import signals
from harness.launch.jobs import Functions
from harness.launch.status import finished, mark_evaluated
from harness.records.locks import Held, hold
from harness.records.progress import Reporter
from harness.schema.run_config import RunConfig
from tests.unit.harness import stubs

FUNCTIONS = Functions(execute=f"{__name__}:execute", ensure_base=f"{__name__}:ensure_base")
if __name__ == "__main__":
    FUNCTIONS = Functions(
        execute="tests.integration.cluster.stand_ins:execute",
        ensure_base="tests.integration.cluster.stand_ins:ensure_base",
    )
LONG = 45.0  # seconds of a run that is to be stopped
TOLD = "told.txt"  # in the output folder: ends a run that is busy until told


def execute(config: RunConfig, *, overrides: Sequence[str], report: Reporter) -> str:
    """Take the run's lock as training does, and skip it or do what the file says."""
    try:
        with hold(run_folder(config)):
            if finished(config) is not None:
                return "skipped"
            return _execute(config, report)
    except Held as error:
        report("held", 0, 1, str(error))
        return "held"


def _execute(config: RunConfig, report: Reporter) -> str:
    name, outputs = run_id(config), Path(config.output_dir)
    calls = _called(outputs, name)
    stubs.record(config, "running", num_resumes=calls - 1)
    report("training", 1, 2, "accuracy 0.5")
    action = _action(outputs, name)
    if action == "kill" or (action == "kill once" and calls == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "fail":
        stubs.record(config, "failed", reason="RuntimeError: a broken disk")
        return "failed"
    if action == "until told":
        _wait(config, report, 3 * LONG, outputs / TOLD)
    if action == "longer" or (action == "long" and calls == 1):
        _wait(config, report, LONG)
    mark_evaluated(config, base_folder(config), 0)
    mark_evaluated(config, run_folder(config), 3)
    ended = {"steps_done": 3, "seconds": {"train": 6.0}, "finished": "2026-01-01T00:01:00+00:00"}
    stubs.record(config, "finished", num_resumes=calls - 1, **ended)
    return "finished"


def _wait(config: RunConfig, report: Reporter, seconds: float, told: Path | None = None) -> None:
    """Be busy as training is, until a file is there if one is given: a signal ends it with a record."""
    try:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not (told and told.exists()):
            report("training", 1, 2, "busy")
            time.sleep(0.1)
    except KeyboardInterrupt:
        stubs.record(config, "interrupted", reason=f"signal {signals.announced()}")
        raise


def ensure_base(config: RunConfig, report: Reporter) -> None:
    """Make the base of `stubs`, or die at the first call where the file says so."""
    from harness.identity import base_id

    name, outputs = base_id(config), Path(config.output_dir)
    if _called(outputs, name) == 1 and _action(outputs, name) == "kill once":
        os.kill(os.getpid(), signal.SIGKILL)
    stubs.ensure_base(config, report)


def _called(outputs: Path, name: str) -> int:
    """Note a call, and count those of this name."""
    with (outputs / "called.txt").open("a") as file:
        file.write(f"{name}\n")
    return (outputs / "called.txt").read_text().split().count(name)


def _action(outputs: Path, name: str) -> str | None:
    path = outputs / "behaviour.json"
    table = json.loads(path.read_text()) if path.exists() else {}
    return next((action for part, action in table.items() if part in name), None)


if __name__ == "__main__":  # a launch as a user types it, with these runs
    from harness.launch.run import main

    sys.exit(main(sys.argv[1:], functions=FUNCTIONS))
