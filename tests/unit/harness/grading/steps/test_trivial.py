"""Statements that say nothing."""

from __future__ import annotations

import pytest

from harness.grading.steps.check import check_steps
from harness.grading.steps.trivial import is_trivial


@pytest.mark.parametrize(
    ("text", "trivial"),
    [
        ("5+0=5", True),
        ("0+5=5", True),
        ("5-0=5", True),
        ("7-7=0", True),
        ("1*7=7", True),
        ("0*7=0", True),
        ("7/1=7", True),
        ("7/7=1", True),
        ("0/7=0", True),
        ("3+4=3+4", True),
        ("3+4 = 3 + 4", True),
        ("5+0=6", True),  # false, and no work either
        ("0-5=-5", False),
        ("1/7=0.14", False),
        ("10+5=15", False),
        ("7-1=6", False),
        ("1+1=2", False),
        ("2*3*1=6", False),  # two operations
        ("1*7+2=9", False),
    ],
)
def test_one_operation_that_changes_nothing_or_all(text: str, trivial: bool) -> None:
    (step,) = check_steps(text).steps
    assert is_trivial(step) is trivial
