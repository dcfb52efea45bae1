"""Made-up problems, and two models that answer from a table: who is right where is known."""

from __future__ import annotations

PAIRS = (
    *((17, 25), (8, 31), (46, 9), (12, 13), (70, 18), (5, 99), (33, 41), (60, 2)),
    *((27, 28), (14, 77), (81, 6), (39, 52), (64, 7), (3, 58), (90, 11), (21, 22)),
)
PROBLEMS = [(f"What is {a} + {b}?", str(a + b)) for a, b in PAIRS]

# 0-2 are right in both, 3-5 in the first alone, 6-12 in the second alone, 13-15 in neither.
RIGHT = {"first": {*range(6)}, "second": {*range(3), *range(6, 13)}}
SAYS_MORE = {3, 4}  # of the first's right answers, those that stand in a sentence

# Right samples of two epochs, problem by problem, by seed: 2, 3, 2 of 8 and 4, 6, 6 of 8.
EPOCHS = {
    "first": {0: (2, 0, 0, 0), 1: (2, 1, 0, 0), 2: (1, 1, 0, 0)},
    "second": {0: (2, 1, 1, 0), 1: (2, 2, 2, 0), 2: (2, 1, 2, 1)},
}


def place(prompt: str) -> int:
    """Number of the problem that a prompt asks last."""
    return max(range(len(PROBLEMS)), key=lambda i: prompt.rfind(PROBLEMS[i][0]))


def answered(model: str, prompt: str) -> str:
    """What a model of the table answers to a prompt."""
    number = place(prompt)
    answer = PROBLEMS[number][1] if number in RIGHT[model] else "0"
    return f"The answer is {answer}." if model == "first" and number in SAYS_MORE else answer
