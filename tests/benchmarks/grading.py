"""Completions a second in one thread: plain integers graded; derivations graded and their steps checked.

taskset -c 1 python -m tests.benchmarks.grading
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from harness.grading.grade import grade
from harness.grading.score import score

SENTENCE = "Some reasoning about 17 apples. "
DERIVATION = "Each of the {0} friends gets 12 apples, so they need {0} * 12 = {1} apples together. "


def plain(num_chars: int, *, num: int = 20_000) -> float:
    """Completions of about `num_chars` characters graded in a second of CPU; one of them is right."""
    reasoning = SENTENCE * (num_chars // len(SENTENCE))
    completions = [f"{reasoning}So \\boxed{{{i}}}." for i in range(num)]
    start = time.process_time()
    assert sum(grade(completion, "25").correct for completion in completions) == 1
    return num / (time.process_time() - start)


def derivations(num_chars: int, *, num: int = 2_000) -> float:
    """Completions with a right step in each sentence, graded and checked as evaluation does."""
    steps = num_chars // len(DERIVATION)
    completions = [
        "".join(DERIVATION.format(n, 12 * n) for n in range(i, i + steps)) + f"So \\boxed{{{i}}}."
        for i in range(num)
    ]
    score.cache_clear()
    start = time.process_time()
    found = [score(text, "25", ("boxed",), False, True, "12 apples for 30 friends") for text in completions]
    seconds = time.process_time() - start
    assert sum(s.correct for s in found) == 1
    assert {(s.num_steps, s.num_wrong_steps) for s in found} == {(steps, 0)}
    return num / seconds


def show(what: str, rate: Callable[[], float]) -> None:
    rates = sorted(rate() for _ in range(3))
    print(f"{what}: {rates[1]:,.0f} a second (median of {', '.join(f'{r:,.0f}' for r in rates)})")


if __name__ == "__main__":
    for num_chars in (0, 2000):
        show(f"plain, {num_chars} characters", partial(plain, num_chars))
    show("derivations, 1000 characters, steps checked", partial(derivations, 1000))
