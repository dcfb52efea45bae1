"""What a run costs beside its work: N runs through one warm process against N fresh processes.

    python -m tests.benchmarks.sweep_overhead --device cpu --runs 12 --json sweep_overhead.json

The base and its evaluation are made beforehand, by a run that is not counted. A fresh process is
`python -m harness ...`, from its start to its end; the warm sweep is `python -m harness -m ...`, its start
and end included. Start to first rollout: of a warm run, from the beginning of its work; of a fresh one, from
the start of its process (its exit, some tenths of a second, is counted in).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from harness.records.code_state import code_state, hardware, packages
from harness.records.lines import read_metrics
from harness.records.records import RunRecord, read_run, run_folders

# The smallest ladder model and a run of seconds: what is measured is what stands around the work.
SHORT = (
    *("model=ladder_xs", "model.pretrain.steps=20", "objective=grpo", "tracking.mode=disabled"),
    *("data.num_train=64", "data.num_validation=16", "data.num_test=16", "data.num_heldout=0"),
    *("rollout.prompts_per_step=8", "rollout.group_size=4", "rollout.max_new_tokens=40", "trainer.steps=2"),
    *("eval.splits=[test]", "eval.k=2", "eval.greedy=false", "eval.max_new_tokens=40"),
)


def command(*arguments: str) -> float:
    """Seconds of `python -m harness ...`. Raises CalledProcessError with what it said."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "harness", *arguments], capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode}: {done.stderr[-2000:]}")
    return seconds


def both(folder: Path, settings: tuple[str, ...], seeds: list[int]) -> tuple[list[float], float]:
    """Run the studies `fresh` and `warm`: seconds of each fresh run, and of all warm ones together."""
    common = [*settings, f"output_dir={folder}"]
    command(*common, "study=first", f"seed={max(seeds) + 1000}")
    fresh = [command(*common, "study=fresh", f"seed={seed}") for seed in seeds]
    launcher = ["hydra.launcher.warm=true", "hydra.launcher.workers=1"]
    warm = command("-m", *common, "study=warm", f"seed={','.join(map(str, seeds))}", *launcher)
    return fresh, warm


def records(study: Path) -> list[RunRecord]:
    """By time of start."""
    return sorted(map(read_run, run_folders(study)), key=lambda record: (record.started, record.finished))


def to_first_rollout(study: Path, record: RunRecord) -> float:
    first = read_metrics(study / record.run_id / "metrics.jsonl")[0]
    return record.seconds["setup"] + record.seconds.get("start", 0.0) + first["seconds_sample"]


def measure(device: str, runs: int, folder: Path) -> dict[str, Any]:
    fresh, total = both(folder, (*SHORT, f"device={device}"), list(range(runs)))
    start = [to_first_rollout(folder / "warm", r) for r in records(folder / "warm")]
    by_seed = {r.config["seed"]: r for r in records(folder / "fresh")}
    cold = []
    for seed, seconds in enumerate(fresh):
        record = by_seed[seed]
        rest = sum(record.seconds.values()) + record.base_seconds - to_first_rollout(folder / "fresh", record)
        cold.append(seconds - rest)
    return {
        "device": hardware(by_seed[0].hardware["device"]),
        "commit": code_state()["commit"],
        "versions": packages(),
        "settings": list(SHORT),
        "fresh_s": fresh,
        "warm_total_s": total,
        "fresh_start_to_first_rollout_s": cold,
        "warm_start_to_first_rollout_s": start,
        "fresh_runs_per_hour": 3600 * runs / sum(fresh),
        "warm_runs_per_hour": 3600 * runs / total,
        "ratio": sum(fresh) / total,
    }


def table(found: dict[str, Any]) -> str:
    later = found["warm_start_to_first_rollout_s"][1:]
    return (
        f"{len(found['fresh_s'])} runs: fresh {found['fresh_runs_per_hour']:.0f}/h, "
        f"warm {found['warm_runs_per_hour']:.0f}/h ({found['ratio']:.1f}x); start to first rollout: fresh "
        f"{median(found['fresh_start_to_first_rollout_s']):.2f} s, warm from the second run on "
        f"{median(later):.2f} s (max {max(later):.2f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--runs", type=int, default=12)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options.device, options.runs, Path(folder))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    print(table(found))


if __name__ == "__main__":
    main()
