"""Statements that are true without any work: what a reward for true steps invites a policy to write."""

from __future__ import annotations

import re

from harness.grading.steps.check import Step

_NUMBER = r"(\d+(?:\.\d+)?)"
_ONE_OPERATION = re.compile(rf"{_NUMBER}\s*([-+*/×·÷−]|\\times|\\cdot|\\div)\s*{_NUMBER}")
_SUM, _DIFFERENCE, _PRODUCT = ("+",), ("-", "−"), ("*", "×", "·", "\\times", "\\cdot")


def is_trivial(step: Step) -> bool:
    """Whether a statement says nothing: both sides alike, or one operation that changes nothing or all.

    `3+4=3+4`, `5+0=5`, `1*7=7`, `7/1=7`, `7-7=0`, `7/7=1`, `0*7=0`. It may still be false: `5+0=6`.
    """
    left, right = (re.sub(r"\s", "", side) for side in (step.lhs, step.rhs))
    found = _ONE_OPERATION.fullmatch(step.lhs.strip())
    if left == right or found is None:
        return left == right
    a, sign, b = float(found[1]), found[2], float(found[3])
    if sign in _SUM:
        return 0 in (a, b)
    if sign in _DIFFERENCE:
        return b == 0 or a == b
    if sign in _PRODUCT:
        return bool({a, b} & {0, 1})
    return b == 1 or a in (0, b)
