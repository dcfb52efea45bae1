"""Plain-integer completions graded a second in one thread, short and long (target 2,000).

taskset -c 1 python -m tests.benchmarks.grading
"""

from __future__ import annotations

import time

from harness.grading import grade

SENTENCE = "Some reasoning about 17 apples. "


def rate(num_chars: int, *, num: int) -> float:
    """Completions of about `num_chars` characters graded in a second of CPU; one of them is right."""
    reasoning = SENTENCE * (num_chars // len(SENTENCE))
    completions = [f"{reasoning}So \\boxed{{{i}}}." for i in range(num)]
    start = time.process_time()
    assert sum(grade(completion, "25").correct for completion in completions) == 1
    return num / (time.process_time() - start)


if __name__ == "__main__":
    for num_chars in (0, 2000):
        rates = sorted(rate(num_chars, num=20_000) for _ in range(3))
        listed = ", ".join(f"{r:,.0f}" for r in rates)
        print(f"{num_chars:5d} characters: {rates[1]:,.0f} a second (median of {listed})")
