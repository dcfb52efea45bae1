"""How long problems take: loading, the contamination scan, perturbing. Needs MATH_DATA_DIR.

    python -m tests.benchmarks.data

Best of three, one process. Each line: what, how many problems, CPU seconds (so that other jobs do not count).
"""

from __future__ import annotations

import time
from collections.abc import Callable

from harness.data import gsm8k, hendrycks_math, perturb
from harness.data.general import FAMILIES, load
from harness.data.ngrams import scan


def best(run: Callable[[], object]) -> float:
    times = []
    for _ in range(3):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


def main() -> None:
    train, test = hendrycks_math.TRAIN.load("train"), hendrycks_math.TEST.load("test")
    words = gsm8k.TRAIN.load("train")

    def perturbed() -> object:
        perturb.perturbed.cache_clear()
        return perturb.perturbations(words)

    def general() -> object:
        return load("train", num_problems=2000, families=list(FAMILIES), levels=[1, 2], style="full", seed=0)

    def whole() -> object:
        return hendrycks_math.TRAIN.load("train"), hendrycks_math.TEST.load("test")

    rows = [
        ("load MATH", len(train) + len(test), best(whole)),
        ("load GSM8K train", len(words), best(lambda: gsm8k.TRAIN.load("train"))),
        (f"scan MATH train against {len(test)} test problems", len(train), best(lambda: scan(train, test))),
        ("perturb GSM8K train", len(words), best(perturbed)),
        ("generate general tasks", 2000, best(general)),
    ]
    for what, number, seconds in rows:
        print(f"{what:<50} {number:>6} {seconds:7.2f} s")


if __name__ == "__main__":
    main()
