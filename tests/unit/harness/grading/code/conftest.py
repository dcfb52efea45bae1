"""Skip where this machine cannot confine a program: then none is run, here or in the harness."""

from __future__ import annotations

import pytest

from harness.grading.code.pool import refusal


@pytest.fixture(autouse=True, scope="session")
def _confined() -> None:
    if reason := refusal():
        pytest.skip(f"no program can be confined here: {reason}")
