"""Grading while the engine decodes: outputs are graded as they end, in threads.

A comparison of formulas takes a millisecond and more (grading.compare.symbolic), a run of a program ten
(grading.code). A grade depends on two texts
alone, so it is the same whenever and wherever it is made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from harness.grading.code.pool import WORKERS
from harness.grading.find.extraction import PROGRAM
from harness.grading.grade import grade
from harness.types import Grade, OnEnd, Problem

# Outputs that are graded before all have ended, at most.
_MOST = 4096


class GradingAhead:
    """Grades in a thread beside the engine's; `grades` ends it."""

    def __init__(
        self, problems: Sequence[Problem], group_size: int, decode: Callable[[list[int]], str], rules: Any
    ) -> None:
        self.problems, self.size, self.decode, self.rules = problems, group_size, decode, rules
        programs = rules == PROGRAM  # each runs in a process of its own
        self.threads = ThreadPoolExecutor(WORKERS if programs else 1)
        self.futures: dict[int, Future[tuple[str, Grade]]] = {}

    @property
    def on_end(self) -> OnEnd:
        return self._ended

    def grades(self, texts: Sequence[str], places: Sequence[int] | None = None) -> list[Grade]:
        """The grade of every output's text, in order; those not begun while the engine decoded begin now.

        `places` are the outputs' among the step's, None: all of them. Raises what a comparison raised.
        """
        places = range(len(texts)) if places is None else places
        for place, text in zip(places, texts, strict=True):
            begun = self.futures.get(place)
            if begun is None or begun.cancel() or begun.result()[0] != text:  # a stop string cuts a text
                self.futures[place] = self.threads.submit(self._grade, place, text)
        grades = [self.futures[place].result()[1] for place in places]
        self.threads.shutdown()
        return grades

    def _ended(self, place: int, tokens: list[int]) -> None:
        if len(self.futures) < _MOST:
            self.futures[place] = self.threads.submit(self._decode_and_grade, place, tokens)

    def _decode_and_grade(self, place: int, tokens: list[int]) -> tuple[str, Grade]:
        return self._grade(place, self.decode(tokens))

    def _grade(self, place: int, text: str) -> tuple[str, Grade]:
        problem = self.problems[place // self.size]
        return text, grade(text, problem.answer, rules=self.rules, exact=problem.exact)
