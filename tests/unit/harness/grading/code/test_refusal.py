"""Why a machine runs no program: what its kernel refuses, and never a fault of ours."""

from __future__ import annotations

from harness.grading.code.pool import refusal


def test_only_the_kernel_refuses() -> None:
    # The other tests of this room skip where there is a refusal: a broken server must not hide there.
    reason = refusal() or ""
    assert reason != "it did not start" and not reason.startswith("a program that is right")
