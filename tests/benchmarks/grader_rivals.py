"""The grader beside a rival of thirty lines, on labelled completions and on MATH's own solutions.

MATH_DATA_DIR=... python -m tests.benchmarks.grader_rivals
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

from harness.grading.grade import grade

Grader = Callable[[str, str], bool]


def ours(completion: str, reference: str) -> bool:
    return grade(completion, reference).correct


def rival(completion: str, reference: str) -> bool:
    """The last box, `####`, `answer is`, the last number; fractions; normalised text; math-verify."""
    boxes = [m.end() for m in re.finditer(r"\\boxed\s*\{", completion)]
    if boxes:
        depth, end = 1, boxes[-1]
        while end < len(completion) and depth:
            depth += {"{": 1, "}": -1}.get(completion[end], 0)
            end += 1
        answer = completion[boxes[-1] : end - 1]
    elif marked := re.findall(r"####\s*(.+)|answer is:?\s*([^\n]+?)\.?(?:\n|$)", completion, re.IGNORECASE):
        answer = marked[-1][0] or marked[-1][1]
    else:
        numbers = re.findall(r"-?\d[\d,]*(?:\.\d+)?", completion)
        answer = numbers[-1] if numbers else ""
    a, b = _plain(reference), _plain(answer)
    if a == b or ((x := _fraction(a)) is not None and x == _fraction(b)):
        return True
    try:
        import math_verify

        gold, pred = (math_verify.parse(f"${text}$", parsing_timeout=None) for text in (a, b))
        return bool(math_verify.verify(gold, pred, timeout_seconds=None))
    except Exception:  # whatever a text provokes is a wrong answer
        return False


def _plain(text: str) -> str:
    return re.sub(r"\\left|\\right|\\[,;! ]|\\?\$|\\text\{[^{}]*\}$|[\s.]+$|\s", "", text).replace(
        "dfrac", "frac"
    )


def _fraction(text: str) -> Fraction | None:
    text = re.sub(r"\\frac\{(-?\d+)\}\{(\d+)\}", r"\1/\2", text.replace(",", ""))
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        return None


def _rows(name: str) -> list[dict[str, Any]]:
    path = Path(os.environ["MATH_DATA_DIR"]) / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def table() -> list[tuple[str, list[str]]]:
    """Rows (data, [ours, the rival's])."""
    found: list[tuple[str, list[str]]] = []
    graders: list[Grader] = [ours, rival]
    for name in ("grader_cases_dev", "grader_adversarial_dev"):
        cases = _rows(name)
        for label in (True, False):
            some = [case for case in cases if case["correct"] is label]
            agree = [sum(g(c["completion"], c["reference"]) is label for c in some) for g in graders]
            found.append(
                (
                    f"{name}: {len(some)} {'right' if label else 'wrong'} ones",
                    [f"{n} as labelled" for n in agree],
                )
            )
    problems = _rows("math_test")
    answers = [problem["answer"] for problem in problems]
    for what, references in (("own", answers), ("next", answers[1:] + answers[:1])):
        right = [sum(g(p["solution"], a) for p, a in zip(problems, references, strict=True)) for g in graders]
        found.append((f"math_test: solutions against the {what} answer", [f"{n} right" for n in right]))
    return found


if __name__ == "__main__":
    print("| data | this grader | the rival |\n|---|---|---|")
    for data, (mine, other) in table():
        print(f"| {data} | {mine} | {other} |", flush=True)
