"""A world of letters: a token a character, `;` ends a step, `.` an output, before it stands the answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from harness.rollout.search.outputs import Ask, Draw, Found, Judge, Output, Search

Continue = Callable[[str, int], str]  # (what is given, simulation) -> what is drawn after it
LONGEST = 40


def text_of(output: Output, length: int | None = None) -> str:
    return "".join(map(chr, output.ids[:length]))


def output(text: str, *, given: int = 0, simulation: int = 0) -> Output:
    complete = text.endswith(".")
    return Output(
        ids=tuple(map(ord, text)),
        logprobs=tuple(-float(i) for i in range(len(text))),
        text=text,
        ends=tuple(i + 1 for i, letter in enumerate(text) if letter == ";"),
        answer=text[-2] if complete else None,
        complete=complete,
        stopped=complete,
        num_given=given,
        simulation=simulation,
    )


def scripted(table: Mapping[str, Sequence[str]]) -> Continue:
    """What is drawn after each prefix, in turn and then from the beginning again."""
    met: Counter[str] = Counter()

    def go_on(given: str, simulation: int) -> str:
        met[given] += 1
        return table[given][(met[given] - 1) % len(table[given])]

    return go_on


class Player:
    """Answers one search, and notes what it was asked."""

    def __init__(self, go_on: Continue, value: Callable[[str], float] = lambda text: 0.0) -> None:
        self.go_on, self.value = go_on, value
        self.asked: list[list[str]] = []  # prefixes, by round
        self.judged: list[str] = []

    def play(self, search: Search) -> Found:
        answer: object = None
        simulation = 0
        while True:
            try:
                work = search.send(answer)
            except StopIteration as over:
                found: Found = over.value
                return found
            if isinstance(work, Judge):
                texts = [text_of(part, length) for part, length in work.parts]
                self.judged += texts
                answer = [self.value(text) for text in texts]
                continue
            assert isinstance(work, Draw)
            self.asked.append(["".join(map(chr, ask.ids)) for ask in work.asks])
            outputs = []
            for ask in work.asks:
                outputs.append(self._draw(ask, simulation))
                simulation += 1
            answer = outputs

    def _draw(self, ask: Ask, simulation: int) -> Output:
        given = "".join(map(chr, ask.ids))
        drawn = self.go_on(given, simulation)[: ask.limit]
        return output(given + drawn, given=len(given), simulation=simulation)
