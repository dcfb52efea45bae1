"""Real runs an hour on this host: 24-step ladder_xs runs with all their evaluations, at default settings.

    python -m tests.benchmarks.runs_per_hour --layout "per_gpu=8 beside_gpus=4" --seeds 48 --json rates.json

Each --layout is settings of hydra.launcher; without one it is the default. Every layout launches a sweep of
GRPO and SFT over the seeds. The base and its evaluations are made before, by a run that is not counted; the
launch's own start and end are. `by_device`: seconds of one run's phases, mean over the runs of a device.

    python -m tests.benchmarks.runs_per_hour --study outputs/calibration --gpus 2 --json rates.json

reads it off studies that were run for their own sake instead: from a study's declaration, which is written
before its first run, to the end of its last.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from statistics import fmean
from typing import Any

from harness.launch.launcher import num_cores
from harness.records.code_state import code_state, hardware, packages
from harness.records.declarations import read_declaration
from harness.records.records import RunRecord, read_run, read_study, run_folders

RUN = ("model=ladder_xs", "trainer.steps=24", "tracking.mode=disabled")
ARMS = "objective=grpo,sft_rejection"


def launch(*arguments: str) -> float:
    """Seconds of `python -m harness ...`. Raises RuntimeError with what it said."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "harness", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode}: {done.stderr[-2000:]}")
    return time.perf_counter() - started


def measure(layout: str, seeds: int, extra: list[str], folder: Path, study: str) -> dict[str, Any]:
    """One layout: runs an hour, and where a run's time goes on each kind of device."""
    settings = [f"hydra.launcher.{setting}" for setting in layout.split()]
    lines = [*RUN, *extra, f"output_dir={folder}", ARMS, f"seed=range({seeds})", f"study={study}"]
    seconds = launch("-m", *lines, *settings)
    runs = [read_run(path) for path in run_folders(folder / study)]
    found = {device: [r for r in runs if r.hardware["device"] == device] for device in ("cuda", "cpu")}
    return {
        "layout": layout,
        "runs": len(runs),
        "seconds": round(seconds, 1),
        "runs_per_hour": round(3600 * len(runs) / seconds),
        "by_device": {device: phases(own) for device, own in found.items() if own},
    }


def of_study(folder: Path, gpus: int) -> dict[str, Any]:
    """A finished study's runs an hour. Raises ValueError for one whose runs did not all finish."""
    plan, declared = read_study(folder), read_declaration(folder)
    runs = [read_run(path) for path in run_folders(folder)]
    if declared is None or not runs or any(run.status != "finished" for run in runs):
        raise ValueError(f"--study {folder}: need a declaration, and runs that have all finished")
    started = datetime.fromisoformat(declared.entries[0].time)
    seconds = (max(datetime.fromisoformat(str(run.finished)) for run in runs) - started).total_seconds()
    found = {device: [r for r in runs if r.hardware["device"] == device] for device in ("cuda", "cpu")}
    return {
        "study": folder.name,
        "command_of_study": plan.command,
        "steps": sorted({run.steps_done for run in runs}),
        "device": {**runs[0].hardware, "gpus": gpus},
        "commit": runs[0].code["commit"],
        "versions": runs[0].packages,
        "runs": len(runs),
        "seconds": seconds,
        "runs_per_hour": round(3600 * len(runs) / seconds),
        "by_device": {device: phases(own) for device, own in found.items() if own},
    }


def phases(runs: list[RunRecord]) -> dict[str, float]:
    """Number of runs and mean seconds of each phase."""
    names = sorted({name for run in runs for name in run.seconds})
    means = {name: round(fmean(run.seconds.get(name, 0.0) for run in runs), 2) for name in names}
    return {"runs": len(runs), **means, "all": round(sum(means.values()), 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--layout", action="append", help="of hydra.launcher; may be given several times")
    parser.add_argument("--seeds", type=int, default=24, help="runs of each arm")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="what the record names")
    parser.add_argument("--json", type=Path)
    parser.add_argument(
        "--folder", type=Path, help="of outputs, which may hold the base (default: temporary)"
    )
    parser.add_argument("settings", nargs="*", help="further settings of every run, such as trainer.steps=2")
    parser.add_argument("--study", type=Path, action="append", help="a finished study to read; several times")
    parser.add_argument("--gpus", type=int, default=1, help="GPUs of the studies: no record has it")
    options = parser.parse_args()
    if options.study:
        rows = [of_study(folder, options.gpus) for folder in options.study]
        found = {"command": command(), "rows": rows}
        print("\n".join(f"{row['study']}: {row['runs_per_hour']:,} runs an hour" for row in rows))
        if options.json:
            options.json.write_text(json.dumps(found, indent=1) + "\n")
        return
    with tempfile.TemporaryDirectory() as temporary:
        measure_all(options, options.folder or Path(temporary))


def command() -> str:
    return "python -m " + " ".join(["tests.benchmarks.runs_per_hour", *sys.argv[1:]])


def record(options: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    """Write the rows so far: a machine may be gone before the last."""
    found = {
        "command": command(),
        "device": hardware(options.device),
        "cores": num_cores(),
        "commit": code_state()["commit"],
        "versions": packages(),
        "settings": [*RUN, ARMS, *options.settings],
        "rows": rows,
    }
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


def measure_all(options: argparse.Namespace, folder: Path) -> None:
    """Every layout, after a run that makes the base where `folder` has none."""
    made = [*RUN, *options.settings, f"output_dir={folder}", "objective=grpo", "study=first", f"seed={10**6}"]
    launch(*made)
    rows = []
    for number, layout in enumerate(options.layout or [""]):
        row = measure(layout, options.seeds, options.settings, folder, f"timed{number}")
        rows.append(row)
        print(
            f"{layout or 'default'}: {row['runs_per_hour']} runs an hour, {row['runs']} in {row['seconds']} s"
        )
        record(options, rows)


if __name__ == "__main__":
    main()
