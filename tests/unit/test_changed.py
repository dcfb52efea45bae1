"""Tests that `make check` runs for a changed file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.changed import test_of as find_test
from tests.changed import tests_of as find_tests


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("harness/objectives/test_kl.py", "harness/model/files/test_hub.py", "test_changed.py"):
        path = tmp_path / "tests" / "unit" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "tests" / "integration").mkdir()
    (tmp_path / "tests" / "integration" / "test_resume.py").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ("harness/objectives/kl.py", "tests/unit/harness/objectives/test_kl.py"),
        ("harness/objectives/value.py", "tests/unit/harness/objectives"),  # no test file of that name
        ("harness/model/files/hub.py", "tests/unit/harness/model/files/test_hub.py"),
        ("harness/model/policy.py", "tests/unit/harness/model"),
        ("harness/seeds.py", "tests/unit/harness"),
        ("conf/objective/grpo.yaml", "tests/unit/harness/schema"),
        ("tests/changed.py", "tests/unit/test_changed.py"),
        ("tests/unit/harness/objectives/test_kl.py", "tests/unit/harness/objectives/test_kl.py"),
        ("tests/unit/harness/objectives/test_gone.py", None),  # deleted
        ("tests/unit/harness/objectives/stubs.py", "tests/unit/harness/objectives"),
        ("tests/integration/test_resume.py", "tests/integration/test_resume.py"),
        ("tests/gpu/test_kernels.py", None),
        ("analysis/stats/best.py", None),
        ("README.md", None),
    ],
)
def test_a_changed_file_has_its_tests(root: Path, changed: str, expected: str | None) -> None:
    assert find_test(changed, root) == expected


def test_a_file_inside_a_folder_that_runs_anyway_is_not_named_twice(root: Path) -> None:
    changed = ["harness/objectives/kl.py", "harness/objectives/value.py", "harness/model/files/hub.py"]
    expected = ["tests/unit/harness/model/files/test_hub.py", "tests/unit/harness/objectives"]
    assert find_tests(changed, root) == expected
