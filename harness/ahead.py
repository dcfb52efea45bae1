"""Grading while the engine decodes: answers that need math-verify are compared as their outputs end.

A comparison takes 10 ms and more in a worker process (harness.symbolic) and depends on two texts alone, so
its result, remembered there, is the same whenever it is made. `score` then finds it, and grades as it always
does: in order, with the same grades.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from harness.grading import grade
from harness.symbolic import Limits
from harness.types import OnEnd, Problem

# Comparisons that may wait to be remembered; harness.symbolic remembers 8,192.
_MOST = 4096


class GradingAhead:
    """Threads that wait for the symbolic workers, as many as there are workers. `wait` before grading."""

    def __init__(
        self, problems: Sequence[Problem], group_size: int, decode: Callable[[list[int]], str], rules: Any
    ) -> None:
        self.problems, self.size, self.decode, self.rules = problems, group_size, decode, rules
        self.threads = ThreadPoolExecutor(Limits().max_workers)
        self.futures: list[Future[object]] = []

    @property
    def on_end(self) -> OnEnd:
        return self._ended

    def _ended(self, place: int, tokens: list[int]) -> None:
        if len(self.futures) < _MOST:
            self.futures.append(self.threads.submit(self._grade, self.problems[place // self.size], tokens))

    def _grade(self, problem: Problem, tokens: list[int]) -> object:
        return grade(self.decode(tokens), problem.answer, rules=self.rules, exact=problem.exact)

    def wait(self) -> None:
        """Until all is compared. Raises what a comparison raised: RuntimeError where no worker starts."""
        for future in self.futures:
            future.result()
        self.threads.shutdown()
