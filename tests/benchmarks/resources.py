"""What a warm process holds after many runs: memory, open files, threads. Tiny runs, of every kind in turn.

    python -m tests.benchmarks.resources --runs 200 --json resources.json

Each run trains one or two steps from one base and is evaluated; objectives, lengths and group sizes
vary, and every kind comes with new seeds. What one run leaves behind, 200 leave 200 times. Exit code 1 if
from the second reading to the last memory grows by more than MAX_KIB_A_RUN, or files or threads at all.

With `--dtype bfloat16` on a CPU memory grows at first: oneDNN keeps up to 1,024 compiled products, by shape.
ONEDNN_PRIMITIVE_CACHE_CAPACITY in the environment lowers that.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from harness.launch.compose import Composer
from harness.launch.execute import execute
from harness.records.code_state import code_state, hardware, packages
from harness.training.accounting import resident_bytes

AT = (10, 50, 100, 200)
# A reading at 50 runs against the last one: 150 runs, so a leak of 0.1 MiB a run shows as 15 MiB.
MAX_KIB_A_RUN = 100.0
SHORT = (
    *("experiment=smoke", "tracking.mode=disabled", "trainer.steps=1", "trainer.checkpoint_every=1"),
    *("eval.splits=[test]", "eval.greedy=false"),
    *("rollout.prompts_per_step=2", "objective.updates.minibatches=1"),
)
KINDS: tuple[tuple[str, ...], ...] = (
    ("objective=grpo",),
    ("objective=ppo",),
    ("objective=dapo", "trainer.steps=2"),
    ("objective=sft_rejection", "rollout.group_size=6"),
    ("objective=gspo", "rollout.max_new_tokens=16"),
    ("objective=grpo_process",),
    ("objective=sft_rejection_offline", "objective.advantage.threshold=-1"),
    ("objective=reinforce_pp", "rollout.max_new_tokens=32"),
    ("objective=grpo", "objective.kl.coef=0.1", "objective.kl.refresh_every=1"),
    ("objective=rloo", "rollout.group_size=8"),
)


def reading() -> dict[str, float]:
    """Resident MiB, open files, threads and, on a GPU, allocated MiB of this process, garbage collected."""
    gc.collect()
    found = {
        "resident_mib": round(resident_bytes() / 2**20, 1),
        "open_files": float(len(os.listdir("/proc/self/fd"))),
        "threads": float(len(os.listdir("/proc/self/task"))),
    }
    if torch.cuda.is_available():
        found["gpu_mib"] = round(torch.cuda.memory_allocated() / 2**20, 1)
    return found


def measure(num_runs: int, folder: Path, device: str, dtype: str) -> dict[str, Any]:
    """Readings after the runs of AT and after the last, with the machine and the code."""
    composer, readings, started = Composer(), dict[int, dict[str, float]](), time.perf_counter()
    for number in range(num_runs):
        kind = KINDS[number % len(KINDS)]
        lines = [*SHORT, *kind, f"seed={number}", f"device={device}", f"dtype={dtype}"]
        config = composer.config([*lines, f"output_dir={folder}"])
        outcome = execute(config, overrides=lines, report=lambda *_: None)
        if outcome != "finished":
            raise RuntimeError(f"run {number} ({' '.join(kind)}): {outcome}; see {folder}")
        if number + 1 in AT or number + 1 == num_runs:
            readings[number + 1] = reading()
            print(f"{number + 1:4d} runs: {readings[number + 1]}", flush=True)
    return {
        "device": hardware(device),
        "commit": code_state()["commit"],
        "versions": packages(),
        "dtype": dtype,
        "kinds": [" ".join(kind) for kind in KINDS],
        "seconds": round(time.perf_counter() - started, 1),
        "readings": readings,
        "growth": growth(readings),
    }


def growth(readings: dict[int, dict[str, float]]) -> dict[str, float]:
    """KiB a run, files and threads from the second reading (buffers have their size then) to the last."""
    numbers = sorted(readings)
    first, last = numbers[min(1, len(numbers) - 1)], numbers[-1]
    a, b = readings[first], readings[last]
    runs = max(1, last - first)
    found = {
        "kib_a_run": (b["resident_mib"] - a["resident_mib"]) * 1024 / runs,
        "open_files": b["open_files"] - a["open_files"],
        "threads": b["threads"] - a["threads"],
    }
    if "gpu_mib" in b:
        found["gpu_kib_a_run"] = (b["gpu_mib"] - a["gpu_mib"]) * 1024 / runs
    return {name: round(x, 1) for name, x in found.items()}


def grows(found: dict[str, float]) -> bool:
    """Whether a process that goes on and on would run out of something."""
    memory = max(found["kib_a_run"], found.get("gpu_kib_a_run", 0.0))
    return memory > MAX_KIB_A_RUN or found["open_files"] > 0 or found["threads"] > 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--runs", type=int, default=max(AT))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options.runs, Path(folder), options.device, options.dtype)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    print(f"growth: {found['growth']}, in {found['seconds']} s")
    return int(grows(found["growth"]))


if __name__ == "__main__":
    raise SystemExit(main())
