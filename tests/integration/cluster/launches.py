"""Launches as processes of their own, which a test can watch, strike and compare."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.records.records import RunRecord, read_run

ROOT = Path(__file__).parents[3]
CONF = ROOT / "tests" / "unit" / "harness" / "launch" / "conf"
STAND_INS, REAL = "tests.integration.cluster.stand_ins", "harness"
SMOKE = ("experiment=smoke", "device=cpu")


@dataclass
class Launch:
    """A launch under way: its process, and the file that has what it printed."""

    process: subprocess.Popen[bytes]
    log: Path

    def said(self) -> str:
        return self.log.read_text()

    def ended(self, seconds: float = 180) -> int:
        """Wait for its end: the exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError(self.said()) from None

    def until(self, words: str, seconds: float = 90) -> None:
        """Wait until it has printed some words."""
        wait_for(lambda: words in self.said(), f"{words!r} in {self.said()}", seconds)


def start(
    folder: Path, module: str, *lines: str, environment: Mapping[str, str], name: str = "launch"
) -> Launch:
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{name}.log"
    own = [] if module == REAL else ["--config-dir", str(CONF), "model=tiny", "data=tiny", "device=cpu"]
    if lines[0] == "attach":
        own = []
    environment = {**environment, "PYTHONPATH": str(ROOT)}
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *lines[:1], *own, *lines[1:]],
            cwd=folder,
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_hear_ctrl_c,
        )
    return Launch(process, log)


def _hear_ctrl_c() -> None:
    """Let SIGINT through where these tests were put in the background, whose shell had it ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def behave(folder: Path, **actions: str) -> None:
    """Say what stand-ins do: `s0="kill"` is for seed 0."""
    folder.mkdir(parents=True, exist_ok=True)
    table = {f"-{part}-": action for part, action in actions.items()}
    (folder / "behaviour.json").write_text(json.dumps(table))


def called(folder: Path) -> list[str]:
    path = folder / "called.txt"
    return path.read_text().split() if path.exists() else []


def records(study: Path) -> dict[int, RunRecord]:
    """Run records of a study by seed."""
    found = [read_run(path.parent) for path in sorted(study.glob("*/run.json"))]
    return {int(record.config["seed"]): record for record in found}


def statuses(study: Path) -> dict[int, str]:
    return {seed: record.status for seed, record in records(study).items()}


def wait_for(condition: Callable[[], object], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(0.1)


def environment_of(given: Mapping[str, str] | None = None) -> dict[str, str]:
    return {**(os.environ if given is None else given), "OMP_NUM_THREADS": "1"}
