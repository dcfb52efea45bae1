"""The quickstart by each launcher that can be had here, compared number by number with the local one's.

    python -m tests.integration.cluster.quickstart FOLDER [SETTING ...]      # trainer.steps=3 ...

Compared to the bit: checkpoints, bases, metrics of every step, samples, evaluation records, and the
report's tables. Left out: what a clock or a memory counter gives. Exit code 1 where anything differs.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.campaign.runs import differences, evidence
from tests.integration.cluster.launches import REAL, ROOT, environment_of, start
from tests.integration.cluster.loopback import lacking, loopback
from tests.integration.cluster.ray_nodes import two_nodes
from tests.reproducible import MEASURED

LAUNCHERS = ("process", "slurm", "ray")
LIMIT = 4 * 3600.0  # seconds that a launch may take


def quickstart(
    folder: Path, settings: Sequence[str], *, on: Sequence[str], environment: Mapping[str, str]
) -> dict[str, Any]:
    """Run the quickstart and its report under `folder`; what a reader uses of both, by path."""
    lines = ("ablation=quickstart", "device=cpu", *settings, *on, f"output_dir={folder}", "study=s")
    begun = start(folder, REAL, *lines, environment=environment_of(environment))
    assert begun.ended(LIMIT) == 0, begun.said()
    report = [sys.executable, "-m", "analysis", "report", str(folder / "s")]
    subprocess.run(report, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return evidence(folder) | tables(folder / "s" / "report")


def tables(report: Path) -> dict[str, Any]:
    """Rows of the report's tables by file, without columns that a clock or a memory counter fills."""
    found: dict[str, Any] = {}
    for path in sorted(report.glob("*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            found[path.name] = [
                {name: x for name, x in row.items() if not name.startswith(("seconds", *MEASURED))}
                for row in csv.DictReader(file)
            ]
    return found


def missing(launcher: str) -> str | None:
    """Why a launcher cannot be tried here; None where it can."""
    no_ray = None if find_spec("ray") else "no Ray here: pip install '.[ray]'"
    return {"process": None, "slurm": lacking(), "ray": no_ray}[launcher]


@contextmanager
def running(launcher: str, folder: Path) -> Iterator[tuple[tuple[str, ...], Mapping[str, str]]]:
    """Start a launcher's cluster: (settings, environment) of a launch on it."""
    if launcher == "slurm":
        with loopback(folder) as slurm:
            lines = ("hydra/launcher=slurm", "hydra.launcher.poll=1", "hydra.launcher.settle=2")
            yield lines, slurm.environment
    elif launcher == "ray":
        with two_nodes() as nodes:
            yield ("hydra/launcher=ray", f"hydra.launcher.address={nodes.address}"), os.environ
    else:
        yield (), os.environ


def main(arguments: Sequence[str]) -> int:
    if not arguments:
        print(__doc__, file=sys.stderr)
        return 2
    folder, found, code = Path(arguments[0]).absolute(), dict[str, dict[str, Any]](), 0
    for launcher in LAUNCHERS:
        if (why := missing(launcher)) is not None:
            print(f"{launcher}: skipped: {why}")
            continue
        with running(launcher, folder / f"{launcher}-cluster") as (on, environment):
            began = time.monotonic()
            found[launcher] = quickstart(folder / launcher, arguments[1:], on=on, environment=environment)
            seconds = time.monotonic() - began
        different = differences(found[launcher], found["process"])
        code = max(code, int(bool(different)))
        said = ", ".join(different) or "none"
        print(f"{launcher}: {len(found[launcher])} files in {seconds:.0f} s; different: {said}", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
