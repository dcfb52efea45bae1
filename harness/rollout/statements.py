"""The step finder's statements, and the tokens of a completion at which they end."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence

from harness.grading.steps.check import MAX_TEXT_CHARS, Step, check_steps


def statements(
    ids: Sequence[int], text: str, *, decode: Callable[[Sequence[int]], str]
) -> list[tuple[int, Step]]:
    """(index of the token that completes its last character, statement) of each arithmetic statement.

    `text` is what `ids` decode to, or a beginning of it. A text without a statement has none.
    """
    offset = max(0, len(text) - MAX_TEXT_CHARS)
    found, num = [], 0
    for step in check_steps(text).steps:  # their ends rise
        # The number of tokens whose text reaches the step's end; text grows with its tokens.
        num = bisect_left(range(len(ids)), offset + step.end, num, key=lambda n: len(decode(ids[: n + 1])))
        found.append((min(num, len(ids) - 1), step))
    return found
