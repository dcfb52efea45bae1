"""Is the simulated makespan of a study the measured one? A small real sweep, simulated before it is run.

    python -m tests.benchmarks.simulated_sweep --workers 2 --json simulated_sweep.json

First a few runs of other seeds, whose records give run times and their spread; then the sweep is simulated as
`--plan --assume workers=N` does it; then it is run and timed, from the command's start to its end.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from harness.launch.costs import START_SECONDS, finished_records
from harness.launch.expand import Sweep, expand
from harness.launch.simulate import Assumed, Task, quantile, simulate
from harness.launch.sizing import assumed_of, measured_ratios, tasks_of
from harness.launch.status import decide
from harness.launch.workload import workload
from harness.records.code_state import code_state, hardware, packages
from harness.records.records import read_run, run_folders

SHORT = (
    *("model=ladder_xs", "model.pretrain.steps=20", "tracking.mode=disabled", "device=cpu"),
    *("data.num_train=64", "data.num_validation=16", "data.num_test=16", "data.num_heldout=0"),
    *("rollout.prompts_per_step=16", "rollout.group_size=8", "rollout.max_new_tokens=60"),
    *("eval.splits=[test]", "eval.k=4", "eval.max_new_tokens=60", "eval.greedy=false"),
    *("objective=sft_rejection,grpo", "trainer.steps=6,12"),
)
REPEATS = 400


def sweep_of(folder: Path, seeds: str, study: str, workers: int) -> tuple[list[str], Sweep]:
    """(arguments, the sweep) of a study with these seeds."""
    launcher = f"hydra.launcher.workers={workers}"
    arguments = [*SHORT, f"output_dir={folder}", f"seed={seeds}", f"study={study}", launcher]
    return arguments, expand(arguments, multirun=True)


def launch(arguments: list[str]) -> float:
    """Seconds of `python -m harness -m ...`. Raises RuntimeError with what it said."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "harness", "-m", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode}: {done.stderr[-2000:]}")
    return time.perf_counter() - started


def simulated(sweep: Sweep) -> tuple[list[float], list[float]]:
    """(makespans, ratios of measured to expected run times) of the sweep, before it runs."""
    records = finished_records(sweep.jobs[0].config.output_dir)
    todo = {job.run_id: decide(job.config)[0] for job in sweep.runs}
    shapes = {workload(job.config.model_dump(), on_gpu=False).shape for job in sweep.runs}
    ratios = measured_ratios(records, shapes)
    tasks = tasks_of(sweep, todo, records)
    found = simulate(tasks, assumed_of([], sweep), seed=0, repeats=REPEATS, ratios=ratios)
    return [outcome.makespan for outcome in found], ratios


def by_own_times(study: Path, workers: int) -> float:
    """The simulated makespan where each run takes what it took: the error of the layout alone."""
    records = [read_run(folder) for folder in run_folders(study)]
    taken = [datetime.fromisoformat(r.finished or "") - datetime.fromisoformat(r.started) for r in records]
    tasks = [Task(r.run_id, t.total_seconds()) for r, t in zip(records, taken, strict=True)]
    (found,) = simulate(tasks, Assumed(workers=workers, restart=0.0), seed=0, repeats=1)
    return found.makespan + START_SECONDS


def measure(folder: Path, workers: int, seeds: int) -> dict[str, Any]:
    first, _ = sweep_of(folder, "100,101", "first", workers)
    launch(first)
    arguments, sweep = sweep_of(folder, ",".join(map(str, range(seeds))), "second", workers)
    makespans, ratios = simulated(sweep)
    before = os.getloadavg()[0]
    seconds = launch(arguments)
    middle, own = quantile(makespans, 0.5), by_own_times(folder / "second", workers)
    return {
        "device": hardware("cpu"),
        "commit": code_state()["commit"],
        "versions": packages(),
        "settings": list(SHORT),
        "workers": workers,
        "runs": len(sweep.runs),
        "ratios": ratios,
        "simulated_s": {"0.05": quantile(makespans, 0.05), "0.5": middle, "0.95": quantile(makespans, 0.95)},
        "by_own_times_s": own,
        "measured_s": seconds,
        "error": middle / seconds - 1,
        "error_by_own_times": own / seconds - 1,
        "load_before_and_after": [before, os.getloadavg()[0]],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), options.workers, options.seeds)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    low, middle, high = found["simulated_s"].values()
    print(
        f"{found['runs']} runs on {found['workers']} workers: simulated {middle:.0f} s "
        f"({low:.0f} to {high:.0f}), by the runs' own times {found['by_own_times_s']:.0f} s, measured "
        f"{found['measured_s']:.0f} s: {found['error']:+.1%} and {found['error_by_own_times']:+.1%}"
    )


if __name__ == "__main__":
    main()
