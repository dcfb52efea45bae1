"""How long until a sweep starts: composing and validating 100 runs (≤ 10 s), and --help (≤ 0.7 s).

python -m tests.benchmarks.compose
"""

from __future__ import annotations

import subprocess
import sys
import time

from harness.launch.expand import expand


def main() -> None:
    seeds = ",".join(str(seed) for seed in range(25))
    start = time.perf_counter()
    sweep = expand(
        ["objective=sft_rejection,grpo", "model=ladder_xs,ladder_s", f"seed={seeds}"], multirun=True
    )
    print(f"composing and validating {len(sweep.jobs)} runs: {time.perf_counter() - start:.2f} s")
    times = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "harness", "--help"], check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    print(f"--help: {sorted(times)[2]:.2f} s (median of {len(times)})")


if __name__ == "__main__":
    main()
